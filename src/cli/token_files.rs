//! Which tokenizer goes with token files.

use std::error::Error;

use super::misuse::misuse;
use crate::data::tokens::tokenizer_beside;
use crate::data::{DataError, Mode, Source, Tokenizer, TokenizerSpec};
use crate::run::RunConfig;

/// The tokenizer of the token files of a new run, and how it was found. `asked` is what `--tokenizer` says.
///
/// # Errors
///
/// Settings that are about text, and files beside the tokens that give no tokenizer.
pub(super) fn tokenizer(
    config: &mut RunConfig,
    asked: Option<&TokenizerSpec>,
) -> Result<(Tokenizer, String), Box<dyn Error>> {
    let Source::Tokens { train, val, .. } = &config.data.source else { return Err("there are no token files".into()) };
    if config.data.mode != Mode::Stream {
        return Err(DataError::DocumentsOfTokens.into());
    }
    if config.data.special_tokens {
        return Err(misuse("--special-tokens is about text, and these are token files; leave it out"));
    }
    let files: Vec<_> = train.iter().chain(val).cloned().collect();
    let (spec, tokenizer, how) = match asked {
        Some(spec @ (TokenizerSpec::Char | TokenizerSpec::Bpe(_))) => {
            return Err(misuse(format!(
                "--tokenizer {spec} is made from text, and these are token files; give byte, gpt2 or their tokenizer.json"
            )));
        }
        Some(spec) if *spec != TokenizerSpec::Auto => {
            (spec.clone(), spec.make(&"".into(), &Mode::Stream, 0.0, &|_| Ok(()))?, spec.to_string())
        }
        _ => match tokenizer_beside(&files)? {
            Some((path, tokenizer)) => {
                let how = format!("those of {}", path.display());
                // the run keeps the tokenizer itself
                let spec = match path.ends_with("tokenizer.json") {
                    true => TokenizerSpec::File(path),
                    false if tokenizer == Tokenizer::gpt2() => TokenizerSpec::Gpt2,
                    false => TokenizerSpec::Char,
                };
                (spec, tokenizer, how)
            }
            None => {
                let how = "gpt2, as no tokenizer.json and no meta.pkl lies beside them; --tokenizer takes another";
                (TokenizerSpec::Gpt2, Tokenizer::gpt2(), how.into())
            }
        },
    };
    config.data.tokenizer = spec;
    Ok((tokenizer, how))
}

/// Fails where another tokenizer than a run's own lies beside token files: their ids mean something else then.
///
/// # Errors
///
/// Also a file beside them that gives no tokenizer.
pub(super) fn check_beside(source: &Source, own: &Tokenizer) -> Result<(), Box<dyn Error>> {
    let Source::Tokens { train, val, .. } = source else { return Ok(()) };
    let files: Vec<_> = train.iter().chain(val).cloned().collect();
    match tokenizer_beside(&files)? {
        Some((path, other)) if other.to_json()? != own.to_json()? => Err(format!(
            "{} is not the run's tokenizer, so the ids of the files beside it mean something else; give text, or files of the run's own tokenizer",
            path.display()
        )
        .into()),
        _ => Ok(()),
    }
}
