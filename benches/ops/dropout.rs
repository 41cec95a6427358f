use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::Dropout;
use tril::tensor::{DType, Shape};

pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for (n_row, n_col) in [(768, 128), (1024, 768)] {
        let inputs = [(Shape::new(&[n_row, n_col]), DType::F32), (Shape::new(&[4]), DType::U32)];
        let name = format!("dropout/N{n_row}_C{n_col}");
        super::bench(c, gpu, &name, Dropout { p: 0.1, site: 1 }, &inputs, super::Per::Bytes);
    }
}
