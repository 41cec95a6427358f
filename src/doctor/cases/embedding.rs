mod decode;

use crate::doctor::{Case, Data};
use crate::ops::{Embedding, EmbeddingBackward, EmbeddingBackwardPosition, document_spans, sorted_positions};
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// Sizes of a case.
#[derive(Clone, Copy)]
struct Dims {
    b: u64,
    t: u64,
    c: u64,
    v: u64,
}

/// A gather is exact; with positions it is one addition. A gradient is a sum of at most as many terms as positions that
/// share a token (or batches that share a position), each up to the largest |dout|.
pub(super) fn cases() -> Vec<Case> {
    let forward = |name: &str, d: Dims, n_position: u64, scale: f32| {
        let mut inputs = vec![
            (Shape::new(&[d.b, d.t]), Data::ids(1, d.b * d.t, d.v as u32)),
            (Shape::new(&[d.v, d.c]), Data::uniform(2, d.v * d.c, scale)),
        ];
        if n_position > 0 {
            inputs.push((Shape::new(&[n_position, d.c]), Data::uniform(3, n_position * d.c, scale)));
        }
        let tolerance = if n_position > 0 { Tolerance::ulps(1.0) } else { Tolerance::exact() };
        Case::new(name, Embedding::default(), inputs, tolerance)
    };
    let documents = |name: &str, d: Dims, firsts: &[u32]| {
        let spans = (Shape::new(&[d.b, d.t, 2]), Data::U32(document_spans(firsts, d.t as usize)));
        let mut case = forward(name, d, d.t, 1.0);
        case.inputs.push(spans);
        case
    };
    let backward = |name: &str, d: Dims, n_id: u32, scale: f32| {
        let n = d.b * d.t;
        let Data::U32(ids) = Data::ids(4, n, n_id) else { unreachable!("ids are u32") };
        let most = ids.iter().map(|id| ids.iter().filter(|other| *other == id).count()).max().unwrap_or(1);
        let inputs = vec![
            (Shape::new(&[d.b, d.t, d.c]), Data::uniform(5, n * d.c, scale)),
            (Shape::new(&[3, n]), Data::U32(sorted_positions(&ids))),
        ];
        let op = EmbeddingBackward { vocab_size: d.v };
        Case::new(format!("dwte, {name}"), op, inputs, Tolerance::sum(most, scale.into()))
    };
    let position = |name: &str, d: Dims, n_position: u64, scale: f32| {
        let inputs = vec![(Shape::new(&[d.b, d.t, d.c]), Data::uniform(6, d.b * d.t * d.c, scale))];
        let op = EmbeddingBackwardPosition { n_position };
        Case::new(format!("dwpe, {name}"), op, inputs, Tolerance::sum(d.b as usize, scale.into()))
    };
    let dims = |b, t, c, v| Dims { b, t, c, v };
    let mut cases = decode::cases();
    cases.extend([
        forward("one element", dims(1, 1, 1, 1), 1, 1.0),
        forward("not a multiple of 4", dims(2, 5, 7, 11), 5, 1.0),
        forward("gather", dims(3, 5, 6, 9), 0, 1.0),
        forward("more positions than used", dims(2, 5, 64, 11), 9, 1.0),
        forward("workgroup plus 1", dims(5, 1, 205, 3), 1, 1.0),
        forward("huge values", dims(2, 3, 4, 5), 3, 1e37),
        forward("tiny values", dims(2, 3, 4, 5), 3, 1e-30),
        forward("more than 65,535 rows", dims(1, 65_537, 3, 7), 0, 1.0),
        documents("documents", dims(2, 5, 7, 11), &[0, 0, 0, 3, 4, 0, 1, 1, 1, 1]),
        documents("documents", dims(1, 6, 12, 11), &[0, 1, 1, 3, 3, 3]),
        documents("documents, split over bindings", dims(3, 100, 12, 500), &[0; 300]).max_binding(5120),
        forward("split over bindings", dims(3, 100, 12, 500), 100, 1.0).max_binding(5120),
        backward("one element", dims(1, 1, 1, 1), 1, 1.0),
        backward("not a multiple of 4", dims(2, 5, 7, 11), 11, 1.0),
        backward("one token", dims(5, 13, 9, 3), 1, 1.0),
        backward("chunks of a few tokens", dims(4, 65, 33, 5), 3, 1.0),
        backward("most tokens absent", dims(2, 8, 12, 1000), 1000, 1.0),
        backward("huge values", dims(2, 20, 4, 5), 2, 1e36),
        backward("tiny values", dims(2, 20, 4, 5), 2, 1e-30),
        backward("many rows", dims(2, 4099, 3, 7), 7, 1.0),
        backward("split over bindings", dims(2, 16, 12, 500), 500, 1.0).max_binding(5120),
        position("one element", dims(1, 1, 1, 1), 1, 1.0),
        position("not a multiple of 4", dims(3, 5, 7, 1), 5, 1.0),
        position("more positions than used", dims(3, 5, 64, 1), 9, 1.0),
        position("workgroup plus 1", dims(2, 5, 205, 1), 5, 1.0),
        position("many batches", dims(1000, 2, 3, 1), 2, 1.0),
        position("huge values", dims(3, 5, 7, 1), 5, 1e37),
        position("tiny values", dims(3, 5, 7, 1), 5, 1e-30),
    ]);
    cases
}
