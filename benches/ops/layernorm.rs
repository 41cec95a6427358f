use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::{Layernorm, LayernormBackward, LayernormBackwardParams, ResidualLayernorm};
use tril::tensor::{DType, Shape};

use super::Per;

pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for (n_row, n_col) in [(768, 128), (1024, 768)] {
        let f32s = |dims: &[u64]| (Shape::new(dims), DType::F32);
        let (all, rows, columns) = (f32s(&[n_row, n_col]), f32s(&[n_row]), f32s(&[n_col]));
        let name = |op: &str| format!("{op}/N{n_row}_C{n_col}");
        super::bench(c, gpu, &name("layernorm"), Layernorm { eps: 1e-5 }, &[all, columns, columns], Per::Bytes);
        let inputs = [all, all, columns, rows, rows];
        super::bench(c, gpu, &name("layernorm_backward"), LayernormBackward, &inputs, Per::Bytes);
        let inputs = [all, all, rows, rows];
        let op = LayernormBackwardParams { bias: true };
        super::bench(c, gpu, &name("layernorm_backward_params"), op, &inputs, Per::Bytes);
        let inputs = [all, all, columns, columns];
        super::bench(c, gpu, &name("layernorm_residual"), ResidualLayernorm { eps: 1e-5 }, &inputs, Per::Bytes);
    }
}
