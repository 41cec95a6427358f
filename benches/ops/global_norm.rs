use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::GlobalNorm;
use tril::tensor::{DType, Shape};

pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for n in [804_096, 16 << 20] {
        let inputs = [1, 2, n].map(|n| (Shape::new(&[n]), DType::F32));
        super::bench(c, gpu, &format!("global_norm/{n}"), GlobalNorm { max_norm: 1.0 }, &inputs, super::Per::Bytes);
    }
}
