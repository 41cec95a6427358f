use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::Adamw;
use tril::tensor::{DType, Shape};

pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for n in [804_096, 16 << 20] {
        let inputs = [n, 4, 8, 4].map(|n| (Shape::new(&[n]), DType::F32));
        super::bench(c, gpu, &format!("adamw/{n}"), Adamw { n_decay: n }, &inputs, super::Per::Bytes);
    }
}
