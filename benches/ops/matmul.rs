use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::Matmul;
use tril::tensor::{DType, Shape};

/// The linear layers of nano and GPT-2 with their gradients: forward is NT with a bias, `da` NN, `db` TN. The last is one
/// whose `db` has few tiles and many terms.
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
        let mut run = |kind: &str, trans_a: bool, trans_b: bool, shapes: &[&[u64]]| {
            let inputs: Vec<(Shape, DType)> = shapes.iter().map(|s| (Shape::new(s), DType::F32)).collect();
            let name = format!("matmul/{kind}_M{m}_N{n}_K{k}");
            super::bench(c, gpu, &name, Matmul { trans_a, trans_b }, &inputs, super::Per::Flops);
        };
        run("forward", false, true, &[&[m, k], &[n, k], &[n]]);
        run("da", false, false, &[&[m, n], &[n, k]]);
        run("db", true, false, &[&[m, n], &[m, k]]);
    }
}
