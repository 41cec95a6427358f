use crate::doctor::{Case, Data};
use crate::ops::Matvec;
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// Like a product of any size; GELU, whose slope is below 1.2, adds the error of an `exp`.
pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, [m, n, k]: [u64; 3], trans_b: bool, bias: bool, gelu: bool, scale: f32| {
        let mut inputs = vec![
            (Shape::new(&[m, k]), Data::uniform(1, m * k, scale)),
            (Shape::new(&if trans_b { [n, k] } else { [k, n] }), Data::uniform(2, k * n, scale)),
        ];
        if bias {
            inputs.push((Shape::new(&[n]), Data::uniform(3, n, scale * scale)));
        }
        let n_term = usize::try_from(k + u64::from(bias)).unwrap_or(usize::MAX);
        let square = f64::from(scale) * f64::from(scale);
        let mut tolerance = Tolerance::sum(n_term, square * if bias { 3.0_f64.sqrt() } else { 1.0 } / 3.0);
        if gelu {
            let largest = square * f64::from(u32::try_from(k).unwrap_or(u32::MAX)).sqrt() * 4.0;
            tolerance =
                Tolerance { abs: 1.2 * tolerance.abs + 4e-6 * largest.min(16.0), rel: 1.2 * tolerance.rel + 4e-6 };
        }
        let kind = if trans_b { "NT" } else { "NN" };
        let with = [if bias { " with bias" } else { "" }, if gelu { " with GELU" } else { "" }].concat();
        Case::new(format!("matvec {kind}{with}: {name}"), Matvec { trans_b, gelu }, inputs, tolerance)
    };
    let mut cases = vec![];
    for trans_b in [false, true] {
        cases.extend([
            case("smallest", [1, 4, 4], trans_b, false, false, 1.0),
            case("one row", [1, 36, 20], trans_b, true, false, 1.0),
            case("one row", [1, 132, 68], trans_b, true, true, 1.0),
            case("two rows", [2, 384, 128], trans_b, true, false, 1.0),
            case("three rows", [3, 128, 512], trans_b, false, false, 1.0),
            case("rows in parts", [7, 40, 24], trans_b, true, true, 1.0),
            case("most rows", [16, 260, 64], trans_b, true, false, 1.0),
            case("huge values", [1, 12, 8], trans_b, false, false, 1e18),
            case("tiny values", [1, 12, 8], trans_b, false, false, 1e-17),
            case("split over bindings", [2, 200, 200], trans_b, true, true, 0.3).max_binding(64 * 200 * 4),
        ]);
    }
    cases.extend([
        case("one column", [3, 1, 8], true, true, false, 1.0),
        case("columns past a tile", [1, 67, 132], true, false, false, 1.0),
        case("many columns", [1, 50_257, 8], true, false, false, 1.0),
    ]);
    cases
}
