//! Each backward against central finite differences of its forward, without PyTorch.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tril::reference::{IGNORE, attention, cross_entropy, dropout, embedding, gelu, layernorm, matmul};

/// The step of the differences. Their error is about STEP^2 (a third derivative) plus 1e-16 / STEP (rounding).
const STEP: f64 = 1e-5;

/// Some ten times that error for values and derivatives of order 1 to 10.
const ALLOWED: f64 = 1e-8;

fn normal(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    // A sum of twelve uniforms has variance 1.
    (0..n).map(|_| (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Compares a gradient with the differences of `loss` in every element of `inp`.
fn check(label: &str, inp: &[f64], gradient: &[f64], loss: impl Fn(&[f64]) -> f64) {
    assert_eq!(inp.len(), gradient.len(), "{label}: gradient and input have one size");
    for i in 0..inp.len() {
        let mut moved = inp.to_vec();
        moved[i] = inp[i] + STEP;
        let above = loss(&moved);
        moved[i] = inp[i] - STEP;
        let below = loss(&moved);
        let difference = (above - below) / (2.0 * STEP);
        let allowed = ALLOWED * (1.0 + difference.abs());
        let is_close = (gradient[i] - difference).abs() <= allowed;
        assert!(is_close, "{label}: element {i} has gradient {}, differences say {difference}", gradient[i]);
    }
}

#[test]
fn gelu_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (inp, dout) = (normal(&mut rng, 40), normal(&mut rng, 40));
    let dinp = gelu::backward(&dout, &inp);
    check("dinp", &inp, &dinp, |inp| dot(&dout, &gelu::forward(inp)));
}

#[test]
fn matmul_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (m, n, k) = (3, 4, 5);
    let (a, b, dout) = (normal(&mut rng, m * k), normal(&mut rng, k * n), normal(&mut rng, m * n));
    let dims = |m, n, k, trans_a, trans_b| matmul::Dims { m, n, k, trans_a, trans_b };
    let plain = dims(m, n, k, false, false);
    let da = matmul::forward(&dout, &b, None, dims(m, k, n, false, true));
    let db = matmul::forward(&a, &dout, None, dims(k, n, m, true, false));
    check("da", &a, &da, |a| dot(&dout, &matmul::forward(a, &b, None, plain)));
    check("db", &b, &db, |b| dot(&dout, &matmul::forward(&a, b, None, plain)));
}

#[test]
fn layernorm_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for (n_row, n_col) in [(1, 1), (1, 7), (4, 6)] {
        let (inp, dout) = (normal(&mut rng, n_row * n_col), normal(&mut rng, n_row * n_col));
        let (weight, bias) = (normal(&mut rng, n_col), normal(&mut rng, n_col));
        let loss = |inp: &[f64], weight: &[f64], bias: &[f64]| {
            dot(&dout, &layernorm::forward(inp, weight, Some(bias), n_row, n_col, 1e-2).0)
        };
        let (dinp, dweight, dbias) = layernorm::backward(&dout, &inp, &weight, n_row, n_col, 1e-2);
        check("dinp", &inp, &dinp, |inp| loss(inp, &weight, &bias));
        check("dweight", &weight, &dweight, |weight| loss(&inp, weight, &bias));
        check("dbias", &bias, &dbias, |bias| loss(&inp, &weight, bias));
    }
}

#[test]
fn embedding_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (vocab_size, t, c) = (5, 3, 4);
    let ids = [4.0, 0.0, 4.0, 1.0, 1.0, 1.0];
    let (wte, wpe) = (normal(&mut rng, vocab_size * c), normal(&mut rng, t * c));
    let dout = normal(&mut rng, ids.len() * c);
    let spans = [0.0, 2.0, 0.0, 2.0, 2.0, 3.0, 0.0, 3.0, 0.0, 3.0, 0.0, 3.0];
    for spans in [None, Some(&spans[..])] {
        let positions = embedding::positions(ids.len(), t, spans);
        let tables = embedding::Tables { vocab_size, n_position: t, c };
        let (dwte, dwpe) = embedding::backward(&dout, &ids, &positions, tables);
        let loss = |wte: &[f64], wpe: &[f64]| dot(&dout, &embedding::forward(&ids, wte, Some((wpe, &positions)), c));
        check("dwte", &wte, &dwte, |wte| loss(wte, &wpe));
        check("dwpe", &wpe, &dwpe, |wpe| loss(&wte, wpe));
    }
}

#[test]
fn dropout_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (inp, dout) = (normal(&mut rng, 50), normal(&mut rng, 50));
    let words = [1.0, 2.0, 3.0, 4.0];
    let dinp = dropout::forward(&dout, &words, 6, 0.3);
    check("dinp", &inp, &dinp, |inp| dot(&dout, &dropout::forward(inp, &words, 6, 0.3)));
}

#[test]
fn attention_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for (b, t, c, n_head, p) in [(1, 1, 2, 1, 0.0), (2, 4, 6, 2, 0.0), (1, 5, 4, 4, 0.3)] {
        let dims = attention::Dims { b, t, c, n_head };
        let (qkv, dout) = (normal(&mut rng, b * t * 3 * c), normal(&mut rng, b * t * c));
        let words = [9.0, 8.0, 7.0, 6.0];
        // a document of one position, then one of what is left
        let spans: Vec<f64> = (0..b * t).flat_map(|i| if i % t == 0 { [0.0, 1.0] } else { [1.0, t as f64] }).collect();
        for spans in [None, Some(&spans[..])] {
            let setting = attention::Setting { rng: &words, site: 5, p, spans };
            let dqkv = attention::backward(&dout, &qkv, &setting, dims);
            check("dqkv", &qkv, &dqkv, |qkv| dot(&dout, &attention::forward(qkv, &setting, dims).0));
        }
    }
}

#[test]
fn cross_entropy_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (n_row, vocab, scale) = (4, 6, 0.4);
    let logits = normal(&mut rng, n_row * vocab);
    for targets in [[0.0, 5.0, f64::from(IGNORE), 2.0], [f64::from(IGNORE); 4]] {
        let dlogits = cross_entropy::backward(&logits, &targets, scale, n_row, vocab);
        check("dlogits", &logits, &dlogits, |logits| cross_entropy::forward(logits, &targets, scale, n_row, vocab).0);
    }
}
