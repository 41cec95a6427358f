//! What tensors are called in files, and GPT-2's names for them.

use std::collections::BTreeMap;

/// Modules that wrap others: of torch.compile, of data-parallel and sharded training, of checkpointed activations.
const WRAPPERS: [&str; 5] =
    ["_orig_mod", "module", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// What every GPT-2 has once, and no part of it twice: the first of these that a file has tells what stands in front of names.
const ANCHORS: [&str; 3] = ["wpe.weight", "wte.weight", "ln_f.weight"];
/// What stands beside the transformer, not in it.
const HEAD: &str = "lm_head.weight";

/// A name without the modules that wrap others, wherever they stand in it.
fn unwrapped(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    parts.join(".")
}

/// What stands in front of an anchor in a name without wrappers.
fn base<'a>(name: &'a str, anchor: &str) -> Option<&'a str> {
    name.strip_suffix(anchor).filter(|base| base.is_empty() || base.ends_with('.'))
}

/// Whether a name is that of the table of positions of a model.
pub(super) fn is_positions(name: &str) -> bool {
    base(&unwrapped(name), ANCHORS[0]).is_some()
}

/// Two tensors that would have one name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Twice<'a> {
    pub name: &'a str,
    pub other: &'a str,
}

/// GPT-2's name of each tensor of a file, and the name there. What doesn't belong to the model keeps its name.
///
/// # Errors
///
/// Two tensors of one name, as where a file holds two models.
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
        // the head stands beside the module that the rest is in, or in one around both
        let is_head = plain.strip_suffix(HEAD).is_some_and(|before| base.starts_with(before));
        let known = if is_head { HEAD } else { plain.strip_prefix(base).unwrap_or(plain) };
        if let Some(other) = found.insert(known.into(), name) {
            return Err(Twice { name, other });
        }
    }
    Ok(found)
}

/// What a file would call a tensor that it lacks, by what it calls others: `there` has the name in the file of one of GPT-2's.
pub(super) fn as_there<'a>(name: &str, there: impl Fn(&str) -> Option<&'a str>) -> String {
    let base = ANCHORS.iter().find_map(|anchor| base(there(anchor)?, anchor)).unwrap_or_default();
    if name != HEAD {
        return format!("{base}{name}");
    }
    // beside the module that the rest is in
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
