//! Text and token files, read with a sign of life.

use std::path::PathBuf;

use super::phases::{self, Amount};
use crate::data::{Corpus, DataError, Findings, Loading, Source};
use crate::units::count;

/// Reads text, or opens token files.
///
/// # Errors
///
/// As [`Source::load`].
pub(super) fn load(source: &Source) -> Result<Corpus, DataError> {
    phases::begin(match source {
        Source::Files { paths, .. } => format!("reading {}", named(paths)),
        Source::Tokens { train, .. } => format!("checking {}", named(train)),
        Source::Embedded { .. } | Source::None => "drawing the stories".into(),
    });
    let corpus = source.load_watched(&watch);
    phases::end();
    corpus
}

/// Says what of a text isn't as it was in the files.
pub(super) fn warn(corpus: &Corpus) {
    let Some(text) = corpus.text() else { return };
    if !text.skipped().is_empty() {
        errln!("left out {}", count(text.skipped().len(), "binary file"));
    }
    if text.n_replaced() > 0 {
        errln!("replaced bytes that are not UTF-8 in {} by U+FFFD", count(text.n_replaced(), "place"));
    }
}

/// Says how much of a text its tokenizer doesn't know, and what to do about that.
pub(super) fn warn_of_unknown(findings: &Findings, remedy: &str) {
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

/// Shows how far the loading of a text is.
pub(super) fn watch(loading: Loading<'_>) {
    let amount = |done, of| Amount { done, of, unit: "" };
    match loading {
        // the phase of that is begun already
        Loading::Reading { bytes, total, .. } => phases::at(amount(bytes, total)),
        Loading::LearningTokenizer { bytes, total } => {
            phases::doing("learning the tokenizer", amount(bytes, Some(total)));
        }
        Loading::Encoding { bytes, total } => phases::doing("encoding", amount(bytes, total)),
    }
}

/// Paths as they fit into a line.
fn named(paths: &[PathBuf]) -> String {
    match paths {
        [one] if one.as_os_str() == "-" => "standard input".into(),
        [one] => one.file_name().unwrap_or(one.as_os_str()).display().to_string(),
        all => format!("{} files and folders", all.len()),
    }
}
