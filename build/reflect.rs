//! The naga side of a shader: parses and validates its modes and variants, and reads its interface.

use naga::{AddressSpace, Module, StorageAccess, TypeInner};

use crate::expand::{ShaderFile, specialise};

/// One storage binding.
#[derive(Debug, PartialEq)]
pub struct Storage {
    pub name: String,
    pub read_write: bool,
    pub elem_bytes: u32,
}

/// The facts common to every mode and variant of a shader, and the workgroup of each variant.
#[derive(Debug)]
pub struct Facts {
    pub storage: Vec<Storage>,
    /// Name and Rust type of each field of `params`.
    pub params: Vec<(String, &'static str)>,
    /// Workgroup size and workgroup memory bytes, by variant.
    pub workgroups: Vec<([u32; 3], u32)>,
}

/// Validates every combination and checks that modes change neither bindings nor workgroups.
pub fn reflect(file: &ShaderFile) -> Result<Facts, String> {
    let mut facts: Option<Facts> = None;
    for (variant, tunes) in &file.variants {
        let mut workgroup = None;
        for modes in combinations(file) {
            let settings: Vec<(&str, &str)> =
                modes.iter().copied().chain(tunes.iter().map(|(n, v)| (n.as_str(), v.as_str()))).collect();
            let at = |e: String| format!("variant {variant}, {settings:?}: {e}");
            let source = specialise(&file.source, &settings).map_err(at)?;
            let at = |e: String| format!("variant {variant}, {modes:?}: {e}");
            let module = naga::front::wgsl::parse_str(&source).map_err(|e| at(e.emit_to_string(&source)))?;
            let capabilities = naga::valid::Capabilities::SUBGROUP;
            let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities)
                .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
                .subgroup_operations(naga::valid::SubgroupOperationSet::all())
                .validate(&module)
                .map_err(|e| at(e.emit_to_string(&source)))?;
            let (storage, params) = interface(&module, &info).map_err(at)?;
            let group = workgroup_of(&module)?;
            if *workgroup.get_or_insert(group) != group {
                return Err(at("a mode changes the workgroup".into()));
            }
            match &facts {
                Some(known) if known.storage != storage || known.params != params => {
                    return Err(at("a mode or variant changes the bindings or params".into()));
                }
                Some(_) => {}
                None => facts = Some(Facts { storage, params, workgroups: vec![] }),
            }
        }
        let facts = facts.as_mut().ok_or("no combination to check")?;
        facts.workgroups.extend(workgroup);
    }
    facts.ok_or_else(|| "no variant".into())
}

/// Every choice of one value per mode in which at most two differ from their defaults. naga also checks what a constant
/// condition leaves out, so more combinations would find nothing more.
fn combinations(file: &ShaderFile) -> Vec<Vec<(&str, &str)>> {
    const MAX_CHANGED: usize = 2;
    let mut all = vec![(vec![], 0)];
    for mode in &file.modes {
        let with = |(chosen, n_changed): (Vec<(_, _)>, usize)| {
            mode.values.iter().map(move |v| {
                let chosen = [chosen.clone(), vec![(mode.name.as_str(), v.as_str())]].concat();
                (chosen, n_changed + usize::from(*v != mode.default))
            })
        };
        all = all.into_iter().flat_map(with).filter(|(_, n_changed)| *n_changed <= MAX_CHANGED).collect();
    }
    all.into_iter().map(|(chosen, _)| chosen).collect()
}

type Interface = (Vec<Storage>, Vec<(String, &'static str)>);

fn interface(module: &Module, info: &naga::valid::ModuleInfo) -> Result<Interface, String> {
    let mut globals: Vec<_> = module.global_variables.iter().filter(|(_, g)| g.binding.is_some()).collect();
    globals.sort_by_key(|(_, g)| g.binding.map(|b| (b.group, b.binding)));
    let mut storage = vec![];
    let mut params = None;
    for (index, (handle, global)) in globals.iter().enumerate() {
        let name = global.name.clone().ok_or("a binding without a name")?;
        let binding = global.binding.ok_or("a binding without an index")?;
        if binding.group != 0 || usize::try_from(binding.binding) != Ok(index) {
            return Err(format!("{name}: bindings are numbered from 0 without gaps in group 0"));
        }
        if info.get_entry_point(0)[*handle].is_empty() {
            return Err(format!("{name} is bound but never used"));
        }
        match global.space {
            AddressSpace::Storage { access } => {
                if params.is_some() {
                    return Err(format!("{name}: `params` comes last"));
                }
                let TypeInner::Array { stride, .. } = module.types[global.ty].inner else {
                    return Err(format!("{name}: a storage binding is a runtime-sized array"));
                };
                let read_write = access.contains(StorageAccess::STORE);
                if read_write && storage.iter().any(|s: &Storage| !s.read_write) {
                    return Err(format!("{name}: outputs come before inputs"));
                }
                storage.push(Storage { name, read_write, elem_bytes: stride });
            }
            AddressSpace::Uniform if name == "params" => params = Some(fields(module, global.ty)?),
            _ => return Err(format!("{name}: expected a storage array or the uniform `params`")),
        }
    }
    Ok((storage, params.ok_or("no uniform `params`")?))
}

fn fields(module: &Module, ty: naga::Handle<naga::Type>) -> Result<Vec<(String, &'static str)>, String> {
    let TypeInner::Struct { members, .. } = &module.types[ty].inner else {
        return Err("`params` is not a struct".into());
    };
    let mut fields = vec![];
    for (member, offset) in members.iter().zip((0u32..).step_by(4)) {
        let name = member.name.clone().ok_or("a field of `params` without a name")?;
        let rust = match module.types[member.ty].inner {
            TypeInner::Scalar(naga::Scalar::U32) => "u32",
            TypeInner::Scalar(naga::Scalar::F32) => "f32",
            _ => return Err(format!("params.{name}: only u32 and f32")),
        };
        if member.offset != offset {
            return Err(format!("params.{name}: a hole before offset {}", member.offset));
        }
        fields.push((name, rust));
    }
    Ok(fields)
}

fn workgroup_of(module: &Module) -> Result<([u32; 3], u32), String> {
    let [entry] = module.entry_points.as_slice() else { return Err("expected one entry point".into()) };
    if entry.name != "main" {
        return Err("the entry point is called `main`".into());
    }
    let bytes = module
        .global_variables
        .iter()
        .filter(|(_, g)| g.space == AddressSpace::WorkGroup)
        .map(|(_, g)| module.types[g.ty].inner.size(module.to_ctx()))
        .sum();
    Ok((entry.workgroup_size, bytes))
}
