use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::{Attention, AttentionBackward};
use tril::tensor::{DType, Shape};

pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for (b, t, n_embd, n_head) in [(12, 64, 128, 4), (1, 1024, 768, 12)] {
        for p in [0.0, 0.1] {
            let qkv = (Shape::new(&[b, t, 3 * n_embd]), DType::F32);
            let dout = (Shape::new(&[b, t, n_embd]), DType::F32);
            let att = (Shape::new(&[b, n_head, t, t]), DType::F32);
            let rng = (Shape::new(&[4]), DType::U32);
            let row = format!("B{b}_T{t}_C{n_embd}_NH{n_head}_p{p}");
            let op = Attention { n_head, p, site: 1 };
            super::bench(c, gpu, &format!("attention/forward_{row}"), op, &[qkv, rng], super::Per::Flops);
            let op = AttentionBackward { n_head, p, site: 1 };
            let inputs = [dout, qkv, att, rng];
            super::bench(c, gpu, &format!("attention/backward_{row}"), op, &inputs, super::Per::Flops);
        }
    }
}
