use crate::tensor::{DType, Role, TensorId, TensorSpec};

/// Every member of a slab starts at a multiple of this many elements: 256 bytes, the largest binding alignment there is.
pub const SLAB_ALIGN_ELEMS: u64 = 64;

/// The largest slab: WebGPU's default largest buffer. It depends on no device, so that a model's programs always share
/// their slabs.
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

/// A contiguous home for parameters, and in a training graph for their gradients and moments in the same layout, so that
/// clipping and AdamW are a few dispatches over whole slabs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slab {
    /// The parameters: matrices and embeddings first, then the 1-D ones.
    pub members: Vec<SlabMember>,
    /// Elements, with the gaps that alignment leaves; those stay 0.
    pub n_elem: u64,
    /// Weight decay applies to the elements before this one: the 2-D weights.
    pub n_decay: u64,
    /// The whole slab as a tensor: parameters, gradients, first and second moments. Only in a training graph.
    pub whole: Option<[TensorId; 4]>,
}

/// Lays the parameters out: 2-D ones first, in order of declaration, into slabs of at most 256 MiB (a parameter larger
/// than that gets a slab of its own). The same parameters give the same layout in every graph.
pub fn layout(tensors: &[TensorSpec]) -> Vec<Slab> {
    let is_param = |t: &&TensorId| tensors[t.0].role == Role::Param;
    let ids: Vec<TensorId> = (0..tensors.len()).map(TensorId).collect();
    let decays = |t: &TensorId| tensors[t.0].shape.rank() >= 2;
    let params = ids.iter().filter(is_param);
    let ordered = params.clone().filter(|t| decays(t)).chain(params.filter(|t| !decays(t)));
    let mut slabs: Vec<Slab> = vec![];
    for &param in ordered {
        let len = tensors[param.0].shape.numel().next_multiple_of(SLAB_ALIGN_ELEMS);
        let full = slabs.last().is_none_or(|s| (s.n_elem + len).saturating_mul(DType::BYTES) > MAX_SLAB_BYTES);
        if full {
            slabs.push(Slab::default());
        }
        let Some(slab) = slabs.last_mut() else { continue };
        slab.members.push(SlabMember { param, grad: None, start: slab.n_elem });
        slab.n_elem += len;
        if decays(&param) {
            slab.n_decay = slab.n_elem;
        }
    }
    slabs
}
