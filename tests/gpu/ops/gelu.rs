use tril::doctor::cases::gelu::{backward_tolerance, forward_tolerance};
use tril::ops::{Gelu, GeluBackward};

use super::pinned::{each_case, largest};

#[test]
fn gelu() {
    super::check("gelu");
}

#[test]
fn gelu_golden() {
    each_case("gelu", "inp", |case| {
        let scale = largest(&case.f64("inp"));
        case.check(Gelu, vec![case.input("inp")], vec![(case.f64("out"), forward_tolerance(scale))]);
        let tolerance = backward_tolerance(largest(&case.f64("dout")));
        let inputs = vec![case.input("dout"), case.input("inp")];
        case.check(GeluBackward, inputs, vec![(case.f64("dinp"), tolerance)]);
    });
}
