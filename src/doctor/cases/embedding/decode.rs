use crate::doctor::{Case, Data};
use crate::ops::EmbeddingDecode;
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// One addition.
pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, [b, t, c, v]: [u64; 4], scale: f32| {
        let (Data::U32(tokens), Data::U32(lengths)) = (Data::ids(1, b, v as u32), Data::ids(2, b, t as u32)) else {
            unreachable!("ids are u32")
        };
        let cursor = tokens.into_iter().zip(lengths).flat_map(|(token, length)| [token, length, 7, 8]).collect();
        let inputs = vec![
            (Shape::new(&[b, 4]), Data::U32(cursor)),
            (Shape::new(&[v, c]), Data::uniform(3, v * c, scale)),
            (Shape::new(&[t, c]), Data::uniform(4, t * c, scale)),
        ];
        Case::new(format!("decode, {name}"), EmbeddingDecode, inputs, Tolerance::ulps(1.0))
    };
    let mut none = case("no token, past the end", [3, 5, 6, 4], 1.0);
    none.inputs[0].1 = Data::U32(vec![u32::MAX, 2, 0, 0, 3, 9, 0, 0, 4, 4, 0, 0]);
    vec![
        none,
        case("one element", [1, 1, 1, 1], 1.0),
        case("not a multiple of 4", [3, 5, 7, 11], 1.0),
        case("workgroup plus 1", [5, 9, 205, 3], 1.0),
        case("huge values", [2, 3, 4, 5], 1e37),
        case("tiny values", [2, 3, 4, 5], 1e-30),
        case("split over bindings", [9, 20, 12, 500], 1.0).max_binding(5120),
    ]
}
