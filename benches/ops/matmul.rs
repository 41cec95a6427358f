use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::{Linear, LinearBackwardParams, LinearGelu, LinearGeluBackward, Matmul, Op};
use tril::tensor::{DType, Shape};

/// The linear layers of nano and GPT-2 with their gradients. Stored (N, K): forward is NT with a bias, `da` NN, `db` TN; stored
/// (K, N), as the model has them: NN, NT, TN.
pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    let shapes = [(768, 384, 128), (768, 128, 128), (768, 512, 128), (768, 128, 512), (768, 65, 128), (1024, 768, 768)];
    for (m, n, k) in shapes {
        let mut run = |kind: &str, op: Arc<dyn Op>, shapes: &[&[u64]]| {
            let inputs: Vec<(Shape, DType)> = shapes.iter().map(|s| (Shape::new(s), DType::F32)).collect();
            super::bench(c, gpu, &format!("matmul/{kind}_M{m}_N{n}_K{k}"), op, &inputs, super::Per::Flops);
        };
        let product = |trans_a, trans_b| Arc::new(Matmul { trans_a, trans_b });
        run("forward", product(false, true), &[&[m, k], &[n, k], &[n]]);
        run("da", product(false, false), &[&[m, n], &[n, k]]);
        run("db", product(true, false), &[&[m, n], &[m, k]]);
        // a linear layer and its gradients, with what their kernels do besides
        run("linear", product(false, false), &[&[m, k], &[k, n], &[n]]);
        let residual = Linear { of_gelu: false, residual: true };
        run("linear_residual", Arc::new(residual), &[&[m, k], &[k, n], &[m, n], &[n]]);
        run("linear_gelu", Arc::new(LinearGelu { keeps: true }), &[&[m, k], &[k, n], &[n]]);
        run("linear_da", product(false, true), &[&[m, n], &[k, n]]);
        run("linear_da_gelu", Arc::new(LinearGeluBackward), &[&[m, n], &[k, n], &[m, k]]);
        run("linear_db", product(true, false), &[&[m, k], &[m, n]]);
        run("linear_db_bias", Arc::new(LinearBackwardParams), &[&[m, k], &[m, n]]);
    }
}
