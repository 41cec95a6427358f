use super::{Graph, SlabTensors};
use crate::tensor::{DType, TensorId};

/// Every member of a slab starts at a multiple of this many elements: 256 bytes, the largest binding alignment of any
/// device.
pub const SLAB_ALIGN_ELEMS: u64 = 64;

/// The type of parameters, gradients and the optimizer's state.
pub const SLAB_DTYPE: DType = DType::F32;

/// The largest slab: WebGPU's default maximum buffer size. It is the same on every device, so that a model's programs
/// can always share their slabs.
const MAX_SLAB_BYTES: u64 = 256 << 20;

/// A parameter's place in its slab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlabMember {
    /// The parameter.
    pub param: TensorId,
    /// Its gradient, in a training graph.
    pub grad: Option<TensorId>,
    /// First element in the slab.
    pub start: u64,
}

/// Contiguous storage for parameters and, in a training graph, for their gradients and the optimizer's state in the
/// same layout, so that clipping and the update are a few dispatches over whole slabs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slab {
    /// The parameters: matrices and embeddings first, then the 1-D ones.
    pub members: Vec<SlabMember>,
    /// Number of elements, including alignment gaps, which stay 0.
    pub n_elem: u64,
    /// Weight decay applies to the elements before this one: the 2-D weights.
    pub n_decay: u64,
    /// The tensors that cover the whole slab, in a training graph.
    pub whole: Option<SlabTensors>,
}

/// Lays out the parameters in slabs of at most 256 MiB, in order of declaration, those with weight decay first (a
/// parameter larger than that gets a slab of its own). The same parameters give the same layout in every graph.
pub fn layout(graph: &Graph) -> Vec<Slab> {
    let (decaying, others): (Vec<_>, Vec<_>) = graph.params.iter().copied().partition(|(_, group)| group.decays());
    let mut slabs: Vec<Slab> = vec![];
    for (param, group) in decaying.into_iter().chain(others) {
        let len = graph.spec(param).shape.numel().next_multiple_of(SLAB_ALIGN_ELEMS);
        let mut slab = match slabs.pop() {
            Some(last) if (last.n_elem + len).saturating_mul(SLAB_DTYPE.bytes()) <= MAX_SLAB_BYTES => last,
            full => {
                slabs.extend(full);
                Slab::default()
            }
        };
        slab.members.push(SlabMember { param, grad: None, start: slab.n_elem });
        slab.n_elem += len;
        if group.decays() {
            slab.n_decay = slab.n_elem;
        }
        slabs.push(slab);
    }
    slabs
}
