use super::{KernelDef, Variant};
use crate::tensor::TensorId;

/// Part of a tensor, as bound to a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The tensor.
    pub tensor: TensorId,
    /// First element.
    pub start: u64,
    /// Number of elements.
    pub len: u64,
}

impl Range {
    /// A part of this range: `len` elements from `start`, relative to the range's start.
    #[must_use]
    pub fn slice(self, start: u64, len: u64) -> Self {
        debug_assert!(start + len <= self.len, "a slice lies inside its range");
        Self { start: self.start + start, len, ..self }
    }
}

/// A range that a kernel only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ro(pub Range);

/// A range that a kernel writes, or reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rw(pub Range);

impl Ro {
    /// A part of this range.
    #[must_use]
    pub fn slice(self, start: u64, len: u64) -> Self {
        Self(self.0.slice(start, len))
    }
}

impl Rw {
    /// A part of this range.
    #[must_use]
    pub fn slice(self, start: u64, len: u64) -> Self {
        Self(self.0.slice(start, len))
    }

    /// The same range, to be read by a later dispatch.
    pub fn read(self) -> Ro {
        Ro(self.0)
    }
}

/// One kernel call as plain data, made by the generated `dispatch` of the kernel's module.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The shader.
    pub kernel: &'static KernelDef,
    /// The variant of the shader.
    pub variant: &'static Variant,
    /// The value of each of its mode constants.
    pub modes: Vec<(&'static str, &'static str)>,
    /// The bound ranges, in the order of `kernel.bindings`.
    pub bind: Vec<Range>,
    /// The bytes of the uniform `params`.
    pub params: Vec<u8>,
    /// Workgroups along x, y, z.
    pub groups: [u32; 3],
    /// Floating-point operations if the op states them; otherwise 0, and the number of invocations measures its work.
    pub flops: u64,
}

impl Dispatch {
    /// `kernel/variant`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.kernel.name, self.variant.name)
    }

    /// Its work relative to the node's other dispatches.
    pub fn weight(&self) -> u128 {
        u128::from(self.flops).max(self.n_invocation())
    }

    /// Invocations of all workgroups.
    pub fn n_invocation(&self) -> u128 {
        self.groups.iter().chain(&self.variant.workgroup).map(|&n| u128::from(n)).product()
    }
}

/// Maximum workgroups along x that the helpers below ask for: WebGPU's limit per dimension.
const MAX_GROUPS: u64 = 65_535;

/// Workgroups for `n_elem` elements at `per_group` each. Counts above 65,535 fold into y; the shader's
/// `shared/index.wgsl` unfolds them. The plan's check rejects more than a device allows.
pub fn groups_1d(n_elem: u64, per_group: u32) -> [u32; 3] {
    let n = n_elem.div_ceil(u64::from(per_group)).max(1);
    let x = n.min(MAX_GROUPS);
    // a count beyond u32 saturates; the plan's check reports it with the op's label
    [to_u32(x), to_u32(n.div_ceil(x)), 1]
}

/// Workgroups for `n_row` rows at `rows_per_group` each.
pub fn groups_rows(n_row: u64, rows_per_group: u32) -> [u32; 3] {
    groups_1d(n_row, rows_per_group)
}

fn to_u32(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
