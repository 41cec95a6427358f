//! Writes the Rust module of one shader.

use std::fmt::Write;

use crate::expand::{ShaderFile, Tag};
use crate::reflect::Facts;

/// Appends `pub mod <name>` with `DEF`, `Params`, `Bind`, `Mode`, `Tune` and `dispatch`.
pub fn module(out: &mut String, name: &str, file: &ShaderFile, facts: &Facts) {
    let mut w = |line: String| {
        out.push_str(&line);
        out.push('\n');
    };
    for line in &file.header {
        w(format!("#[doc = {line:?}]"));
    }
    w(format!("pub mod {name} {{"));
    w("use super::super::*;".into());
    w(format!("pub static DEF: KernelDef = KernelDef {{ name: {name:?}, source: {:?},", file.source));
    w("bindings: &[".into());
    for s in &facts.storage {
        let access = if s.read_write { "ReadWrite" } else { "Read" };
        w(format!("Binding {{ name: {:?}, access: Access::{access}, elem_bytes: {} }},", s.name, s.elem_bytes));
    }
    w(format!("], params_bytes: {}, variants: &[", facts.params.len() * 4));
    for ((variant, settings), (workgroup, bytes)) in file.variants.iter().zip(&facts.workgroups) {
        let tune = |tune: &str| {
            let tag = file.tunes.iter().find(|t| t.name == tune)?;
            let set = settings.iter().find(|(name, _)| *name == tag.name);
            Some(rust_literal(set.map_or(&tag.default, |(_, value)| value)))
        };
        let subgroup = tune("SUBGROUP").unwrap_or("0".into());
        let vector_loads = tune("VECTOR_LOADS").unwrap_or("false".into());
        w(format!(
            "Variant {{ name: {variant:?}, settings: &{settings:?}, workgroup: {workgroup:?}, workgroup_bytes: {bytes}, \
             subgroup: {subgroup}, vector_loads: {vector_loads} }},"
        ));
    }
    w("]};".into());
    w("#[repr(C)] #[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]".into());
    w("pub struct Params {".into());
    for (field, ty) in &facts.params {
        w(format!("pub {field}: {ty},"));
    }
    w("}".into());
    w("#[derive(Debug, Clone, Copy)] pub struct Bind {".into());
    for s in &facts.storage {
        w(format!("pub {}: {},", s.name, if s.read_write { "Rw" } else { "Ro" }));
    }
    w("}".into());
    w("#[derive(Debug, Clone, Copy)] pub struct Mode {".into());
    for mode in &file.modes {
        w(format!("pub {}: {},", mode.name.to_lowercase(), mode.ty));
    }
    w("}".into());
    w("#[derive(Debug, Clone, Copy, PartialEq, Eq)] pub struct Tune {".into());
    for tune in &file.tunes {
        w(format!("pub {}: {},", tune.name.to_lowercase(), tune.ty));
    }
    w("}".into());
    w("#[doc = \"The values of the tune constants in a variant.\"]".into());
    w("pub fn tune(variant: &Variant) -> Tune { match variant.name {".into());
    for (i, (variant, settings)) in file.variants.iter().enumerate() {
        let pattern = if i == 0 { "_".to_string() } else { format!("{variant:?}") };
        let value =
            |tag: &Tag| settings.iter().find(|(n, _)| *n == tag.name).map_or(tag.default.clone(), |(_, v)| v.clone());
        let fields: Vec<String> =
            file.tunes.iter().map(|t| format!("{}: {}", t.name.to_lowercase(), rust_literal(&value(t)))).collect();
        if i > 0 {
            w(format!("{pattern} => Tune {{ {} }},", fields.join(", ")));
        }
        if file.variants.len() == i + 1 {
            let fields: Vec<String> =
                file.tunes.iter().map(|t| format!("{}: {}", t.name.to_lowercase(), rust_literal(&t.default))).collect();
            w(format!("_ => Tune {{ {} }},", fields.join(", ")));
        }
    }
    w("} }".into());
    w("pub fn dispatch(variant: &'static Variant, bind: Bind, mode: Mode, params: Params, groups: [u32; 3]) -> Dispatch {".into());
    w("let _ = &mode; Dispatch { kernel: &DEF, variant, modes: vec![".into());
    for mode in &file.modes {
        w(format!("({:?}, match mode.{} {{", mode.name, mode.name.to_lowercase()));
        for value in &mode.values {
            w(format!("{} => {value:?},", rust_literal(value)));
        }
        if mode.ty != "bool" {
            w(format!("other => panic!(\"{name}: {} = {{other}} is not a value of this mode\"),", mode.name));
        }
        w("}),".into());
    }
    let names: Vec<String> = facts.storage.iter().map(|s| format!("bind.{}.0", s.name)).collect();
    w(format!(
        "], bind: vec![{}], params: bytemuck::bytes_of(&params).to_vec(), groups, flops: 0 }} }}",
        names.join(", ")
    ));
    w("}".into());
    let _ = writeln!(out, "// kernel: {name}");
}

/// Appends the list of all kernels.
pub fn table(out: &mut String) {
    let names: Vec<&str> = out.lines().filter_map(|l| l.strip_prefix("// kernel: ")).collect();
    let list: Vec<String> = names.iter().map(|n| format!("&{n}::DEF")).collect();
    let line = format!(
        "#[doc = \"Every kernel, by name.\"]\npub static ALL: &[&super::KernelDef] = &[{}];\n",
        list.join(", ")
    );
    out.push_str(&line);
}

/// `4u` in WGSL is `4` in Rust; booleans are the same.
fn rust_literal(value: &str) -> String {
    value.trim_end_matches('u').to_string()
}
