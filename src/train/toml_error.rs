use toml::de::{DeTable, DeValue, Error};

/// A configuration file that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}; `tril train --help` lists the settings, and config.toml of any run shows their places")]
pub struct TomlError {
    /// The file.
    pub file: String,
    /// The line, the key, and the parser's reason.
    pub reason: String,
}

impl TomlError {
    fn new(file: &str, reason: &str) -> Self {
        Self { file: file.into(), reason: reason.trim().replace('\n', " ") }
    }

    /// The tables of a file.
    ///
    /// # Errors
    ///
    /// What isn't TOML, with its line.
    pub(super) fn parse(file: &str, text: &str) -> Result<toml::Table, Self> {
        text.parse().map_err(|e: Error| match e.span() {
            Some(span) => Self::new(file, &format!("line {}: {}", line_of(text, span.start), e.message())),
            None => Self::new(file, e.message()),
        })
    }

    /// Of a value that its setting doesn't take, or a key that is none: with the key, and the line where it stands.
    pub(super) fn of_value(file: &str, text: &str, error: &Error) -> Self {
        // the parser names the key behind its message
        let whole = error.to_string();
        let key = whole.split("in `").nth(1).and_then(|rest| rest.split('`').next()).unwrap_or("");
        let unknown = error.message().strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let path: Vec<&str> = key.split('.').filter(|part| !part.is_empty()).collect();
        let is_named = unknown.is_none_or(|unknown| path.last() == Some(&unknown));
        let path: Vec<&str> = path.into_iter().chain(unknown.filter(|_| !is_named)).collect();
        let at = place(text, &path).map(|at| format!("line {}, ", line_of(text, at))).unwrap_or_default();
        let key = if path.is_empty() { String::new() } else { format!("{}: ", path.join(".")) };
        Self::new(file, &format!("{at}{key}{}", error.message()))
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Where the last key of a path stands, or the last that is there.
fn place(text: &str, path: &[&str]) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut table = table.get_ref();
    let mut at = None;
    for name in path {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { break };
        at = Some(key.span().start);
        let DeValue::Table(inner) = value.get_ref() else { break };
        table = inner;
    }
    at
}
