//! Compares generation with and without a cache.

use tril::generate::{Decoder, Sampler, SamplerConfig, free_run};
use tril::model::{Memory, ModelConfig, Positions, ReadBack};
use tril::reference::compare::{Tolerance, canary, compare};
use tril::train::{AdamwConfig, Session, SessionConfig};

use crate::gpu;

/// For logits up to about 10, computed differently through about 20 roundings of 6e-8 and two exp of 4e-6 per layer.
const TOLERANCE: Tolerance = Tolerance { abs: 5e-5, rel: 2e-5 };

const GREEDY: SamplerConfig = SamplerConfig { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 1 };

fn config(n_embd: u64, n_head: u64, block_size: u64, vocab_size: u64) -> ModelConfig {
    ModelConfig {
        n_layer: 2,
        n_head,
        n_embd,
        block_size,
        vocab_size,
        bias: true,
        tied: true,
        positions: Positions::Learned,
        dropout: 0.0,
    }
}

/// A model whose weights are large enough that its logits and attention differ widely.
fn session(model: &ModelConfig) -> Session {
    let (model, optimizer, t) = (model.clone(), AdamwConfig::default(), model.block_size.min(4));
    let (keep, memory) = (ReadBack::default(), Memory::default());
    let config = SessionConfig {
        model,
        batch_size: 1,
        t,
        micro_batches: 1,
        optimizer,
        seed: 5,
        keep,
        memory,
        document_mask: false,
    };
    let session = Session::new(&gpu(), config).unwrap();
    for name in session.param_names().into_iter().filter(|name| name.ends_with("weight") && !name.contains("ln_")) {
        let mut values = session.weight(&name).unwrap();
        values.iter_mut().for_each(|w| *w *= 12.0);
        session.set_weight(&name, &values).unwrap();
    }
    session
}

fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
    best as u32
}

/// Generates greedily from the prompts, one token at a time, and compares every logit with the uncached ones of the
/// window that the cache stands for: when a row has filled the block, its last half is kept.
fn follow(model: &ModelConfig, prompts: &[Vec<u32>], n_token: usize) {
    let session = session(model);
    let mut oracle = session.generator(prompts.len());
    let mut decoder = Decoder::new(session.program(), model, prompts.len(), GREEDY).unwrap();
    decoder.start(&prompts.iter().map(Vec::as_slice).collect::<Vec<_>>(), 0).unwrap();
    let block = model.block_size as usize;
    let mut texts = prompts.to_vec();
    let mut starts = vec![0; texts.len()];
    let enough = |texts: &[Vec<u32>]| texts.iter().zip(prompts).all(|(t, p)| t.len() >= p.len() + n_token);
    while !enough(&texts) {
        let new = decoder.next(1).unwrap();
        let got = decoder.logits().unwrap();
        for (text, start) in texts.iter().zip(&mut starts) {
            if text.len() - *start > block {
                *start = text.len() - (block / 2).max(1);
            }
        }
        let windows: Vec<&[u32]> = texts.iter().zip(&starts).map(|(text, &start)| &text[start..]).collect();
        let want = oracle.next_logits(session.program(), &windows).unwrap();
        for (row, tokens) in new.iter().enumerate().filter(|(_, tokens)| !tokens.is_empty()) {
            let at = |e| panic!("row {row}, token {}: {e}", texts[row].len());
            let wanted: Vec<f64> = want[row].iter().map(|&x| x.into()).collect();
            compare(&got[row], &wanted, TOLERANCE).map(|_| ()).unwrap_or_else(at);
            canary(&got[row], &wanted, TOLERANCE).unwrap_or_else(at);
            assert_eq!(tokens, &[argmax(&want[row])], "row {row}, token {}", texts[row].len());
        }
        texts.iter_mut().zip(new).for_each(|(text, tokens)| text.extend(tokens));
    }
    // a greedy text that repeats one token would show little; with a block of 1 it soon has to
    let n_distinct = |text: &Vec<u32>| text.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(block == 1 || texts.iter().any(|text| n_distinct(text) > 3), "{texts:?}");
}

fn prompt(len: usize, vocab_size: u64, salt: u32) -> Vec<u32> {
    (0..len as u32).map(|i| (i * 7 + salt) % vocab_size as u32).collect()
}

#[test]
fn cached_logits_equal_uncached_ones_up_to_the_block_size() {
    follow(&config(32, 4, 40, 29), &[prompt(1, 29, 3)], 39);
    follow(&config(64, 2, 70, 64), &[prompt(17, 64, 3)], 53);
}

#[test]
fn heads_and_rows_of_any_size_agree() {
    let plain = ModelConfig { bias: false, tied: false, positions: Positions::Sinusoidal, ..config(6, 2, 20, 11) };
    follow(&plain, &[prompt(2, 11, 1), prompt(9, 11, 2)], 11);
    follow(&config(15, 3, 18, 13), &[prompt(4, 13, 1)], 13);
    // more rows than the kernels for few of them take
    let many: Vec<Vec<u32>> = (0..19).map(|i| prompt(1 + i % 5, 16, i as u32)).collect();
    follow(&config(16, 2, 18, 16), &many, 10);
}

#[test]
fn a_window_slides_by_half() {
    follow(&config(32, 4, 24, 29), &[prompt(5, 29, 3)], 60);
    // rows that slide at different times, and a prompt as long as the block and one longer
    follow(&config(32, 4, 16, 29), &[prompt(3, 29, 1), prompt(7, 29, 2), prompt(16, 29, 4)], 30);
    follow(&config(16, 2, 1, 29), &[prompt(1, 29, 3)], 6);
}

fn texts(decoder: &mut Decoder, prompts: &[&[u32]], first_stream: u32, n: usize) -> Vec<Vec<u32>> {
    decoder.start(prompts, first_stream).unwrap();
    let mut texts = vec![vec![]; prompts.len()];
    while texts.iter().any(|text: &Vec<u32>| text.len() < n) {
        texts.iter_mut().zip(decoder.next(n).unwrap()).for_each(|(text, new)| text.extend(new));
    }
    texts.iter_mut().for_each(|text| text.truncate(n));
    texts
}

#[test]
fn samples_depend_on_seed_and_stream_alone() {
    let model = config(32, 4, 24, 29);
    let session = session(&model);
    let sampling = SamplerConfig { temperature: 1.5, top_k: 20, top_p: 0.95, seed: 9 };
    let decoder = |n_row, sampling| Decoder::new(session.program(), &model, n_row, sampling).unwrap();
    let start: &[u32] = &[1, 2, 3];
    let together = texts(&mut decoder(3, sampling), &[start; 3], 0, 70);
    assert!(together[0] != together[1] && together[1] != together[2]);
    let mut alone = decoder(1, sampling);
    for (row, text) in together.iter().enumerate() {
        assert_eq!(&texts(&mut alone, &[start], row as u32, 70)[0], text, "row {row}");
    }
    // rows that are left free change nothing
    assert_eq!(texts(&mut decoder(5, sampling), &[start, start], 1, 70), together[1..]);
    alone.set_sampling(SamplerConfig { seed: 10, ..sampling });
    assert_ne!(texts(&mut alone, &[start], 0, 70)[0], together[0]);
}

#[test]
fn the_device_samples_as_the_cpu_does() {
    let model = config(32, 4, 64, 29);
    let session = session(&model);
    let sampling = SamplerConfig { temperature: 1.2, top_k: 12, top_p: 0.9, seed: 77 };
    let mut decoder = Decoder::new(session.program(), &model, 1, sampling).unwrap();
    let mut sampler = Sampler::new(sampling, 4);
    decoder.start(&[&[5, 6]], 4).unwrap();
    for i in 0..50 {
        let token = decoder.next(1).unwrap()[0][0];
        assert_eq!(token, sampler.sample(&decoder.logits().unwrap()[0]), "token {i}");
    }
}

#[test]
fn forbidden_tokens_are_never_sampled() {
    let model = config(32, 4, 64, 40);
    let session = session(&model);
    let flat = SamplerConfig { temperature: 100.0, ..SamplerConfig::default() };
    for sampling in [GREEDY, flat] {
        let mut decoder = Decoder::new(session.program(), &model, 2, sampling).unwrap();
        let first = texts(&mut decoder, &[&[5, 6], &[7]], 0, 60)[0][0];
        decoder.forbid(|id| id == first || id >= 30);
        let all = texts(&mut decoder, &[&[5, 6], &[7]], 0, 60);
        assert!(all.iter().flatten().all(|&id| id != first && id < 30), "{first} {all:?}");
    }
}

#[test]
fn free_running_agrees_with_the_uncached_model() {
    let model = config(32, 4, 24, 29);
    let session = session(&model);
    let mut oracle = session.generator(1);
    // windows that the model continues correctly, except for the last one
    let mut windows: Vec<Vec<u32>> = (0..3).map(|salt| prompt(10, 29, salt)).collect();
    for window in &mut windows {
        while window.len() < 20 {
            let logits = oracle.next_logits(session.program(), &[window]).unwrap();
            window.push(argmax(&logits[0]));
        }
    }
    windows[2][12] = (windows[2][12] + 1) % 29;
    let mut decoder = Decoder::new(session.program(), &model, 2, SamplerConfig::default()).unwrap();
    let free = free_run(&mut decoder, &windows, 10).unwrap();
    assert_eq!((free.n_window, free.share.len()), (3, 10));
    assert_eq!(free.share[..4], [1.0, 1.0, 2.0 / 3.0, 1.0]);
}

#[test]
fn a_generation_that_fails_reports_an_error() {
    let model = config(16, 2, 8, 13);
    let session = session(&model);
    let mut decoder = Decoder::new(session.program(), &model, 1, GREEDY).unwrap();
    let error = decoder.start(&[&[13]], 0).unwrap_err().to_string();
    assert!(error.contains("token 13"), "{error}");
    session.set_weight("ln_f.weight", &[f32::NAN; 16]).unwrap();
    decoder.start(&[&[1]], 0).unwrap();
    let all = texts(&mut decoder, &[&[1]], 0, 12);
    assert_eq!(all, [[Decoder::NO_TOKEN; 12]]);
}
