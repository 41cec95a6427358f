use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::{CrossEntropy, CrossEntropyBackward};
use tril::tensor::{DType, Shape};

use super::Per;

pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for (n_row, v) in [(768, 65), (256, 50257)] {
        let logits = (Shape::new(&[n_row, v]), DType::F32);
        let targets = (Shape::new(&[n_row]), DType::U32);
        let scale = (Shape::new(&[1]), DType::F32);
        let name = |op: &str| format!("{op}/N{n_row}_V{v}");
        super::bench(c, gpu, &name("cross_entropy"), CrossEntropy, &[logits, targets, scale], Per::Bytes);
        let inputs = [logits, targets, scale, (Shape::new(&[n_row]), DType::F32)];
        super::bench(c, gpu, &name("cross_entropy_backward"), CrossEntropyBackward, &inputs, Per::Bytes);
    }
}
