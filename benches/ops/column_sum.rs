use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::ColumnSum;
use tril::tensor::{DType, Shape};

pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for (n_row, n_col) in [(768, 128), (768, 512), (1024, 3072)] {
        let inputs = [(Shape::new(&[n_row, n_col]), DType::F32)];
        super::bench(c, gpu, &format!("column_sum/N{n_row}_C{n_col}"), ColumnSum, &inputs, super::Per::Bytes);
    }
}
