//! Text and token files, read with a sign of life.

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
        Source::Embedded { .. } | Source::None => "drawing the stories".into(),
    });
}

/// Says what of a text isn't as it was in the files, and what is odd about token files.
pub(super) fn warn(corpus: &Corpus) {
    let text = match corpus {
        Corpus::Text(text) => text,
        Corpus::Tokens(tokens) => {
            tokens.warnings().iter().for_each(|warning| errln!("warning: {warning}"));
            return;
        }
    };
    if !text.skipped().is_empty() {
        errln!("left out {}", count(text.skipped().len(), "binary file"));
    }
    if text.n_replaced() > 0 {
        errln!("replaced bytes that are not UTF-8 in {} by U+FFFD", count(text.n_replaced(), "place"));
    }
}

/// Says how much of a text its tokenizer doesn't know, and what to do about that.
pub(super) fn warn_of_unknown(findings: &Findings, remedy: &str) {
    if findings.lost.is_notable() {
        let percent = findings.lost.percent();
        errln!(
            "warning: {percent:.1} % of the text becomes no token, as the tokenizer leaves out what it doesn't know: {remedy}"
        );
    }
    if let Some(name) = findings.unknown.as_ref().filter(|_| findings.is_notable()) {
        let (percent, tokens) = (findings.unknown_percent(), count(findings.n_token, "token"));
        errln!(
            "warning: {percent:.1} % of the text's {tokens} are {name}, which stands for what the tokenizer doesn't know: {remedy}"
        );
    }
}

/// Where the tokenizer can be chosen.
pub(super) const ANOTHER_TOKENIZER: &str =
    "--tokenizer takes another, such as bpe:4096, which is learned from the text";

/// Says which names of special tokens in a text are read as plain text, and what a new run on it can do about that.
pub(super) fn note_names(findings: &Findings, tokenizer: &Tokenizer, mode: &Mode) {
    note_names_with(findings, tokenizer, |name, is_end| {
        let separator = || format!("--separator {} parts documents there", quoted(Path::new(name)));
        match mode {
            Mode::Documents { .. } if is_end => separator(),
            Mode::Stream if !tokenizer.can_read_specials() => format!("--mode documents {}", separator()),
            Mode::Stream if is_end => {
                "--special-tokens makes it the end-of-text token, at which --document-mask true parts documents".into()
            }
            _ => "--special-tokens makes it a special token".into(),
        }
    });
}

/// The same, where `remedy` is what can be done, by the name and whether it is that of the end of a text.
pub(super) fn note_names_with(findings: &Findings, tokenizer: &Tokenizer, remedy: impl Fn(&str, bool) -> String) {
    const MOST: usize = 3;
    let end = tokenizer.end_of_text().and_then(|id| tokenizer.special_name(id));
    let is_end = |name: &str| !tokenizer.can_read_specials() || end.as_deref() == Some(name);
    let names = &findings.names;
    let Some((first, _)) = names.iter().find(|(name, _)| is_end(name)).or(names.first()) else { return };
    let mut listed: Vec<String> =
        names.iter().take(MOST).map(|(name, n)| format!("{name} {}", count(*n, "time"))).collect();
    if names.len() > MOST {
        listed.push(format!("{} more", names.len() - MOST));
    }
    errln!("note: the text contains {}, as plain text: {}", listed.join(", "), remedy(first, is_end(first)));
}

/// Units: bytes that the process may take; 0 for any number.
static MOST: AtomicU64 = AtomicU64::new(0);

/// Ends the loading of a text where the process takes more bytes than this.
pub(super) fn keep_below(most: u64) {
    MOST.store(most, Ordering::Relaxed);
}

/// Shows how far the loading of a text is.
///
/// # Errors
///
/// More memory than is allowed.
pub(super) fn watch(loading: Loading<'_>) -> Result<(), DataError> {
    let amount = |done, of| Amount { done, of, unit: "" };
    match loading {
        // the phase of that is begun already
        Loading::Reading { bytes, total, .. } => phases::at(amount(bytes, total)),
        Loading::LearningTokenizer { bytes, total } => {
            phases::doing("learning the tokenizer", amount(bytes, Some(total)));
        }
        Loading::Encoding { bytes, total } => phases::doing("encoding", amount(bytes, total)),
    }
    let most = MOST.load(Ordering::Relaxed);
    let taken = if most == 0 { 0 } else { resident_bytes() };
    if taken > most { Err(DataError::Memory { taken, most }) } else { Ok(()) }
}

/// Paths as they fit into a line.
fn named(paths: &[PathBuf]) -> String {
    match paths {
        [one] if one.as_os_str() == "-" => "standard input".into(),
        [one] => one.file_name().unwrap_or(one.as_os_str()).display().to_string(),
        all => format!("{} files and folders", all.len()),
    }
}
