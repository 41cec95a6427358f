//! Reads text and token files, showing progress.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::phases::{self, Amount};
use crate::data::{Corpus, DataError, Findings, Loading, Mode, Source, Tokenizer};
use crate::files::shell::quoted;
use crate::train::memory::resident_bytes;
use crate::units::count;

/// Reads text, or opens token files.
///
/// # Errors
///
/// As [`Source::load`].
pub(super) fn load(source: &Source) -> Result<Corpus, DataError> {
    begin(source);
    let corpus = source.load_watched(&watch);
    phases::end();
    corpus
}

/// Names the phase in which a source is read.
pub(super) fn begin(source: &Source) {
    phases::begin(match source {
        Source::Files { paths, .. } => format!("reading {}", named(paths)),
        Source::Tokens { train, .. } => format!("checking {}", named(train)),
        Source::Embedded { .. } | Source::None => "generating the stories".into(),
    });
}

/// Reports how a text differs from its files, and warnings about token files.
pub(super) fn warn(corpus: &Corpus) {
    let text = match corpus {
        Corpus::Text(text) => text,
        Corpus::Tokens(tokens) => {
            tokens.warnings().iter().for_each(|warning| errln!("warning: {warning}"));
            return;
        }
    };
    if !text.skipped().is_empty() {
        errln!("skipped {}", count(text.skipped().len(), "binary file"));
    }
    if text.n_replaced() > 0 {
        errln!("replaced bytes that are not UTF-8 with U+FFFD in {}", count(text.n_replaced(), "place"));
    }
}

/// Warns if the tokenizer doesn't know a notable part of the text, and suggests a remedy.
pub(super) fn warn_of_unknown(findings: &Findings, remedy: &str) {
    if findings.lost.is_notable() {
        let percent = findings.lost.percent();
        errln!("warning: {percent:.1} % of the text is lost, as the tokenizer drops what it doesn't know; {remedy}");
    }
    if let Some(name) = findings.unknown.as_ref().filter(|_| findings.is_notable()) {
        let (percent, tokens) = (findings.unknown_percent(), count(findings.n_token, "token"));
        errln!(
            "warning: {percent:.1} % of the text's {tokens} are {name}, which stands for anything that the tokenizer \
             doesn't know; {remedy}"
        );
    }
}

/// The remedy for a new run, whose tokenizer can be chosen.
pub(super) const ANOTHER_TOKENIZER: &str =
    "choose another with --tokenizer, such as bpe:4096, which is learned from the text";

/// Notes which names of special tokens are read as plain text, and which flag of a new run changes that.
pub(super) fn note_names(findings: &Findings, tokenizer: &Tokenizer, mode: &Mode) {
    note_names_with(findings, tokenizer, |name, is_end| {
        let separator = || format!("--separator {} separates documents there", quoted(Path::new(name)));
        match mode {
            Mode::Documents { .. } if is_end => separator(),
            Mode::Stream if !tokenizer.can_read_specials() => format!("--mode documents {}", separator()),
            Mode::Stream if is_end => {
                "--special-tokens makes it the end-of-text token, where --document-mask true separates documents".into()
            }
            _ => "--special-tokens makes it a special token".into(),
        }
    });
}

/// As [`note_names`], with a `remedy` that depends on the name and on whether it is the end-of-text token's.
pub(super) fn note_names_with(findings: &Findings, tokenizer: &Tokenizer, remedy: impl Fn(&str, bool) -> String) {
    const MAX_LISTED: usize = 3;
    let end = tokenizer.end_of_text().and_then(|id| tokenizer.special_name(id));
    let is_end = |name: &str| !tokenizer.can_read_specials() || end.as_deref() == Some(name);
    let names = &findings.names;
    let Some((first, _)) = names.iter().find(|(name, _)| is_end(name)).or(names.first()) else { return };
    let mut listed: Vec<String> =
        names.iter().take(MAX_LISTED).map(|(name, n)| format!("{name} {}", count(*n, "time"))).collect();
    if names.len() > MAX_LISTED {
        listed.push(format!("{} more", names.len() - MAX_LISTED));
    }
    errln!("note: the text contains {}, read as plain text; {}", listed.join(", "), remedy(first, is_end(first)));
}

/// The memory limit of the process in bytes; 0 for none.
static MEMORY_LIMIT: AtomicU64 = AtomicU64::new(0);

/// Makes the loading of a text fail once the process takes more than `limit` bytes.
pub(super) fn keep_below(limit: u64) {
    MEMORY_LIMIT.store(limit, Ordering::Relaxed);
}

/// Shows the progress of loading a text.
///
/// # Errors
///
/// If the process exceeds its memory limit.
pub(super) fn watch(loading: Loading<'_>) -> Result<(), DataError> {
    let amount = |done, of| Amount { done, of, unit: "" };
    match loading {
        // its phase has already begun
        Loading::Reading { bytes, total, .. } => phases::at(amount(bytes, total)),
        Loading::LearningTokenizer { bytes, total } => {
            phases::doing("learning the tokenizer", amount(bytes, Some(total)));
        }
        Loading::Encoding { bytes, total } => phases::doing("encoding", amount(bytes, total)),
    }
    let most = MEMORY_LIMIT.load(Ordering::Relaxed);
    let taken = if most == 0 { 0 } else { resident_bytes() };
    if taken > most { Err(DataError::Memory { taken, most }) } else { Ok(()) }
}

/// A short name for paths.
fn named(paths: &[PathBuf]) -> String {
    match paths {
        [one] if one.as_os_str() == "-" => "standard input".into(),
        [one] => one.file_name().unwrap_or(one.as_os_str()).display().to_string(),
        all => format!("{} files and folders", all.len()),
    }
}
