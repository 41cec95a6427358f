use std::sync::Arc;

use criterion::Criterion;
use tril::gpu::Gpu;
use tril::ops::{Attention, AttentionBackward, FlashAttention, FlashAttentionBackward};
use tril::tensor::{DType, Shape};

/// Both kinds of attention side by side. For both, FLOPs are those of the scores up to the diagonal, and of four
/// products backward.
pub fn bench(c: &mut Criterion, gpu: &Arc<Gpu>) {
    for (b, t, n_embd, n_head) in [(8, 128, 128, 4), (12, 256, 384, 6), (1, 256, 768, 12), (1, 1024, 768, 12)] {
        for p in [0.0, 0.1] {
            let qkv = (Shape::new(&[b, t, 3 * n_embd]), DType::F32);
            let out = (Shape::new(&[b, t, n_embd]), DType::F32);
            let att = (Shape::new(&[b, n_head, t, t]), DType::F32);
            let lse = (Shape::new(&[b, n_head, t]), DType::F32);
            let rng = (Shape::new(&[4]), DType::U32);
            let row = format!("B{b}_T{t}_C{n_embd}_NH{n_head}_p{p}");
            let (site, per) = (1, super::Per::Flops);
            let softmax = Attention { n_head, p, site };
            super::bench(c, gpu, &format!("attention/softmax_forward_{row}"), softmax, &[qkv, rng], per);
            let flash = FlashAttention { n_head, p, site };
            super::bench(c, gpu, &format!("attention/flash_forward_{row}"), flash, &[qkv, rng], per);
            let softmax = AttentionBackward { n_head, p, site };
            let inputs = [out, qkv, att, rng];
            super::bench(c, gpu, &format!("attention/softmax_backward_{row}"), softmax, &inputs, per);
            let flash = FlashAttentionBackward { n_head, p, site };
            let inputs = [out, out, qkv, lse, rng];
            super::bench(c, gpu, &format!("attention/flash_backward_{row}"), flash, &inputs, per);
        }
    }
}
