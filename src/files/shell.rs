//! Shell commands for messages.

use std::path::Path;

/// Quotes a path for a shell if it contains special characters.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/\\._-+=:,@%".contains(c);
    // only POSIX shells treat a backslash as special
    let is_plain = |c: char| is_plain(c) && (cfg!(windows) || c != '\\');
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else if cfg!(windows) {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_shell_reads_the_path_back() {
        for (path, text) in [
            ("runs/a-1_b.c", "runs/a-1_b.c"),
            ("runs/\u{e9}t\u{e9}", "runs/\u{e9}t\u{e9}"),
            ("my runs/a", "'my runs/a'"),
            ("it's", r"'it'\''s'"),
            ("a$b", "'a$b'"),
            ("~a", "'~a'"),
            ("a\\b", "'a\\b'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(Path::new(path)), text);
            let echo = std::process::Command::new("sh").args(["-c", &format!("printf %s {text}")]).output();
            assert_eq!(echo.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).ok().as_deref(), Some(path));
        }
    }
}
