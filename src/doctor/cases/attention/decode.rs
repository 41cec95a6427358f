use super::{Sizes, errors};
use crate::doctor::{Case, Data};
use crate::ops::{AttentionDecode, AttentionPrefill, cache_shape};
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// Filling the cache is a copy. A new position errs like a row of the forward pass: `errors` of as many positions.
pub(super) fn cases() -> Vec<Case> {
    vec![
        prefill("one element", [1, 1, 1, 1], 1, &[1]),
        prefill("not multiples of 4", [3, 5, 6, 2], 7, &[5, 0, 3]),
        prefill("multiples of 4", [2, 16, 24, 3], 16, &[16, 9]),
        prefill("workgroup plus 1", [1, 33, 16, 2], 40, &[33]),
        decode("first position", [2, 8, 6, 3], &[0, 0], 1.0),
        decode("one element", [1, 1, 1, 1], &[0], 1.0),
        decode("not multiples of 4", [2, 9, 6, 2], &[4, 8], 1.0),
        decode("rows of unlike length", [3, 64, 24, 3], &[0, 31, 63], 1.0),
        decode("lanes minus and plus 1", [3, 80, 16, 2], &[62, 63, 64], 1.0),
        decode("rounds of positions", [3, 300, 16, 2], &[254, 255, 256], 1.0),
        decode("heads of 32 channels", [1, 128, 128, 4], &[127], 1.0),
        decode("heads of 100 channels", [1, 40, 200, 2], &[33], 1.0),
        decode("more positions than a tile", [2, 2100, 8, 1], &[1023, 2060], 1.0),
        decode("past the end", [1, 6, 8, 2], &[6], 1.0),
        decode("sharp", [1, 33, 8, 2], &[30], 4.0),
        decode("tiny values", [1, 9, 8, 2], &[7], 1e-15),
    ]
}

fn prefill(name: &str, [b, t, c, n_head]: Sizes, block: u64, fed: &[u32]) -> Case {
    let inputs = vec![
        (Shape::new(&[b, t, 3 * c]), Data::uniform(1, b * t * 3 * c, 1.0)),
        (Shape::new(&[b]), Data::U32(fed.to_vec())),
    ];
    let shape = cache_shape(b, n_head, block, c);
    Case::new(format!("prefill, {name}"), AttentionPrefill { n_head, block }, inputs, Tolerance::exact())
        .state(vec![(shape, Data::uniform(2, shape.numel(), 1.0))])
}

fn decode(name: &str, [b, block, c, n_head]: Sizes, lengths: &[u32], scale: f32) -> Case {
    let inputs = vec![
        (Shape::new(&[b, 1, 3 * c]), Data::uniform(1, b * 3 * c, scale)),
        (Shape::new(&[b, 4]), Data::U32(lengths.iter().flat_map(|&length| [5, length, 6, 7]).collect())),
    ];
    let shape = cache_shape(b, n_head, block, c);
    let out = Shape::new(&[b, 1, c]);
    let (att, largest, _) = errors([b, block, c, n_head], 0.0, scale);
    let tolerance = Tolerance { abs: (att + 1e-6) * largest + f64::from(f32::MIN_POSITIVE), rel: 0.0 };
    Case::new(format!("decode, {name}"), AttentionDecode { n_head, block }, inputs, tolerance)
        .tolerances(&[tolerance, Tolerance::exact()])
        .state(vec![(out, Data::all(out.numel(), 9.0)), (shape, Data::uniform(2, shape.numel(), scale))])
}
