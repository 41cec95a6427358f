use tril::doctor::Data;
use tril::ops::{
    Embedding, EmbeddingBackward, EmbeddingBackwardPosition, document_places, document_spans, sorted_positions,
};
use tril::reference::compare::Tolerance;
use tril::tensor::Shape;

use super::pinned::{each_case, largest};

#[test]
fn embedding() {
    super::check("embedding");
}

#[test]
fn embedding_golden() {
    each_case("embedding", "ids", |case| {
        let mut inputs = vec![case.ids("ids"), case.input("wte")];
        if case.has("wpe") {
            inputs.push(case.input("wpe"));
        }
        if case.has("spans") {
            inputs.push((case.shape("spans"), Data::U32(case.u32("spans"))));
        }
        // one addition at most
        case.check(Embedding::default(), inputs, vec![(case.f64("out"), Tolerance::ulps(1.0))]);

        let ids = case.u32("ids");
        let sorted = (Shape::new(&[3, ids.len() as u64]), Data::U32(sorted_positions(&ids)));
        // every gradient is a sum of some rows of dout
        let tolerance = Tolerance::sum(ids.len(), largest(&case.f64("dout")));
        let op = EmbeddingBackward { vocab_size: case.shape("wte").n_row() };
        case.check(op, vec![case.input("dout"), sorted], vec![(case.f64("dwte"), tolerance)]);
        if case.has("spans") {
            let firsts: Vec<u32> = case.u32("spans").into_iter().step_by(2).collect();
            let places = document_places(&firsts, case.shape("ids").n_col() as usize);
            let sorted = (Shape::new(&[3, ids.len() as u64]), Data::U32(sorted_positions(&places)));
            let op = EmbeddingBackward { vocab_size: case.shape("wpe").n_row() };
            case.check(op, vec![case.input("dout"), sorted], vec![(case.f64("dwpe"), tolerance)]);
        } else if case.has("wpe") {
            let op = EmbeddingBackwardPosition { n_position: case.shape("wpe").n_row() };
            case.check(op, vec![case.input("dout")], vec![(case.f64("dwpe"), tolerance)]);
        }
    });
}

#[test]
fn sorted_positions_are_stable_runs() {
    let sorted = sorted_positions(&[7, 2, 7, 0, 2, 7]);
    assert_eq!(sorted, [3, 1, 4, 0, 2, 5, 0, 2, 2, 7, 7, 7, 0, 1, 1, 3, 3, 3]);
    assert!(sorted_positions(&[]).is_empty());
}

#[test]
fn spans_and_places_follow_from_the_first_positions() {
    let firsts = [0, 0, 2, 3, 3, 0, 0, 0, 0, 4];
    let spans = [[0, 2], [0, 2], [2, 3], [3, 5], [3, 5], [0, 4], [0, 4], [0, 4], [0, 4], [4, 5]];
    assert_eq!(document_spans(&firsts, 5), spans.concat());
    assert_eq!(document_places(&firsts, 5), [0, 1, 0, 0, 1, 0, 1, 2, 3, 0]);
}
