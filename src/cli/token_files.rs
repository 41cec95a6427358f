//! The tokenizer of token files.

use std::error::Error;

use super::misuse::misuse;
use crate::data::tokens::tokenizer_beside;
use crate::data::{DataError, Mode, Source, Tokenizer, TokenizerSpec};
use crate::run::RunConfig;

/// Returns the tokenizer for the token files of a new run, and how it was chosen. `asked` is the value of
/// `--tokenizer`.
///
/// # Errors
///
/// Settings that apply only to text, and a tokenizer file next to the tokens that can't be read.
pub(super) fn tokenizer(
    config: &mut RunConfig,
    asked: Option<&TokenizerSpec>,
) -> Result<(Tokenizer, String), Box<dyn Error>> {
    let Source::Tokens { train, val, .. } = &config.data.source else { return Err("there are no token files".into()) };
    if config.data.mode != Mode::Stream {
        return Err(DataError::DocumentsOfTokens.into());
    }
    if config.data.special_tokens {
        return Err(misuse("--special-tokens is for text, but these are token files; leave it out"));
    }
    let files: Vec<_> = train.iter().chain(val).cloned().collect();
    let (spec, tokenizer, how) = match asked {
        Some(spec @ (TokenizerSpec::Char | TokenizerSpec::Bpe(_))) => {
            return Err(misuse(format!(
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

/// Fails if the tokenizer next to token files isn't the run's own: their ids would mean something else.
///
/// # Errors
///
/// Also if a tokenizer file next to them can't be read.
pub(super) fn check_beside(source: &Source, own: &Tokenizer) -> Result<(), Box<dyn Error>> {
    let Source::Tokens { train, val, .. } = source else { return Ok(()) };
    let files: Vec<_> = train.iter().chain(val).cloned().collect();
    match tokenizer_beside(&files)? {
        Some((path, other)) if other.to_json()? != own.to_json()? => Err(format!(
            "{} is not the run's tokenizer, so the ids of the files next to it mean something else; give text, or files \
             made with the run's tokenizer",
            path.display()
        )
        .into()),
        _ => Ok(()),
    }
}
