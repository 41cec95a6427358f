use tril::doctor::cases::gelu::{backward_tolerance, forward_tolerance};
use tril::ops::{Epilogue, Fused, Matmul};
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

#[test]
fn what_follows_a_matmul_golden() {
    Golden::each("matmul", |case| {
        if !case.has("gelu") {
            return;
        }
        let [m, n, k] = [0, 1, 2].map(|i| case.u32("dims")[i] as usize);
        let fused = |trans_a, trans_b, then| Fused { product: Matmul { trans_a, trans_b }, then };
        let [a, b, bias, dout, pre, stream] = ["a", "b", "bias", "dout", "pre", "stream"].map(|name| case.f32(name));
        let largest = |names: [&str; 2]| case.largest(names[0]) * case.largest(names[1]);
        let sum = Tolerance::sum(k + 2, largest(["a", "b"]).max(case.largest("bias")).max(case.largest("stream")));

        // GELU's slope and its derivative are below 1.2
        let gelu = sum.plus(sum).plus(forward_tolerance(case.largest("out")));
        let inputs = [a.clone(), b.clone(), bias.clone()];
        case.check(fused(false, false, Epilogue::Gelu), &inputs, &[("gelu", gelu)]);
        case.check(fused(false, false, Epilogue::GeluKeepInput), &inputs, &[("out", sum), ("gelu", gelu)]);
        case.check(fused(false, false, Epilogue::Residual), &[a.clone(), b.clone(), stream, bias], &[("sum", sum)]);

        let height = n as f64 * largest(["dout", "b"]);
        let through = Tolerance::sum(n, 1.2 * largest(["dout", "b"])).plus(backward_tolerance(height));
        case.check(fused(false, true, Epilogue::GeluGradient), &[dout.clone(), b, pre], &[("dpre", through)]);

        let weight = Tolerance::sum(m, largest(["a", "dout"]));
        let outputs = [("db", weight), ("dbias", Tolerance::sum(m, case.largest("dout")))];
        case.check(fused(true, false, Epilogue::ColumnSums), &[a, dout], &outputs);
    });
}
