use tril::ops::Matmul;
use tril::reference::compare::Tolerance;

use super::Golden;

#[test]
fn matmul() {
    super::check("matmul");
}

#[test]
fn matmul_golden() {
    Golden::each("matmul", |case| {
        let dims = case.u32("dims");
        let (k, trans_a, trans_b) = (dims[2] as usize, dims[3] == 1, dims[4] == 1);
        let mut inputs = vec![case.f32("a"), case.f32("b")];
        let mut largest = case.largest("a") * case.largest("b");
        if case.has("bias") {
            inputs.push(case.f32("bias"));
            largest = largest.max(case.largest("bias"));
        }
        case.check(Matmul { trans_a, trans_b }, &inputs, &[("out", Tolerance::sum(k + 1, largest))]);
    });
}
