use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::Residual;
use tril::tensor::{DType, Shape};

pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for (n_row, n_col) in [(768, 128), (1024, 768)] {
        let inputs = [(Shape::new(&[n_row, n_col]), DType::F32); 2];
        super::bench(c, gpu, &format!("residual/N{n_row}_C{n_col}"), Residual, &inputs, super::Per::Bytes);
    }
}
