//! The textual side of a shader: its `//:` lines. The build step uses it, and the library to specialise a kernel.
//!
//! A shader file is ordinary WGSL. What follows `//:` on a line is a directive:
//!
//! ```text
//! //: import index                          append shaders/shared/index.wgsl
//! //: variant cpu WG=8u LANES=1u            another setting of the tune constants
//! const ADD: bool = false; //: mode false true    changes what is computed; these are its values
//! const WG: u32 = 64u;     //: tune               changes only speed
//! const SUBGROUP: u32 = 0u; //: tune              a variant that sets it runs where subgroups have that size only
//! const VECTOR_LOADS: bool = true; //: tune       runs only where straight-line code loads vectors (Caps::vector_loads)
//! for (var i = 0u; i < TM; i++) { //: unroll      repeat the body with i = 0u, 1u, ... (to the brace at this indent)
//! ```

use std::collections::BTreeMap;

/// A constant whose value the build step or the host replaces.
#[derive(Debug, Clone)]
pub struct Tag {
    pub name: String,
    /// `bool` or `u32`; the constant's declared type.
    pub ty: String,
    pub default: String,
    /// The legal values of a mode; empty for a tune constant.
    pub values: Vec<String>,
}

/// A shader file with its imports appended and its `//:` lines read.
#[derive(Debug)]
pub struct ShaderFile {
    pub source: String,
    /// Comment lines at the top of the file, for the generated module's documentation.
    pub header: Vec<String>,
    pub modes: Vec<Tag>,
    pub tunes: Vec<Tag>,
    /// Name and settings; `default` (no settings) comes first.
    pub variants: Vec<(String, Vec<(String, String)>)>,
}

/// Reads a shader's `//:` lines; `import` returns the text of a shared file.
pub fn parse(text: &str, import: impl Fn(&str) -> Result<String, String>) -> Result<ShaderFile, String> {
    let mut file = ShaderFile {
        source: text.to_string(),
        header: text
            .lines()
            .map_while(|l| l.strip_prefix("//"))
            .filter(|l| !l.starts_with(':'))
            .map(str::to_string)
            .collect(),
        modes: vec![],
        tunes: vec![],
        variants: vec![("default".into(), vec![])],
    };
    let mut imported: Vec<String> = vec![];
    let mut variants: Vec<Vec<String>> = vec![];
    let mut todo = vec![text.to_string()];
    while let Some(text) = todo.pop() {
        for (n, line) in text.lines().enumerate() {
            let Some((code, tag)) = line.split_once("//:") else { continue };
            let at = |e: &str| format!("line {}: {e}: {line}", n + 1);
            let words: Vec<&str> = tag.split_whitespace().collect();
            match words.as_slice() {
                ["import", names @ ..] => {
                    for name in names.iter().filter(|n| !imported.contains(&n.to_string())).collect::<Vec<_>>() {
                        let shared = import(name)?;
                        file.source.push('\n');
                        file.source.push_str(&shared);
                        imported.push(name.to_string());
                        todo.push(shared);
                    }
                }
                ["variant", rest @ ..] if rest.len() > 1 => variants.push(rest.iter().map(|w| w.to_string()).collect()),
                ["mode", values @ ..] if values.len() > 1 => {
                    let mut tag = tagged(code).ok_or_else(|| at("expected `const NAME: TYPE = VALUE;`"))?;
                    tag.values = values.iter().map(|v| v.to_string()).collect();
                    if !tag.values.contains(&tag.default) {
                        return Err(at("the default is not among the mode's values"));
                    }
                    file.modes.push(tag);
                }
                ["tune"] => file.tunes.push(tagged(code).ok_or_else(|| at("expected `const NAME: TYPE = VALUE;`"))?),
                ["unroll"] => {}
                _ => return Err(at("unknown `//:` line")),
            }
        }
    }
    for words in variants {
        let mut settings = vec![];
        for word in &words[1..] {
            let (name, value) =
                word.split_once('=').ok_or_else(|| format!("variant {}: expected NAME=VALUE", words[0]))?;
            if !file.tunes.iter().any(|t| t.name == name) {
                return Err(format!("variant {}: no tune constant {name}", words[0]));
            }
            settings.push((name.to_string(), value.to_string()));
        }
        file.variants.push((words[0].clone(), settings));
    }
    Ok(file)
}

/// Reads `const NAME: TYPE = VALUE;`.
fn tagged(code: &str) -> Option<Tag> {
    let (name, rest) = code.trim().strip_prefix("const ")?.split_once(':')?;
    let (ty, rest) = rest.split_once('=')?;
    let value = rest.trim().strip_suffix(';')?;
    Some(Tag { name: name.trim().into(), ty: ty.trim().into(), default: value.trim().into(), values: vec![] })
}

/// Replaces tagged constants by `settings` and unrolls the marked loops.
pub fn specialise(source: &str, settings: &[(&str, &str)]) -> Result<String, String> {
    let mut constants = BTreeMap::new();
    let mut lines = vec![];
    let mut used = vec![false; settings.len()];
    for line in source.lines() {
        let tag = line.split_once("//:").filter(|(_, t)| t.trim_start().starts_with("mode") || t.trim() == "tune");
        let Some(tag) = tag.and_then(|(code, _)| tagged(code)) else {
            lines.push(line.to_string());
            continue;
        };
        let set = settings.iter().position(|(name, _)| *name == tag.name);
        let value = match set {
            Some(i) => {
                used[i] = true;
                settings[i].1.to_string()
            }
            None => tag.default,
        };
        lines.push(format!("const {}: {} = {};", tag.name, tag.ty, value));
        constants.insert(tag.name, value);
    }
    if let Some(i) = used.iter().position(|u| !u) {
        return Err(format!("no tagged constant is called {}", settings[i].0));
    }
    let mut out = unroll(&lines, &constants)?.join("\n");
    out.push('\n');
    Ok(out)
}

/// Repeats the body of each loop marked `//: unroll`, with the counter replaced by its value.
fn unroll(lines: &[String], constants: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let mut out = vec![];
    let mut i = 0;
    while i < lines.len() {
        let line = &lines[i];
        if line.split_once("//:").is_none_or(|(_, t)| t.trim() != "unroll") {
            out.push(line.clone());
            i += 1;
            continue;
        }
        let bad = || format!("expected `for (var i = A; i < B; i++) {{ //: unroll`: {line}");
        let head = line.trim().strip_prefix("for (var ").ok_or_else(bad)?;
        let (counter, head) = head.split_once(" = ").ok_or_else(bad)?;
        let (first, head) = head.split_once("; ").ok_or_else(bad)?;
        let (last, head) =
            head.strip_prefix(&format!("{counter} < ")).ok_or_else(bad)?.split_once("; ").ok_or_else(bad)?;
        if !head.starts_with(&format!("{counter}++) {{")) {
            return Err(bad());
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        let len =
            lines[i + 1..].iter().position(|l| *l == close).ok_or_else(|| format!("no closing brace for: {line}"))?;
        let body = &lines[i + 1..i + 1 + len];
        let value = |text: &str| -> Result<u32, String> {
            let text = constants.get(text).map_or(text, String::as_str);
            text.trim_end_matches('u').parse().map_err(|_| format!("not a number or a tagged constant: {text}"))
        };
        for k in value(first)?..value(last)? {
            out.push(format!("{indent}{{"));
            let body: Vec<String> = body.iter().map(|l| replace_word(l, counter, &format!("{k}u"))).collect();
            out.extend(unroll(&body, constants)?);
            out.push(close.clone());
        }
        i += len + 2;
    }
    Ok(out)
}

/// Replaces `word` where it occurs as a whole identifier.
fn replace_word(line: &str, word: &str, with: &str) -> String {
    let is_ident = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(word) {
        let before = rest[..at].chars().next_back().or_else(|| out.chars().next_back().filter(|_| at == 0));
        let after = rest[at + word.len()..].chars().next();
        let alone = !before.is_some_and(|c| is_ident(c) || c == '.') && !after.is_some_and(is_ident);
        out.push_str(&rest[..at]);
        out.push_str(if alone { with } else { word });
        rest = &rest[at + word.len()..];
    }
    out.push_str(rest);
    out
}
