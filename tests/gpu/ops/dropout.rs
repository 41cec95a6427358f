use tril::ops::Dropout;
use tril::reference::compare::Tolerance;

use super::Golden;

#[test]
fn dropout() {
    super::check("dropout");
}

#[test]
fn dropout_golden() {
    Golden::each("dropout", |case| {
        // the case of the bare hash has no tensor to drop
        if !case.has("dout") {
            return;
        }
        // p is an f32 here and an f64 there; two roundings of the result as in the case table, one of p
        let op = Dropout { p: case.scalar("p") as f32, site: case.u32("site")[0] };
        let p_slack = 1.2e-7 * case.scalar("p") / (1.0 - case.scalar("p"));
        let tolerance = Tolerance::ulps(2.0).plus(Tolerance { abs: 0.0, rel: p_slack });
        case.check(op, &[case.f32("inp"), case.words("rng")], &[("out", tolerance)]);
        case.check(op, &[case.f32("dout"), case.words("rng")], &[("dinp", tolerance)]);
    });
}
