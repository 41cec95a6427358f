//! Each op's reference against PyTorch.

use tril::reference::{
    IGNORE, adamw, attention, column_sum, cross_entropy, dropout, embedding, gelu, global_norm, layernorm, matmul,
    residual, sample,
};

use super::{check, check_from_height};
use crate::common::golden::Golden;

/// One case of a golden, with its name in every message.
struct Case<'a> {
    golden: &'a Golden,
    stem: &'a str,
    name: String,
}

impl Case<'_> {
    fn f64(&self, tensor: &str) -> Vec<f64> {
        self.golden.f64(&self.at(tensor))
    }

    fn optional(&self, tensor: &str) -> Option<Vec<f64>> {
        self.golden.has(&self.at(tensor)).then(|| self.f64(tensor))
    }

    fn scalar(&self, tensor: &str) -> f64 {
        self.golden.scalar(&self.at(tensor))
    }

    fn shape(&self, tensor: &str) -> Vec<usize> {
        self.golden.shape(&self.at(tensor))
    }

    fn u32(&self, tensor: &str) -> Vec<u32> {
        self.golden.u32(&self.at(tensor))
    }

    fn check(&self, tensor: &str, got: &[f64]) {
        check(&format!("{} {tensor} in {}", self.stem, self.name), got, &self.f64(tensor));
    }

    fn at(&self, tensor: &str) -> String {
        format!("{}.{tensor}", self.name)
    }
}

/// Runs a check on every case of a stem whose name the filter accepts.
fn each_case(stem: &str, is_wanted: fn(&str) -> bool, check: fn(&Case<'_>)) {
    let golden = Golden::open(stem);
    let names: Vec<String> = golden.cases().into_iter().filter(|name| is_wanted(name)).collect();
    assert!(!names.is_empty(), "{stem} has no such case");
    for name in names {
        check(&Case { golden: &golden, stem, name });
    }
}

fn all(_: &str) -> bool {
    true
}

#[test]
fn residual_agrees() {
    each_case("residual", all, |case| {
        case.check("out", &residual::forward(&case.f64("a"), &case.f64("b")));
    });
}

#[test]
fn gelu_agrees() {
    each_case("gelu", all, |case| {
        let inp = case.f64("inp");
        case.check("out", &gelu::forward(&inp));
        case.check("dinp", &gelu::backward(&case.f64("dout"), &inp));
    });
}

#[test]
fn dropout_hash_agrees() {
    let golden = Golden::open("dropout");
    let got: Vec<u32> = golden.u32("hash.inp").into_iter().map(dropout::hash).collect();
    assert_eq!(got, golden.u32("hash.out"));
}

#[test]
fn dropout_agrees() {
    each_case(
        "dropout",
        |name| name != "hash",
        |case| {
            let (rng, site, p) = (case.f64("rng"), case.u32("site")[0], case.scalar("p"));
            let words: [u32; 4] = case.u32("rng").try_into().unwrap();
            let key = dropout::key(&words, site);
            assert_eq!(key, case.u32("key")[0], "{}", case.name);

            let keep = case.u32("keep");
            let threshold = dropout::threshold(p);
            let got: Vec<u32> = (0..keep.len() as u32).map(|elem| dropout::keep(key, elem, threshold).into()).collect();
            assert_eq!(got, keep, "{}", case.name);

            case.check("out", &dropout::forward(&case.f64("inp"), &rng, site, p));
            case.check("dinp", &dropout::forward(&case.f64("dout"), &rng, site, p));
        },
    );
}

#[test]
fn dropout_keeps_the_share_it_should() {
    // Each count is binomial; five standard deviations around its mean.
    for (seed, p) in [(1, 0.1), (2, 0.5), (3, 0.9)] {
        let n = 100_000_u32;
        let key = dropout::key(&[seed, 0, 17, 0], 3);
        let kept = (0..n).filter(|&elem| dropout::keep(key, elem, dropout::threshold(p))).count();
        let mean = f64::from(n) * (1.0 - p);
        let deviation = (mean * p).sqrt();
        assert!((kept as f64 - mean).abs() < 5.0 * deviation, "{kept} of {n} kept at p {p}");
    }
}

#[test]
fn dropout_thresholds_are_clamped() {
    for (p, threshold) in [(0.0, 0), (0.5, 1 << 31), (1.0, u32::MAX), (0.25, 1 << 30)] {
        assert_eq!(dropout::threshold(p), threshold);
    }
}

#[test]
fn matmul_agrees() {
    each_case("matmul", all, |case| {
        let sizes = case.u32("dims");
        let (m, n, k) = (sizes[0] as usize, sizes[1] as usize, sizes[2] as usize);
        let dims = matmul::Dims { m, n, k, trans_a: sizes[3] == 1, trans_b: sizes[4] == 1 };
        let (a, b, dout, bias) = (case.f64("a"), case.f64("b"), case.f64("dout"), case.optional("bias"));
        case.check("out", &matmul::forward(&a, &b, bias.as_deref(), dims));

        // The gradients are products too: of dout and the other operand, in whatever layout the operand has.
        let product = |a: &[f64], b: &[f64], m, n, k, trans_a, trans_b| {
            let dims = matmul::Dims { m, n, k, trans_a, trans_b };
            matmul::forward(a, b, None, dims)
        };
        let da = if dims.trans_a {
            product(&b, &dout, k, m, n, dims.trans_b, true)
        } else {
            product(&dout, &b, m, k, n, false, !dims.trans_b)
        };
        let db = if dims.trans_b {
            product(&dout, &a, n, k, m, true, dims.trans_a)
        } else {
            product(&a, &dout, k, n, m, !dims.trans_a, false)
        };
        case.check("da", &da);
        case.check("db", &db);
        if bias.is_some() {
            case.check("dbias", &column_sum::forward(&dout, m, n));
        }
        // work fused into a product's kernel
        if let Some(pre) = case.optional("pre") {
            let out = case.f64("out");
            case.check("gelu", &gelu::forward(&out));
            case.check("sum", &residual::forward(&case.f64("stream"), &out));
            case.check("dpre", &gelu::backward(&product(&dout, &b, m, k, n, false, true), &pre));
        }
    });
}

#[test]
fn column_sum_agrees() {
    each_case("column_sum", all, |case| {
        let shape = case.shape("inp");
        case.check("out", &column_sum::forward(&case.f64("inp"), shape[0], shape[1]));
    });
}

#[test]
fn layernorm_agrees() {
    each_case("layernorm", all, |case| {
        let shape = case.shape("inp");
        let (n_row, n_col, eps) = (shape[0], shape[1], case.scalar("eps"));
        let (inp, weight, bias) = (case.f64("inp"), case.f64("weight"), case.optional("bias"));
        let (out, mean, rstd) = layernorm::forward(&inp, &weight, bias.as_deref(), n_row, n_col, eps);
        case.check("out", &out);
        case.check("mean", &mean);
        case.check("rstd", &rstd);

        let (dinp, dweight, dbias) = layernorm::backward(&case.f64("dout"), &inp, &weight, n_row, n_col, eps);
        // A row of equal inputs normalises to 0 or to rounding noise, where other rows have values around 1; its
        // gradient is noise too, times rstd.
        let rstd_max = rstd.iter().copied().fold(0.0, f64::max);
        for (tensor, got, height) in [("dinp", dinp, rstd_max), ("dweight", dweight, 1.0)] {
            let label = format!("layernorm {tensor} in {}", case.name);
            check_from_height(&label, &got, &case.f64(tensor), height);
        }
        if bias.is_some() {
            case.check("dbias", &dbias);
        }
    });
}

#[test]
fn embedding_agrees() {
    each_case(
        "embedding",
        |name| !name.starts_with("sinusoidal"),
        |case| {
            let shape = case.shape("out");
            let (t, c, vocab_size) = (shape[1], shape[2], case.shape("wte")[0]);
            let (ids, wte, wpe) = (case.f64("ids"), case.f64("wte"), case.optional("wpe"));
            let positions = embedding::positions(ids.len(), t, case.optional("spans").as_deref());
            let position = wpe.as_deref().map(|wpe| (wpe, &positions[..]));
            case.check("out", &embedding::forward(&ids, &wte, position, c));

            let tables = embedding::Tables { vocab_size, n_position: t, c };
            let (dwte, dwpe) = embedding::backward(&case.f64("dout"), &ids, &positions, tables);
            case.check("dwte", &dwte);
            if wpe.is_some() {
                case.check("dwpe", &dwpe);
            }
        },
    );
}

#[test]
fn sinusoidal_positions_agree() {
    each_case(
        "embedding",
        |name| name.starts_with("sinusoidal"),
        |case| {
            let shape = case.shape("table");
            case.check("table", &embedding::sinusoidal(shape[0], shape[1]));
        },
    );
}

#[test]
fn attention_agrees() {
    each_case("attention", all, |case| {
        let sizes = case.u32("dims");
        let dims = attention::Dims {
            b: sizes[0] as usize,
            t: sizes[1] as usize,
            c: sizes[2] as usize,
            n_head: sizes[3] as usize,
        };
        let (qkv, rng) = (case.f64("qkv"), case.f64("rng"));
        let (site, p) = (case.u32("site")[0], case.scalar("p"));
        let spans = case.optional("spans");
        let setting = attention::Setting { rng: &rng, site, p, spans: spans.as_deref() };
        let (out, att) = attention::forward(&qkv, &setting, dims);
        case.check("out", &out);
        case.check("att", &att);
        case.check("lse", &attention::log_sums(&qkv, setting.spans, dims));
        for (elem, probability) in att.iter().enumerate() {
            let (batch, i, j) = (elem / (dims.n_head * dims.t * dims.t), elem / dims.t % dims.t, elem % dims.t);
            let first = spans.as_ref().map_or(0, |spans| spans[2 * (batch * dims.t + i)] as usize);
            assert!((first..=i).contains(&j) || *probability == 0.0, "{}: position {i} sees {j}", case.name);
        }
        case.check("dqkv", &attention::backward(&case.f64("dout"), &qkv, &setting, dims));
    });
}

#[test]
fn cross_entropy_agrees() {
    each_case("cross_entropy", all, |case| {
        let shape = case.shape("logits");
        let (n_row, vocab, scale) = (shape[0], shape[1], case.scalar("scale"));
        let (logits, targets) = (case.f64("logits"), case.f64("targets"));
        let (loss, losses, lse) = cross_entropy::forward(&logits, &targets, scale, n_row, vocab);
        case.check("loss", &[loss]);
        case.check("losses", &losses);
        case.check("lse", &lse);
        let dlogits = cross_entropy::backward(&logits, &targets, scale, n_row, vocab);
        case.check("dlogits", &dlogits);
        for (row, target) in targets.iter().enumerate() {
            let is_ignored = *target == f64::from(IGNORE);
            let is_zero = losses[row] == 0.0 && dlogits[row * vocab..][..vocab].iter().all(|&d| d == 0.0);
            assert!(!is_ignored || is_zero, "{}: ignored row {row}", case.name);
        }
    });
}

#[test]
fn global_norm_agrees() {
    each_case("global_norm", all, |case| {
        case.check("out", &global_norm::forward(&case.f64("grads"), case.scalar("max_norm")));
    });
}

#[test]
fn adamw_agrees() {
    each_case("adamw", all, |case| {
        let hyper = case.f64("hyper");
        let hyper =
            adamw::Hyper { lr: hyper[0], beta1: hyper[1], beta2: hyper[2], eps: hyper[3], weight_decay: hyper[4] };
        let t = case.scalar("t");
        let (c1, c2) = (1.0 - hyper.beta1.powf(t), 1.0 - hyper.beta2.powf(t));
        let decay = case.u32("decay")[0] == 1;
        let (mut param, mut m, mut v) = (case.f64("param"), case.f64("m"), case.f64("v"));
        let (grad, clip) = (case.f64("grad"), case.scalar("clip_coef"));
        adamw::step(&mut param, &grad, &mut m, &mut v, c1, c2, clip, decay, &hyper);
        case.check("param_after", &param);
        case.check("m_after", &m);
        case.check("v_after", &v);
    });
}

#[test]
#[should_panic(expected = "has no tensor one.nothing")]
fn a_missing_tensor_fails() {
    Golden::open("gelu").f64("one.nothing");
}

#[test]
fn sample_agrees() {
    each_case("sample", all, |case| {
        let settings = sample::Settings {
            temperature: case.scalar("temperature"),
            top_k: case.u32("top_k")[0] as usize,
            top_p: case.scalar("top_p"),
        };
        let weights = sample::weights(&case.f64("logits"), settings);
        case.check("weights", &weights);
        let words = case.u32("words");
        let point = sample::uniform(u64::from(words[1]) << 32 | u64::from(words[0]), words[2], words[3]);
        assert_eq!(sample::draw(&weights, point), Some(case.u32("token")[0] as usize), "{}", case.name);
    });
}

#[test]
fn draws_follow_the_weights() {
    // 20 tokens, of which the settings keep 8; chi-square with 7 degrees of freedom is below 24.3 in 999 of 1,000 seeds
    let logits: Vec<f64> = (0..20).map(|i| f64::from(i * 7 % 20) * 0.2).collect();
    let settings = sample::Settings { temperature: 0.9, top_k: 10, top_p: 0.93 };
    let weights = sample::weights(&logits, settings);
    assert_eq!(weights.iter().filter(|w| **w > 0.0).count(), 8);
    let (n, total) = (20_000, weights.iter().sum::<f64>());
    let mut counts = [0u32; 20];
    for i in 0..n {
        counts[sample::draw(&weights, sample::uniform(7, i % 10, i / 10)).unwrap()] += 1;
    }
    let mut chi_square = 0.0;
    for (count, weight) in counts.into_iter().zip(&weights) {
        let expected = weight / total * f64::from(n);
        if expected == 0.0 {
            assert_eq!(count, 0);
            continue;
        }
        chi_square += (f64::from(count) - expected).powi(2) / expected;
    }
    assert!(chi_square < 24.3, "chi-square {chi_square}, counts {counts:?}");
}
