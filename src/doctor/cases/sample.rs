use crate::doctor::{Case, Data};
use crate::ops::Sample;
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// Tokens and counts are exact. A random point falls closer to the border of two tokens than f32 sums err once in some
/// 10,000 draws, and never with the seeds below.
pub(super) fn cases() -> Vec<Case> {
    let logits =
        |n_row: u64, n_col: u64, scale: f32| (Shape::new(&[n_row, n_col]), Data::uniform(1, n_row * n_col, scale));
    type Forbidden = fn(u32) -> bool;
    let without =
        |forbidden: Forbidden, name: &str, logits: (Shape, Data), temperature: f32, top_k: usize, top_p: f32| {
            let (n_row, n_col) = (logits.0.n_row(), logits.0.n_col());
            let settings = Sample::settings(temperature, top_k, top_p, 0x1234_5678_9abc_def0);
            let settings = [&settings[..], &Sample::forbidden(n_col, forbidden)].concat();
            // one row in five was fed nothing
            let fed = (0..n_row as u32).map(|row| if row % 5 == 3 { 0 } else { 1 + row }).collect();
            let cursor = (0..n_row as u32).flat_map(|row| [row, 2 * row, 3 + row, 100 + row]).collect();
            let inputs = vec![
                logits,
                (Shape::new(&[Sample::n_setting(n_col)]), Data::U32(settings)),
                (Shape::new(&[n_row]), Data::U32(fed)),
            ];
            let n_text = 3;
            Case::new(name, Sample { n_text }, inputs, Tolerance::exact()).state(vec![
                (Shape::new(&[n_row, 4]), Data::U32(cursor)),
                (Shape::new(&[n_row, n_text]), Data::ids(2, n_row * n_text, 50)),
            ])
        };
    let case =
        |name: &str, logits, temperature, top_k, top_p| without(|_| false, name, logits, temperature, top_k, top_p);
    let row = |values: &[f32]| (Shape::new(&[1, values.len() as u64]), Data::F32(values.to_vec()));
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    // 40 equal logits among lower ones
    let ties: Vec<f32> = (0..100u32).map(|i| if i % 5 < 2 { 1.5 } else { -1.0 }).collect();
    vec![
        case("one token", row(&[0.3]), 0.8, 0, 1.0),
        case("greedy", logits(5, 65, 4.0), 0.0, 0, 1.0),
        case("greedy, ties", row(&[1.0, 3.0, -3.0, 3.0, 3.0]), 0.0, 0, 1.0),
        case("greedy, zeros of both signs", row(&[-1.0, -0.0, 0.0]), 0.0, 0, 1.0),
        case("every token", logits(40, 65, 4.0), 0.8, 0, 1.0),
        case("workgroup minus 1", logits(10, 255, 4.0), 1.0, 0, 1.0),
        case("workgroup plus 1", logits(10, 257, 4.0), 1.3, 0, 1.0),
        case("top-k", logits(40, 300, 4.0), 1.0, 7, 1.0),
        case("top-k of 1", logits(5, 300, 4.0), 1.0, 1, 1.0),
        case("top-k of more than there are", logits(5, 30, 4.0), 1.0, 31, 1.0),
        case("top-p", logits(40, 300, 4.0), 1.0, 0, 0.7),
        case("top-p of nearly nothing", logits(5, 300, 4.0), 1.0, 0, 1e-6),
        case("top-k and top-p", logits(40, 300, 4.0), 1.2, 50, 0.9),
        case(
            "negative logits",
            (Shape::new(&[1, 64]), Data::F32((0..64u8).map(|i| -100.0 - f32::from(i % 9)).collect())),
            1.0,
            20,
            0.9,
        ),
        case("ties, top-k", (Shape::new(&[1, 100]), Data::F32(ties.clone())), 1.0, 11, 1.0),
        case("ties, top-p", (Shape::new(&[1, 100]), Data::F32(ties.clone())), 1.0, 0, 0.33),
        case("ties, both", (Shape::new(&[1, 100]), Data::F32(ties)), 1.0, 30, 0.5),
        case("some logits not finite", row(&[nan, 1.0, inf, 0.5, -inf, -nan, 0.9]), 1.0, 2, 1.0),
        case("fewer finite logits than top-k", row(&[nan, 1.0, inf, 0.5, -inf, -nan, 0.9]), 1.0, 5, 0.99),
        case("no logit finite", row(&[nan, inf, -inf]), 1.0, 0, 1.0),
        case("huge logits", logits(5, 65, 1e38), 1.0, 0, 1.0),
        case("tiny temperature", logits(5, 65, 4.0), 1e-30, 0, 0.9),
        case("huge temperature", logits(5, 65, 4.0), 1e30, 3, 1.0),
        case("GPT-2's vocabulary", logits(2, 50_257, 9.0), 0.8, 200, 0.95),
        without(|id| id >= 257, "forbidden at the end", logits(20, 320, 0.1), 1.0, 0, 1.0),
        without(|id| id % 3 > 0, "forbidden among the others, top-k", logits(20, 300, 4.0), 1.0, 7, 1.0),
        without(|id| id % 32 == 31, "forbidden, top-p", logits(20, 300, 4.0), 1.0, 0, 0.7),
        without(|id| id == 1, "the likeliest forbidden, greedy", row(&[1.0, 9.0, 3.0]), 0.0, 0, 1.0),
        without(|_| true, "all forbidden", row(&[1.0, 9.0, 3.0]), 1.0, 0, 1.0),
        case("many rows", logits(70_000, 3, 3.0), 1.0, 2, 1.0),
    ]
}
