use crate::doctor::cases::gelu::{backward_tolerance, forward_tolerance};
use crate::doctor::{Case, Data};
use crate::kernel::Choice;
use crate::ops::{Epilogue, Fused, Matmul};
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

const ALL: [Epilogue; 5] =
    [Epilogue::Gelu, Epilogue::GeluKeepInput, Epilogue::GeluGradient, Epilogue::Residual, Epilogue::ColumnSums];

/// Like a product of any size, with the effect of GELU or an addition on its error.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for variant in ["default", "t128", "t64x", "t32"] {
        let side = if variant == "t128" { 128 } else { 64 };
        let sizes = [
            ("whole tiles", [side, side, 32]),
            ("beyond a tile", [side + 4, side + 8, 20]),
            ("several tiles", [2 * side + 4, side + 36, 36]),
            ("four elements", [4, 4, 4]),
        ];
        // each mode of each variant takes a while to compile
        for (name, size) in sizes.into_iter().take(if variant == "default" { 4 } else { 2 }) {
            let pin = |case: Case| case.choice(tiled().pin("matmul_tiled4_fused", variant));
            cases.extend(ALL.map(|then| pin(fused(then, &format!("{variant}, {name}"), size, name != "whole tiles"))));
        }
    }
    // odd rows and terms, if the layout allows them
    cases.extend(
        [Epilogue::Gelu, Epilogue::GeluKeepInput, Epilogue::Residual]
            .map(|then| fused(then, "odd rows", [67, 36, 20], true)),
    );
    cases.push(fused(Epilogue::GeluGradient, "odd rows", [67, 36, 20], false));
    cases.push(fused(Epilogue::ColumnSums, "odd terms", [36, 68, 37], false));
    let bytes = 64 * 152 * 4;
    cases.extend(
        [Epilogue::Gelu, Epilogue::GeluKeepInput, Epilogue::GeluGradient, Epilogue::Residual].into_iter().flat_map(
            |then| {
                [[200, 20, 152], [200, 152, 20]]
                    .map(|size| fused(then, "split over bindings", size, true).max_binding(bytes))
            },
        ),
    );
    let sums = |name: &str, size| fused(Epilogue::ColumnSums, name, size, false);
    cases.extend([
        sums("split over bindings", [152, 20, 200]).max_binding(bytes),
        sums("split over bindings", [20, 152, 200]).max_binding(bytes),
        sums("one term", [12, 8, 1]),
        sums("in short sums", [8, 12, 8196]),
        sums("split by work", [152, 20, 36]).max_work(100_000),
        sums("terms in two parts", [36, 40, 512]),
        sums("terms in parts with a rest", [36, 40, 1028]),
        fused(Epilogue::Residual, "split by work", [200, 20, 36], true).max_work(100_000),
    ]);
    cases
}

fn tiled() -> Choice {
    Choice::default().pin("matmul", "tiled")
}

/// A running f32 sum of K products and, with a bias, one more term.
fn sum(k: u64, bias: bool) -> Tolerance {
    let n_term = usize::try_from(k + u64::from(bias)).unwrap_or(usize::MAX);
    Tolerance::sum(n_term, if bias { 3.0_f64.sqrt() } else { 1.0 } / 3.0)
}

/// A product of uniform values, with the layout that each epilogue has in training.
fn fused(then: Epilogue, name: &str, [m, n, k]: [u64; 3], bias: bool) -> Case {
    let (trans_a, trans_b) = (then == Epilogue::ColumnSums, then == Epilogue::GeluGradient);
    let has_bias = bias && !trans_a && !trans_b;
    let side = |trans: bool, rows: u64, cols: u64| if trans { [cols, rows] } else { [rows, cols] };
    let uniform =
        |seed: u64, dims: &[u64], scale: f32| (Shape::new(dims), Data::uniform(seed, dims.iter().product(), scale));
    let mut inputs = vec![uniform(1, &side(trans_a, m, k), 1.0), uniform(2, &side(trans_b, k, n), 1.0)];
    match then {
        Epilogue::GeluGradient => inputs.push(uniform(4, &[m, n], 6.0)),
        Epilogue::Residual => inputs.push(uniform(4, &[m, n], 1.0)),
        Epilogue::Gelu | Epilogue::GeluKeepInput | Epilogue::ColumnSums => {}
    }
    inputs.extend(has_bias.then(|| uniform(3, &[n], 1.0)));
    // the largest likely sum
    let largest = 1.0 + 2.0 * f64::from(u32::try_from(k).unwrap_or(u32::MAX)).sqrt();
    let pre = sum(k, has_bias);
    // GELU's slope is below 1.2
    let (own, slope) = (forward_tolerance(largest), backward_tolerance(largest));
    let gelu = Tolerance { abs: 1.2 * pre.abs + own.abs + own.rel * pre.abs, rel: 1.2 * pre.rel + own.rel };
    let tolerances = match then {
        Epilogue::Gelu => vec![gelu],
        Epilogue::GeluKeepInput => vec![pre, gelu],
        Epilogue::GeluGradient => vec![Tolerance { abs: 1.2 * pre.abs + slope.abs, rel: 1.2 * pre.rel + slope.rel }],
        // one more addition
        Epilogue::Residual => vec![sum(k + 1, true)],
        // sums of as many terms, which are larger than the products
        Epilogue::ColumnSums => {
            let n_term = usize::try_from(k).unwrap_or(usize::MAX);
            vec![pre, Tolerance::sum(n_term, 1.0 / 3.0_f64.sqrt())]
        }
    };
    let what = match then {
        Epilogue::Gelu => "GELU",
        Epilogue::GeluKeepInput => "GELU beside its input",
        Epilogue::GeluGradient => "GELU's gradient",
        Epilogue::Residual => "residual",
        Epilogue::ColumnSums => "column sums",
    };
    let with = if has_bias { " with bias" } else { "" };
    let op = Fused { product: Matmul { trans_a, trans_b }, then };
    Case::new(format!("fused, {what}{with}: {name}"), op, inputs, pre).tolerances(&tolerances).choice(tiled())
}
