use crate::doctor::cases::gelu::{backward_tolerance, forward_tolerance};
use crate::doctor::{Case, Data};
use crate::kernel::Choice;
use crate::ops::{Linear, LinearBackwardParams, LinearGelu, LinearGeluBackward};
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// M, N and K, and what is special about them.
const SIZES: [(&str, [u64; 3]); 5] = [
    ("one element", [1, 1, 1]),
    ("not multiples of 4", [7, 5, 3]),
    ("one row", [1, 36, 12]),
    ("beyond a tile", [68, 100, 36]),
    ("odd terms", [70, 132, 37]),
];

/// As for a product of any size, with what GELU or an addition makes of its error.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for kernel in ["tiled", "direct", "shuffle"] {
        let pinned = |case: Case| {
            let name = format!("{kernel} {}", case.name);
            Case { name, ..case }.choice(Choice::default().pin("matmul", kernel))
        };
        for (name, size) in SIZES {
            let bias = size[1] != 36;
            cases.extend([residual(name, size, bias), gelu(name, size, bias, true)].map(pinned));
            cases.extend([gelu(name, size, bias, false), gelu_backward(name, size), params(name, size)].map(pinned));
        }
        cases.extend(split().map(pinned));
    }
    for variant in ["wide", "big"] {
        let size = [68, 132, 36];
        let all =
            [residual("large tile", size, true), gelu("large tile", size, true, true), params("large tile", size)];
        cases.extend(all.into_iter().chain([gelu_backward("large tile", size)]).map(|case| {
            let name = format!("shuffle, {variant}, {}", case.name);
            let choice = Choice::default().pin("matmul", "shuffle").pin("matmul_shuffle", variant);
            Case { name, ..case }.choice(choice)
        }));
    }
    cases
}

/// Rows, columns and terms over several dispatches.
fn split() -> impl Iterator<Item = Case> {
    let bytes = 64 * 150 * 4;
    let split = |case: Case| case.max_binding(bytes);
    [
        split(residual("split over bindings", [200, 20, 150], true)),
        split(residual("split over bindings", [200, 150, 20], true)),
        split(gelu("split over bindings", [200, 20, 150], true, true)),
        split(gelu("split over bindings", [200, 20, 150], true, false)),
        split(gelu_backward("split over bindings", [200, 20, 150])),
        split(gelu_backward("split over bindings", [200, 150, 20])),
        split(params("split over bindings", [150, 20, 200])),
        split(params("split over bindings", [20, 150, 200])),
        params("sums in parts", [8, 12, 8195]),
        params("sums in parts", [8, 12, 8196]),
        residual("split by work", [200, 20, 36], true).max_work(100_000),
        params("split by work", [150, 20, 36]).max_work(100_000),
    ]
    .into_iter()
}

/// A running f32 sum of K products and a bias.
fn sum([_, _, k]: [u64; 3], bias: bool) -> Tolerance {
    let n_term = usize::try_from(k + u64::from(bias)).unwrap_or(usize::MAX);
    Tolerance::sum(n_term, if bias { 3.0_f64.sqrt() } else { 1.0 } / 3.0)
}

/// The largest sum of that many products that is likely.
fn largest([_, _, k]: [u64; 3]) -> f64 {
    1.0 + 2.0 * f64::from(u32::try_from(k).unwrap_or(u32::MAX)).sqrt()
}

fn uniform(seed: u64, dims: &[u64]) -> (Shape, Data) {
    (Shape::new(dims), Data::uniform(seed, dims.iter().product(), 1.0))
}

fn with(bias: bool) -> &'static str {
    if bias { " with bias" } else { "" }
}

/// One addition more.
fn residual(name: &str, size: [u64; 3], bias: bool) -> Case {
    let [m, n, k] = size;
    // what GELU was taken of isn't read, so it is right for it to be anything
    let mut inputs = vec![uniform(7, &[m, k]), uniform(1, &[m, k]), uniform(2, &[k, n]), uniform(4, &[m, n])];
    inputs.extend(bias.then(|| uniform(3, &[n])));
    let tolerance = sum([m, n, k + 1], true);
    let op = Linear { of_gelu: true, residual: true };
    Case::new(format!("residual{}: {name}", with(bias)), op, inputs, tolerance)
}

/// GELU's slope is below 1.2.
fn gelu(name: &str, size: [u64; 3], bias: bool, keeps: bool) -> Case {
    let [m, n, k] = size;
    let mut inputs = vec![uniform(1, &[m, k]), uniform(2, &[k, n])];
    inputs.extend(bias.then(|| uniform(3, &[n])));
    let (pre, own) = (sum(size, bias), forward_tolerance(largest(size)));
    let out = Tolerance { abs: 1.2 * pre.abs + own.abs + own.rel * pre.abs, rel: 1.2 * pre.rel + own.rel };
    let tolerances = if keeps { vec![pre, out] } else { vec![out] };
    let kept = if keeps { " beside its input" } else { "" };
    let case = Case::new(format!("GELU{kept}{}: {name}", with(bias)), LinearGelu { keeps }, inputs, pre);
    case.tolerances(&tolerances)
}

/// The derivative is at most 1.2; its own error is that of a gradient as large as the sum.
fn gelu_backward(name: &str, size: [u64; 3]) -> Case {
    let [m, n, k] = size;
    let mut inputs = vec![uniform(1, &[m, k]), uniform(2, &[n, k])];
    // where the derivative vanishes, one element proves nothing
    let scale = if m * n == 1 { 1.0 } else { 6.0 };
    inputs.push((Shape::new(&[m, n]), Data::uniform(3, m * n, scale)));
    let (sum, own) = (sum(size, false), backward_tolerance(largest(size)));
    let tolerance = Tolerance { abs: 1.2 * sum.abs + own.abs, rel: 1.2 * sum.rel + own.rel };
    Case::new(format!("GELU's gradient: {name}"), LinearGeluBackward, inputs, tolerance)
}

/// The column sums are sums of as many terms, which are larger than the products.
fn params(name: &str, size: [u64; 3]) -> Case {
    let [m, n, k] = size;
    let inputs = vec![uniform(1, &[k, m]), uniform(2, &[k, n])];
    let n_term = usize::try_from(k).unwrap_or(usize::MAX);
    let columns = Tolerance::sum(n_term, 1.0 / 3.0_f64.sqrt());
    let case = Case::new(format!("gradients of weight and bias: {name}"), LinearBackwardParams, inputs, columns);
    case.tolerances(&[sum(size, false), columns])
}
