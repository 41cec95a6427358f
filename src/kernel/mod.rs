//! Static facts about every shader, generated from the WGSL at build time, and the description of a kernel call.
//!
//! Each file `shaders/<name>.wgsl` becomes a module of the same name here, with its `Bind`, `Mode`, `Params` and `Tune`
//! structs: renaming a binding or a parameter in the shader is a compile error in the one file that fills it.

mod caps;
mod choice;
mod dispatch;

pub use caps::Caps;
pub use choice::{Choice, Family};
pub use dispatch::{Dispatch, Range, Ro, Rw, groups_1d, groups_rows};

#[allow(unused_imports, dead_code, missing_docs, clippy::match_single_binding)]
// a shader's header is its module's documentation, and `[2]` there is no link
#[allow(rustdoc::broken_intra_doc_links)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}
pub use generated::*;

#[path = "../../build/expand.rs"]
#[allow(dead_code, missing_docs)]
mod expand;

/// How a kernel uses a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
}

/// One storage binding of a kernel; its index is its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The variable's name in the shader.
    pub name: &'static str,
    /// Read or read-write.
    pub access: Access,
    /// Bytes of one array element as the shader declares it (16 for `vec4<f32>`).
    pub elem_bytes: u32,
}

/// A named set of values for a kernel's `tune` constants. It changes speed and rounding, never what is computed.
#[derive(Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name in the `//: variant` line; the constants as committed are called `default`.
    pub name: &'static str,
    /// The constants that it replaces, with their values.
    pub settings: &'static [(&'static str, &'static str)],
    /// Workgroup size.
    pub workgroup: [u32; 3],
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// The subgroup size it requires (its tune constant `SUBGROUP`); 0 if it runs on any device.
    pub subgroup: u32,
    /// Whether it requires [`Caps::vector_loads`] (its tune constant `VECTOR_LOADS`).
    pub vector_loads: bool,
}

impl Variant {
    /// Whether a device can run it.
    pub fn fits(&self, caps: &Caps) -> bool {
        self.workgroup.iter().product::<u32>() <= caps.max_invocations
            && self.workgroup_bytes <= caps.max_workgroup_bytes
            && (self.subgroup == 0 || self.subgroup == caps.subgroup)
            && self.vector_loads <= caps.vector_loads
    }
}

/// The facts that the build step found in one WGSL file.
#[derive(Debug, PartialEq, Eq)]
pub struct KernelDef {
    /// The file name without its extension.
    pub name: &'static str,
    /// The WGSL with imports appended and every constant at its default.
    pub source: &'static str,
    /// Storage bindings, outputs first; the uniform `params` has the next index.
    pub bindings: &'static [Binding],
    /// Bytes of the uniform `params`.
    pub params_bytes: u32,
    /// The variants, `default` first.
    pub variants: &'static [Variant],
}

impl KernelDef {
    /// The variant of that name, if the shader has one.
    pub fn variant(&self, name: &str) -> Option<&'static Variant> {
        self.variants.iter().find(|v| v.name == name)
    }

    /// Returns the WGSL with modes and the variant's constants filled in and marked loops unrolled.
    ///
    /// # Panics
    ///
    /// If a name isn't a tagged constant of the shader, which the generated code rules out.
    pub fn specialised(&self, modes: &[(&'static str, &'static str)], variant: &Variant) -> String {
        let settings: Vec<(&str, &str)> = modes.iter().chain(variant.settings).copied().collect();
        match expand::specialise(self.source, &settings) {
            Ok(source) => source,
            Err(error) => panic!("{}: {error}", self.name),
        }
    }
}
