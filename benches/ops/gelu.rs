use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::{Gelu, GeluBackward};
use tril::tensor::{DType, Shape};

use super::Per;

pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for (n_row, n_col) in [(768, 512), (1024, 3072), (767, 511)] {
        let input = (Shape::new(&[n_row, n_col]), DType::F32);
        super::bench(c, gpu, &format!("gelu/N{n_row}_C{n_col}"), Gelu, &[input], Per::Bytes);
        let name = format!("gelu_backward/N{n_row}_C{n_col}");
        super::bench(c, gpu, &name, GeluBackward, &[input; 2], Per::Bytes);
    }
}
