use std::collections::VecDeque;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::RunConfig;
use super::toml_value::{Fault, Value, What};

/// A configuration file that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}; `tril train --help` lists the settings, and config.toml of any run shows their places")]
pub struct TomlError {
    /// The file.
    pub file: String,
    /// The line, the key, what was found and what was expected.
    pub reason: String,
}

impl TomlError {
    /// Reads the settings of a file, over base settings if there are any, also given as TOML.
    ///
    /// # Errors
    ///
    /// Invalid TOML, an invalid value, an unknown key, a missing key.
    pub(super) fn or_settings(file: &str, text: &str, base: Option<&str>) -> Result<RunConfig, Self> {
        let failed = |reason: String| Self { file: file.into(), reason };
        let mut table = DeTable::parse(text).map_err(|e| failed(syntax(text, &e)))?.into_inner();
        if let Some(base) = base {
            let mut whole =
                DeTable::parse(base).unwrap_or_else(|e| panic!("settings have a TOML form: {e}")).into_inner();
            merge(&mut whole, table);
            table = whole;
        }
        let table = Spanned::new(0..0, DeValue::Table(table));
        RunConfig::deserialize(Value(&table)).map_err(|fault| failed(place(text, &fault)))
    }
}

fn merge<'a>(base: &mut DeTable<'a>, over: DeTable<'a>) {
    for (key, value) in over {
        let (span, value) = (value.span(), value.into_inner());
        let before = base.remove::<str>(key.get_ref()).map(Spanned::into_inner);
        let value = match (before, value) {
            // a table with a `kind` selects a variant with keys of its own: it is replaced entirely
            (Some(DeValue::Table(mut base)), DeValue::Table(over)) if !over.contains_key("kind") => {
                merge(&mut base, over);
                DeValue::Table(base)
            }
            (_, value) => value,
        };
        base.insert(key, Spanned::new(span, value));
    }
}

/// Formats what is wrong with a value, with its line and key.
fn place(text: &str, fault: &Fault) -> String {
    let Fault { at, path, what } = fault;
    let line = at.map(|at| format!("line {}, ", line_of(text, at))).unwrap_or_default();
    let last = path.rsplit('.').next().unwrap_or(path);
    match what {
        What::NoKey(_) => match home(last) {
            Some(home) if home != *path => format!("{line}{path}: unknown setting; did you mean {home}?"),
            _ => format!("{line}{path}: {fault}"),
        },
        What::Lacks(key) => format!("{line}{path}{}{key}: missing", if path.is_empty() { "" } else { "." }),
        What::Other(words) => format!("{line}{path}: {words}"),
    }
}

/// The place of a setting of this name, even if written like its flag.
fn home(name: &str) -> Option<String> {
    let mut all = RunConfig::preset("nano").ok()?;
    all.train.row_size = Some(1);
    (all.data.pack, all.data.document_mask) = (Some(true), Some(true));
    let (name, all) = (name.trim_start_matches('-').replace('-', "_"), all.to_toml());
    let mut open = VecDeque::from([(String::new(), DeTable::parse(&all).ok()?.into_inner())]);
    while let Some((prefix, table)) = open.pop_front() {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            if *key.get_ref() == name {
                return Some(path);
            }
            if let DeValue::Table(inner) = value.into_inner() {
                open.push_back((format!("{path}."), inner));
            }
        }
    }
    None
}

/// Explains why a text isn't TOML, with the line if it is known.
fn syntax(text: &str, error: &Error) -> String {
    const MAX_CHARS: usize = 60;
    let reason = error.message().trim().replace('\n', " ");
    let Some(span) = error.span() else { return reason };
    let number = line_of(text, span.start);
    let line = text.lines().nth(number - 1).unwrap_or("").trim();
    let line = line.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect::<String>();
    let is = |begins: &[&str]| begins.iter().any(|begin| reason.starts_with(begin));
    let reason = if is(&["duplicate key"]) {
        "duplicate key".into()
    } else if is(&["invalid boolean", "string values must be quoted", "missing value"]) {
        "missing value; quote text, but not numbers, true or false".into()
    } else if reason.contains("escape") {
        "write a backslash twice, or put the text in single quotes".into()
    } else {
        reason
    };
    if line.is_empty() { format!("line {number}: {reason}") } else { format!("line {number}, {line}: {reason}") }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
}
