use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::{Epilogue, Fused, Matmul, Op};
use tril::tensor::{DType, Shape};

/// The linear layers of nano and GPT-2 with their gradients: forward is NT with a bias, `da` NN, `db` TN. In the last
/// one `db` has few tiles and many terms. Also the epilogues of a GPU's kernels, with the weight stored (K, N).
pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    let shapes = [
        (768, 384, 128),
        (768, 128, 128),
        (768, 512, 128),
        (768, 128, 512),
        (768, 65, 128),
        (1024, 768, 768),
        (4096, 128, 128),
    ];
    for (m, n, k) in shapes {
        let mut run = |kind: &str, op: Arc<dyn Op>, shapes: &[&[u64]]| {
            let inputs: Vec<(Shape, DType)> = shapes.iter().map(|s| (Shape::new(s), DType::F32)).collect();
            let name = format!("matmul/{kind}_M{m}_N{n}_K{k}");
            super::bench_shared(c, gpu, &name, op, &inputs, super::Per::Flops);
        };
        let product = |trans_a, trans_b| Matmul { trans_a, trans_b };
        run("forward", Arc::new(product(false, true)), &[&[m, k], &[n, k], &[n]]);
        run("da", Arc::new(product(false, false)), &[&[m, n], &[n, k]]);
        run("db", Arc::new(product(true, false)), &[&[m, n], &[m, k]]);
        let rows_in_fours = n % 4 == 0;
        if gpu.caps().is_cpu || !rows_in_fours {
            continue;
        }
        let fused = |trans_a, trans_b, then| Arc::new(Fused { product: product(trans_a, trans_b), then });
        run("forward_gelu", fused(false, false, Epilogue::GeluKeepInput), &[&[m, k], &[k, n], &[n]]);
        run("forward_residual", fused(false, false, Epilogue::Residual), &[&[m, k], &[k, n], &[m, n], &[n]]);
        run("da_gelu", fused(false, true, Epilogue::GeluGradient), &[&[m, n], &[k, n], &[m, k]]);
        run("db_columns", fused(true, false, Epilogue::ColumnSums), &[&[m, k], &[m, n]]);
    }
}
