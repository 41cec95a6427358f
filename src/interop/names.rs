//! Maps the names of tensors in files to GPT-2's names.

use std::collections::BTreeMap;

/// Wrapper modules: of torch.compile, of data-parallel and sharded training, of activation checkpointing.
const WRAPPERS: [&str; 5] =
    ["_orig_mod", "module", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Tensors that every GPT-2 has exactly once: the first of these in a file shows the prefix of its names.
const ANCHORS: [&str; 3] = ["wpe.weight", "wte.weight", "ln_f.weight"];
/// The tensor outside the transformer.
const HEAD: &str = "lm_head.weight";

/// A name without wrapper modules.
fn unwrapped(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    parts.join(".")
}

/// The prefix before an anchor in a name without wrappers.
fn base<'a>(name: &'a str, anchor: &str) -> Option<&'a str> {
    name.strip_suffix(anchor).filter(|base| base.is_empty() || base.ends_with('.'))
}

/// Whether a name is that of a model's position table.
pub(super) fn is_positions(name: &str) -> bool {
    base(&unwrapped(name), ANCHORS[0]).is_some()
}

/// Two tensors with the same name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Twice<'a> {
    pub name: &'a str,
    pub other: &'a str,
}

/// Maps GPT-2's names to the names in a file. Tensors outside the model keep their names.
///
/// # Errors
///
/// Two tensors with the same name, as in a file of two models.
pub(super) fn of_gpt2<'a>(names: impl Iterator<Item = &'a str>) -> Result<BTreeMap<String, &'a str>, Twice<'a>> {
    let names: Vec<(&str, String)> = names.map(|name| (name, unwrapped(name))).collect();
    let bases = |anchor: &&str| -> Vec<(&str, &str)> {
        names.iter().filter_map(|(name, plain)| Some((*name, base(plain, anchor)?))).collect()
    };
    let bases = ANCHORS.iter().map(bases).find(|bases| !bases.is_empty()).unwrap_or_default();
    if let [(other, _), (name, _), ..] = bases[..] {
        return Err(Twice { name, other });
    }
    let base = bases.first().map_or("", |(_, base)| *base);
    let mut found: BTreeMap<String, &str> = BTreeMap::new();
    for (name, plain) in &names {
        // the head is next to the module of the other tensors, or in one around both
        let is_head = plain.strip_suffix(HEAD).is_some_and(|before| base.starts_with(before));
        let known = if is_head { HEAD } else { plain.strip_prefix(base).unwrap_or(plain) };
        if let Some(other) = found.insert(known.into(), name) {
            return Err(Twice { name, other });
        }
    }
    Ok(found)
}

/// The name that a missing tensor would have in a file: `there` maps GPT-2's names to those in the file.
pub(super) fn as_there<'a>(name: &str, there: impl Fn(&str) -> Option<&'a str>) -> String {
    let base = ANCHORS.iter().find_map(|anchor| base(there(anchor)?, anchor)).unwrap_or_default();
    if name != HEAD {
        return format!("{base}{name}");
    }
    // next to the module of the other tensors
    let module = base.trim_end_matches('.');
    format!("{}{HEAD}", module.rfind('.').map_or("", |dot| &module[..=dot]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_wrappers_go_and_other_modules_stay() {
        let tables: [(&[&str], &str, &str); 9] = [
            (&["wte.weight", "wpe.weight"], "wte.weight", "wte.weight"),
            (&["transformer.wte.weight", "transformer.wpe.weight"], "transformer.wte.weight", "wte.weight"),
            (
                &["_orig_mod.transformer.wpe.weight", "_orig_mod.transformer.h.0.ln_1.weight"],
                "_orig_mod.transformer.h.0.ln_1.weight",
                "h.0.ln_1.weight",
            ),
            (
                &["module._orig_mod.transformer.wpe.weight", "module._orig_mod.lm_head.weight"],
                "module._orig_mod.lm_head.weight",
                "lm_head.weight",
            ),
            (&["model.transformer.wpe.weight", "model.lm_head.weight"], "model.lm_head.weight", "lm_head.weight"),
            (
                &["gpt.wpe.weight", "gpt.h.1._orig_mod.attn.c_attn.weight"],
                "gpt.h.1._orig_mod.attn.c_attn.weight",
                "h.1.attn.c_attn.weight",
            ),
            (&["transformer.wpe.weight", "score.weight"], "score.weight", "score.weight"),
            (&["transformer.wpe.weight", "v_head.lm_head.weight"], "v_head.lm_head.weight", "v_head.lm_head.weight"),
            (&["a_wpe.weight", "model.wte.weight"], "model.wte.weight", "wte.weight"),
        ];
        for (names, name, known) in tables {
            assert_eq!(of_gpt2(names.iter().copied()).unwrap_or_default().get(known), Some(&name), "{names:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named_as_the_file_would() {
        let cases: [(&[&str], &str, &str); 6] = [
            (&["wpe.weight"], "h.0.attn.c_attn.bias", "h.0.attn.c_attn.bias"),
            (&["transformer.wpe.weight"], "h.0.attn.c_attn.bias", "transformer.h.0.attn.c_attn.bias"),
            (&["module.transformer.wte.weight"], "wpe.weight", "module.transformer.wpe.weight"),
            (&["transformer.wpe.weight"], "lm_head.weight", "lm_head.weight"),
            (&["module.transformer.wpe.weight"], "lm_head.weight", "module.lm_head.weight"),
            (&["layers.00.weight"], "wpe.weight", "wpe.weight"),
        ];
        for (names, missing, expected) in cases {
            let known = of_gpt2(names.iter().copied()).unwrap_or_default();
            assert_eq!(as_there(missing, |name| known.get(name).copied()), expected, "{names:?}");
        }
    }

    #[test]
    fn two_models_in_a_file_are_no_one() {
        let names = ["wpe.weight", "ema.wpe.weight"];
        assert_eq!(of_gpt2(names.into_iter()), Err(Twice { name: "ema.wpe.weight", other: "wpe.weight" }));
        let names = ["wpe.weight", "lm_head.weight", "module.lm_head.weight"];
        assert!(of_gpt2(names.into_iter()).is_err());
    }
}
