//! One kernel of flash attention on a few sequences, as the tuner measures it.

use std::fmt;

use super::Sizes;
use super::flash::{FlashAttention, FlashAttentionBackward};
use crate::kernel::{
    Caps, KernelDef, attention_flash_direct_backward_key as direct_key,
    attention_flash_direct_backward_query as direct_query, attention_flash_direct_forward as direct,
    attention_flash_tiled_backward_key as tiled_key, attention_flash_tiled_backward_query as tiled_query,
    attention_flash_tiled_forward as tiled,
};
use crate::ops::Op;
use crate::tensor::{DType, Shape};

/// Equivalent kernels, for software devices and for GPUs.
const KERNELS: [[&KernelDef; 2]; 3] =
    [[&direct::DEF, &tiled::DEF], [&direct_query::DEF, &tiled_query::DEF], [&direct_key::DEF, &tiled_key::DEF]];

/// One of the kernels of [`FlashAttention`] and [`FlashAttentionBackward`], on as many of a model's sequences as are
/// worth measuring.
#[derive(Debug, Clone, Copy)]
pub struct FlashProbe {
    /// Index into [`KERNELS`].
    kernel: usize,
    b: u64,
    t: u64,
    c: u64,
    n_head: u64,
    has_dropout: bool,
    documents: bool,
}

impl FlashProbe {
    /// The probe for a call on `n_seq` sequences; `with` is its dropout probability and whether rows hold several
    /// documents. `None` if the call is too short to be worth tuning.
    pub(super) fn of(kernel: &KernelDef, sizes: &Sizes, n_seq: u64, with: (f32, bool), caps: &Caps) -> Option<Self> {
        let (p, documents) = with;
        const SMALL: u64 = 1 << 23;
        const ELEMS: u64 = 8 << 20;
        let kernel = KERNELS.iter().position(|kernels| kernels.iter().any(|k| k.name == kernel.name))?;
        let &Sizes { t, c, n_head, .. } = sizes;
        let probe = |b| Self { kernel, b, t, c, n_head, has_dropout: p > 0.0, documents };
        let (one, all) = (probe(1).flops().max(1), probe(n_seq).flops());
        let most = (caps.max_dispatch_work / 4 / one).min(ELEMS / (3 * t * c).max(1)).min(n_seq);
        (all >= SMALL).then(|| probe(most.max(1)))
    }

    /// Minimum floating-point operations: two products forward; backward two for queries and two for keys and values.
    pub fn flops(&self) -> u64 {
        2 * self.b * self.t * (self.t + 1) * self.c
    }

    pub(in crate::ops) fn kernels(&self) -> Vec<&'static KernelDef> {
        KERNELS[self.kernel].to_vec()
    }

    /// Whether the kernel is one of the backward pass.
    pub fn is_backward(&self) -> bool {
        self.kernel > 0
    }

    /// The number of heads, and the channels of each.
    pub fn heads(&self) -> (u64, u64) {
        (self.n_head, self.c / self.n_head)
    }

    /// Whether rows hold several documents.
    pub fn documents(&self) -> bool {
        self.documents
    }

    /// The probability that a weight is dropped, or 0.
    pub fn p(&self) -> f32 {
        if self.has_dropout { 0.2 } else { 0.0 }
    }

    /// The op that calls the kernel, possibly along with another.
    pub fn op(&self) -> Box<dyn Op> {
        let (n_head, p, site) = (self.n_head, self.p(), 0);
        match self.is_backward() {
            true => Box::new(FlashAttentionBackward { n_head, p, site }),
            false => Box::new(FlashAttention { n_head, p, site }),
        }
    }

    /// The op's inputs.
    pub fn inputs(&self) -> Vec<(&'static str, Shape, DType)> {
        let &Self { b, t, c, n_head, .. } = self;
        let qkv = ("qkv", Shape::new(&[b, t, 3 * c]), DType::F32);
        let last = [("rng", Shape::new(&[4]), DType::U32), ("spans", Shape::new(&[b, t, 2]), DType::U32)];
        let last = last.into_iter().take(1 + usize::from(self.documents));
        if !self.is_backward() {
            return [qkv].into_iter().chain(last).collect();
        }
        let narrow = |name| (name, Shape::new(&[b, t, c]), DType::F32);
        let lse = ("lse", Shape::new(&[b, n_head, t]), DType::F32);
        [narrow("dout"), narrow("out"), qkv, lse].into_iter().chain(last).collect()
    }
}

/// The task's key.
impl fmt::Display for FlashProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n_head, hs) = self.heads();
        let kernel = ["forward", "backward query", "backward key"][self.kernel];
        write!(f, "attention {kernel} {}x{n_head}x{}x{hs}", self.b, self.t)?;
        if self.has_dropout {
            f.write_str(" dropout")?;
        }
        if self.documents { f.write_str(" documents") } else { Ok(()) }
    }
}
