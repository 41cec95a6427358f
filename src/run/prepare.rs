//! What a new run is trained on: its text or token files, its tokenizer, and the settings that follow from them.

use super::RunConfig;
use crate::data::loading::Watch;
use crate::data::tokens::tokenizer_beside;
use crate::data::{Corpus, DataError, Mode, Source, Tokenizer, TokenizerSpec, embedded};

/// Why there is nothing to train on.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The text, the token files or the tokenizer.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Settings that contradict what is trained on.
    #[error("{0}")]
    Mismatch(String),
}

/// What to name a run on a source after: its first file.
pub fn name_of(source: &Source) -> String {
    match source {
        Source::Embedded { .. } => "stories".to_string(),
        Source::None => "text".to_string(),
        Source::Files { paths, .. } | Source::Tokens { train: paths, .. } => {
            let stem = paths.first().and_then(|p| p.file_stem()).map(|s| s.to_string_lossy().into_owned());
            stem.filter(|s| s != "-").unwrap_or_else(|| "text".into())
        }
    }
}

/// Gives documents of the embedded stories their own separator, unless the user chose one.
pub fn set_separator(config: &mut RunConfig, is_chosen: bool) {
    let stories = matches!(config.data.source, Source::Embedded { .. });
    if let (true, false, Mode::Documents { separator }) = (stories, is_chosen, &mut config.data.mode) {
        *separator = embedded::SEPARATOR.into();
    }
}

/// Decides about packing where the user didn't: documents are packed, and don't see each other then.
pub fn set_packing(config: &mut RunConfig) {
    let d = &mut config.data;
    let pack = *d.pack.get_or_insert(d.mode != Mode::Stream);
    d.document_mask.get_or_insert(pack);
}

/// Reads the text of the settings' source, or opens its token files, and records its checksum in the settings.
///
/// # Errors
///
/// As [`Source::load`].
pub fn load(config: &mut RunConfig, watch: Watch<'_>) -> Result<Corpus, DataError> {
    let corpus = config.data.source.load_watched(watch)?;
    config.data.crc32 = corpus.crc32();
    Ok(corpus)
}

/// Makes the tokenizer of a new run and records it, with the size of its vocabulary, in the settings. Also returns how it was
/// chosen, in words, where the user left that open. `asked` is what the user asked for.
///
/// # Errors
///
/// Settings that contradict the source, or a tokenizer that can't be read or learned.
pub fn tokenizer(
    config: &mut RunConfig,
    corpus: &Corpus,
    asked: Option<&TokenizerSpec>,
    watch: Watch<'_>,
) -> Result<(Tokenizer, Option<String>), PrepareError> {
    let (tokenizer, chosen) = match corpus.text() {
        None => {
            let (tokenizer, how) = of_token_files(config, asked)?;
            (tokenizer, Some(how))
        }
        Some(text) => {
            let is_chosen = config.data.tokenizer == TokenizerSpec::Auto;
            let spec = config.data.tokenizer.resolve(text);
            let tokenizer = spec.make(text, &config.data.mode, config.data.val_fraction, watch)?;
            config.data.tokenizer = spec;
            check_special_tokens(config.data.special_tokens, &config.data.tokenizer)?;
            let how = || chosen_by_text(&config.data.tokenizer);
            (tokenizer.for_data(&config.data.mode, config.data.special_tokens), is_chosen.then(how))
        }
    };
    config.model.vocab_size = tokenizer.vocab_size() as u64;
    Ok((tokenizer, chosen))
}

/// Explains the choice of an automatic tokenizer.
pub fn chosen_by_text(spec: &TokenizerSpec) -> String {
    format!("{spec}, by the size and alphabet of the text; --tokenizer overrides this")
}

/// Fails where special tokens are to be read by a tokenizer that has none.
///
/// # Errors
///
/// [`PrepareError::Mismatch`].
pub fn check_special_tokens(are_read: bool, spec: &TokenizerSpec) -> Result<(), PrepareError> {
    if are_read && matches!(spec, TokenizerSpec::Char | TokenizerSpec::Byte) {
        return Err(PrepareError::Mismatch(format!(
            "--special-tokens is for byte-pair encodings, but the tokenizer is {spec}; see --tokenizer"
        )));
    }
    Ok(())
}

/// The tokenizer of token files, and how it was found.
fn of_token_files(config: &mut RunConfig, asked: Option<&TokenizerSpec>) -> Result<(Tokenizer, String), PrepareError> {
    let Source::Tokens { train, val, .. } = &config.data.source else {
        return Err(PrepareError::Mismatch("there is no text and there are no token files; name some".into()));
    };
    if config.data.mode != Mode::Stream {
        return Err(DataError::DocumentsOfTokens.into());
    }
    if config.data.special_tokens {
        let what = "--special-tokens is for text, but these are token files; leave it out";
        return Err(PrepareError::Mismatch(what.into()));
    }
    let files: Vec<_> = train.iter().chain(val).cloned().collect();
    let (spec, tokenizer, how) = match asked {
        Some(spec @ (TokenizerSpec::Char | TokenizerSpec::Bpe(_))) => {
            return Err(PrepareError::Mismatch(format!(
                "--tokenizer {spec} needs text, but these are token files; give byte, gpt2 or their tokenizer.json"
            )));
        }
        Some(spec) if *spec != TokenizerSpec::Auto => {
            (spec.clone(), spec.make(&"".into(), &Mode::Stream, 0.0, &|_| Ok(()))?, spec.to_string())
        }
        _ => match tokenizer_beside(&files)? {
            Some((path, tokenizer)) => {
                let how = format!("from {}", path.display());
                // the run keeps the tokenizer itself
                let spec = match path.ends_with("tokenizer.json") {
                    true => TokenizerSpec::File(path),
                    false if tokenizer == Tokenizer::gpt2() => TokenizerSpec::Gpt2,
                    false => TokenizerSpec::Char,
                };
                (spec, tokenizer, how)
            }
            None => {
                let how =
                    "gpt2, as there is no tokenizer.json or meta.pkl next to the files; --tokenizer overrides this";
                (TokenizerSpec::Gpt2, Tokenizer::gpt2(), how.into())
            }
        },
    };
    config.data.tokenizer = spec;
    Ok((tokenizer, how))
}
