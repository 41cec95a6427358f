use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::{Embedding, EmbeddingBackward, EmbeddingBackwardPosition};
use tril::tensor::{DType, Shape};

use super::Per;

/// The inputs are zeros: every position has token 0.
pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for (b, t, n_col, v) in [(12, 64, 128, 65), (1, 1024, 768, 50257)] {
        let f32s = |dims: &[u64]| (Shape::new(dims), DType::F32);
        let name = |op: &str| format!("{op}/B{b}_T{t}_C{n_col}_V{v}");
        let inputs = [(Shape::new(&[b, t]), DType::U32), f32s(&[v, n_col]), f32s(&[t, n_col])];
        super::bench(c, gpu, &name("embedding"), Embedding::default(), &inputs, Per::Bytes);
        let dout = f32s(&[b, t, n_col]);
        let inputs = [dout, (Shape::new(&[3, b * t]), DType::U32)];
        super::bench(c, gpu, &name("embedding_backward"), EmbeddingBackward { vocab_size: v }, &inputs, Per::Bytes);
        let op = EmbeddingBackwardPosition { n_position: t };
        super::bench(c, gpu, &name("embedding_backward_position"), op, &[dout], Per::Bytes);
    }
}
