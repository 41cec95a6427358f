use tril::doctor::Data;
use tril::kernel::Choice;
use tril::ops::{Attention, AttentionBackward, FlashAttention, FlashAttentionBackward, Op, document_spans};
use tril::reference::compare::Tolerance;
use tril::tensor::{DType, Role, Shape, TensorSpec};

use super::Golden;
use super::golden::{run, run_with};

#[test]
fn attention() {
    super::check("attention");
}

#[test]
fn attention_golden() {
    Golden::each("attention", |case| {
        let dims = case.u32("dims");
        let (n_head, p, site) = (u64::from(dims[3]), case.scalar("p") as f32, case.u32("site")[0]);
        let (hs, t) = ((dims[2] / dims[3]) as usize, dims[1] as usize);
        let qkv = case.largest("qkv");
        // as in the case table: scores err like sums, and a softmax makes that relative, twice; `exp` errs by 2e-6
        let score = Tolerance::sum(hs, case.mean_square("qkv")).abs / (hs as f64).sqrt();
        let att = 2.0 * (score + 2e-6) + 2.0 * Tolerance::sum(t, 1.0).rel;
        let tiny = 2.0 * f64::from(f32::MIN_POSITIVE);
        let spans: Vec<_> = case.has("spans").then(|| case.words("spans")).into_iter().collect();
        let with_spans = |inputs: Vec<(Shape, Data)>| [inputs, spans.clone()].concat();
        let (inputs, scale) = (with_spans(vec![case.f32("qkv"), case.words("rng")]), 1.0 / (1.0 - case.scalar("p")));
        let op = Attention { n_head, p, site };
        let out = Tolerance { abs: (att + 1e-6) * qkv * scale + tiny, rel: 0.0 };
        case.check(op, &inputs, &[("out", out), ("att", Tolerance { abs: tiny, rel: att })]);
        // att comes rounded, and so does p: 3e-7 together. The gradient of the scores is att times differences of sums of
        // HS products; columns of att sum to T at most and to 1 on average, and their roundings are independent
        let op = AttentionBackward { n_head, p, site };
        let largest = case.largest("dout") * qkv * scale;
        let datt = 2.0 * (Tolerance::sum(hs, largest).abs / (hs as f64).sqrt() + 3e-7 * largest);
        let dv = Tolerance::sum(t, case.largest("dout") * scale).abs / (t as f64).sqrt();
        let abs = datt * qkv / (hs as f64).sqrt() + dv + tiny;
        let inputs = with_spans(vec![case.f32("dout"), case.f32("qkv"), case.rounded("att"), case.words("rng")]);
        let dqkv = Tolerance { abs, rel: 2e-6 };
        case.check(op, &inputs, &[("dqkv", dqkv)]);
        if !FlashAttention::takes(u64::from(dims[2]), n_head) {
            return;
        }
        // the probabilities are made again, with the error of the forward op's
        let op = FlashAttention { n_head, p, site };
        let inputs = with_spans(vec![case.f32("qkv"), case.words("rng")]);
        case.check(op, &inputs, &[("out", out), ("lse", Tolerance { abs: att + 2e-7, rel: 3e-7 })]);
        let inputs =
            vec![case.f32("dout"), case.rounded("out"), case.f32("qkv"), case.rounded("lse"), case.words("rng")];
        let inputs = with_spans(inputs);
        let again = Tolerance { abs: att * largest * (hs as f64).sqrt().max(1.0), rel: 0.0 };
        case.check(FlashAttentionBackward { n_head, p, site }, &inputs, &[("dqkv", dqkv.plus(again))]);
    });
}

/// Keys and values of later positions must not reach any bit of an earlier output.
#[test]
fn attention_is_causal() {
    let (n_head, site) = (2, 1);
    for (t, c, p) in [(19, 6, 0.0), (20, 8, 0.2), (70, 8, 0.0)] {
        check_causality(Attention { n_head, p, site }, t, c, |after| {
            for (elem, probability) in after[1].iter().enumerate() {
                let (i, j) = (elem / t as usize % t as usize, elem % t as usize);
                assert!(j <= i || probability.to_bits() == 0, "position {i} sees {j}");
            }
        });
    }
    for (t, c, p) in [(19, 8, 0.0), (20, 40, 0.2), (70, 128, 0.0)] {
        check_causality(FlashAttention { n_head, p, site }, t, c, |_| {});
    }
}

fn check_causality(op: impl Op + Copy + 'static, t: u64, c: u64, check: impl Fn(&[Vec<f32>])) {
    let (b, cut) = (2, t / 2);
    let shape = Shape::new(&[b, t, 3 * c]);
    let Data::F32(mut qkv) = Data::uniform(1, shape.numel(), 1.0) else { unreachable!() };
    let outputs = |qkv: &[f32]| {
        let words = (Shape::new(&[4]), Data::U32(vec![1, 2, 3, 4]));
        run(op, &[(shape, Data::F32(qkv.to_vec())), words])
    };
    let before = outputs(&qkv);
    let width = 3 * c as usize;
    for (row, values) in qkv.chunks_mut(width).enumerate() {
        if row % t as usize >= cut as usize {
            values[c as usize..].iter_mut().for_each(|x| *x = *x * -1e4 + 3.0);
        }
    }
    let after = outputs(&qkv);
    let bits = |out: &[f32], is_early: bool| -> Vec<u32> {
        let rows = out.chunks(c as usize).enumerate();
        let wanted = rows.filter(|(row, _)| (row % (t as usize) < cut as usize) == is_early);
        wanted.flat_map(|(_, row)| row.iter().map(|x| x.to_bits())).collect()
    };
    assert_eq!(bits(&before[0], true), bits(&after[0], true), "{op:?}, T {t}");
    assert_ne!(bits(&before[0], false), bits(&after[0], false), "{op:?}, T {t}: nothing changed at all");
    check(&after);
}

/// Whatever a document holds must not reach any bit of another one's outputs or gradients, before or behind it.
#[test]
fn attention_stays_in_its_document() {
    let (n_head, site, b, t, c) = (2, 1, 2, 150, 64);
    let firsts: Vec<u32> = (0..300).map(|i| [0, 40, 77, 79][document(i % 150)]).collect();
    let spans = (Shape::new(&[b, t, 2]), Data::U32(document_spans(&firsts, t as usize)));
    for (p, family) in [(0.0, "direct"), (0.2, "direct"), (0.0, "tiled"), (0.2, "tiled")] {
        let choice = Choice::default().pin("attention_flash", family);
        // of both ops, one after the other: outputs, then the gradient
        let all = |poison: bool| -> Vec<Vec<f32>> {
            let values = |seed, width: u64| {
                let Data::F32(mut values) = Data::uniform(seed, b * t * width, 1.0) else { unreachable!() };
                for (row, values) in values.chunks_mut(width as usize).enumerate() {
                    if poison && document(row as u32 % 150) == 1 {
                        values.iter_mut().for_each(|x| *x = *x * -1e4 + 3.0);
                    }
                }
                (Shape::new(&[b, t, width]), Data::F32(values))
            };
            let (qkv, dout, words) = (values(1, 3 * c), values(2, c), (Shape::new(&[4]), Data::U32(vec![1, 2, 3, 4])));
            let inputs = [qkv.clone(), words.clone(), spans.clone()];
            let softmax = run(Attention { n_head, p, site }, &inputs);
            let flash = run_with(FlashAttention { n_head, p, site }, &inputs, &choice);
            let att = (Shape::new(&[b, n_head, t, t]), Data::F32(softmax[1].clone()));
            let inputs = [dout.clone(), qkv.clone(), att, words.clone(), spans.clone()];
            let softmax_gradient = run(AttentionBackward { n_head, p, site }, &inputs);
            let out = (Shape::new(&[b, t, c]), Data::F32(flash[0].clone()));
            let lse = (Shape::new(&[b, n_head, t]), Data::F32(flash[1].clone()));
            let op = FlashAttentionBackward { n_head, p, site };
            let flash_gradient = run_with(op, &[dout, out, qkv, lse, words, spans.clone()], &choice);
            vec![softmax[0].clone(), flash[0].clone(), softmax_gradient[0].clone(), flash_gradient[0].clone()]
        };
        for (before, after) in all(false).iter().zip(&all(true)) {
            let width = before.len() / (b * t) as usize;
            for (row, (before, after)) in before.chunks(width).zip(after.chunks(width)).enumerate() {
                let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                let is_poisoned = document(row as u32 % 150) == 1;
                assert_eq!(bits(before) != bits(after), is_poisoned, "p {p}, {family}, width {width}, row {row}");
            }
        }
    }
}

/// Which of the documents from 0, 40, 77 and 79 on a position lies in.
fn document(position: u32) -> usize {
    [40, 77, 79].iter().filter(|&&first| position >= first).count()
}

/// The two ways to the same result, at a size where both have several tiles.
#[test]
fn attention_flash_equals_softmax() {
    let (n_head, site, t, c) = (2, 7, 100, 64);
    for p in [0.0, 0.25] {
        let wide = (Shape::new(&[2, t, 3 * c]), Data::uniform(5, 2 * t * 3 * c, 1.0));
        let dout = (Shape::new(&[2, t, c]), Data::uniform(6, 2 * t * c, 1.0));
        let rng = (Shape::new(&[4]), Data::U32(vec![5, 6, 7, 8]));
        let forward = [wide.clone(), rng.clone()];
        let softmax = run(Attention { n_head, p, site }, &forward);
        let flash = run(FlashAttention { n_head, p, site }, &forward);
        let att = (Shape::new(&[2, n_head, t, t]), Data::F32(softmax[1].clone()));
        let out = (Shape::new(&[2, t, c]), Data::F32(flash[0].clone()));
        let lse = (Shape::new(&[2, n_head, t]), Data::F32(flash[1].clone()));
        let inputs = [dout.clone(), wide.clone(), att, rng.clone()];
        let softmax_gradient = run(AttentionBackward { n_head, p, site }, &inputs);
        let inputs = [dout, out, wide, lse, rng];
        let flash_gradient = run(FlashAttentionBackward { n_head, p, site }, &inputs);
        for (a, b) in [(&softmax[0], &flash[0]), (&softmax_gradient[0], &flash_gradient[0])] {
            assert_eq!(a.len(), b.len());
            // a hundred roundings of numbers of order 1; a mask that differs in one element changes 1e-2
            assert!(a.iter().zip(b).all(|(x, y)| (x - y).abs() < 2e-5), "p {p}");
        }
    }
}

#[test]
fn attention_says_what_does_not_fit() {
    let message = |dims: &[u64], n_head: u64| {
        let qkv = TensorSpec::new("qkv", Shape::new(dims), DType::F32, Role::Input);
        let rng = TensorSpec::new("rng", Shape::new(&[4]), DType::U32, Role::Input);
        Attention { n_head, p: 0.0, site: 0 }.outputs(&[&qkv, &rng]).unwrap_err().to_string()
    };
    let text = message(&[1, 4, 30], 3);
    assert!(text.contains("3 heads") && text.contains("10"), "{text}");
    let text = message(&[30_000, 1, 9], 3);
    assert!(text.contains("65535") && text.contains("30000 x 3"), "{text}");
    let qkv = TensorSpec::new("qkv", Shape::new(&[1, 4, 36]), DType::F32, Role::Input);
    let rng = TensorSpec::new("rng", Shape::new(&[4]), DType::U32, Role::Input);
    let text = FlashAttention { n_head: 2, p: 0.0, site: 0 }.outputs(&[&qkv, &rng]).unwrap_err().to_string();
    assert!(text.contains("multiple of 4 up to 128") && text.contains('6'), "{text}");
}
