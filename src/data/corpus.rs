//! Text from files, folders, standard input, or the embedded grammar; or tokens from files.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::decode::InvalidUtf8;
use super::loading::Watch;
use super::text::Origin;
use super::tokens::Width;
use super::{DataError, Dataset, Findings, Options, Text, TokenSet, Tokenizer, embedded};

/// Where a run's text comes from, as its config records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", try_from = "RawSource")]
pub enum Source {
    /// Stories sampled from the embedded grammar.
    Embedded {
        /// The seed of the stories, independent of the training seed.
        seed: u64,
        /// The minimum number of characters; the last story is always complete.
        chars: u64,
    },
    /// Files, folders and `-` for standard input, in this order.
    Files {
        /// The paths, absolute, so that a run can be resumed from another folder.
        paths: Vec<PathBuf>,
        /// Whether bytes that aren't UTF-8 become U+FFFD instead of an error.
        lossy: bool,
    },
    /// No text yet: the run was imported and not trained since.
    None,
    /// Token files, in this order.
    Tokens {
        /// Absolute paths of the files to train on; without `val`, their last tokens are the validation split.
        train: Vec<PathBuf>,
        /// The validation files.
        val: Vec<PathBuf>,
        /// The token width, if given; otherwise the header decides, or it is 16 bits.
        #[serde(skip_serializing_if = "Option::is_none")]
        width: Option<Width>,
    },
}

/// The keys of all kinds of [`Source`]. Serde's own tagged enums don't report the key of an error; this does.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    kind: Kind,
    seed: Option<u64>,
    chars: Option<u64>,
    paths: Option<Vec<PathBuf>>,
    lossy: Option<bool>,
    train: Option<Vec<PathBuf>>,
    val: Option<Vec<PathBuf>>,
    width: Option<Width>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Embedded,
    Files,
    None,
    Tokens,
}

impl TryFrom<RawSource> for Source {
    type Error = &'static str;

    fn try_from(written: RawSource) -> Result<Self, Self::Error> {
        let RawSource { kind, seed, chars, paths, lossy, train, val, width } = written;
        if width.is_some() && !matches!(kind, Kind::Tokens) {
            return Err("only \"tokens\" can have a width");
        }
        Ok(match (kind, seed, chars, paths, lossy, train, val) {
            (Kind::Embedded, Some(seed), Some(chars), None, None, None, None) => Source::Embedded { seed, chars },
            (Kind::Files, None, None, Some(paths), lossy, None, None) => {
                Source::Files { paths, lossy: lossy.unwrap_or_default() }
            }
            (Kind::None, None, None, None, None, None, None) => Source::None,
            (Kind::Tokens, None, None, None, None, Some(train), val) => {
                Source::Tokens { train, val: val.unwrap_or_default(), width }
            }
            _ => {
                return Err(
                    "these keys don't belong to this kind: \"embedded\" has seed and chars, \"files\" has paths and may have \
                            lossy, \"tokens\" has train and may have val and width, \"none\" has none",
                );
            }
        })
    }
}

impl Source {
    /// Returns the source that a command line names: its paths, or the embedded stories without any.
    pub fn from_paths(paths: &[PathBuf]) -> Source {
        if paths.is_empty() {
            return Source::Embedded { seed: embedded::SEED, chars: embedded::CHARS };
        }
        let absolute = |path: &PathBuf| match path.as_os_str() == "-" {
            true => path.clone(),
            false => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
        };
        Source::Files { paths: paths.iter().map(absolute).collect(), lossy: false }
    }

    /// The same source, replacing bytes that aren't UTF-8 if `lossy`.
    #[must_use]
    pub fn lossily(mut self, replace: bool) -> Source {
        if let Source::Files { lossy, .. } = &mut self {
            *lossy = replace;
        }
        self
    }

    /// The same source, with a width for token files if one is given.
    ///
    /// # Errors
    ///
    /// Fails if a width is given for anything but token files.
    pub fn of_width(mut self, asked: Option<Width>) -> Result<Source, DataError> {
        match &mut self {
            Source::Tokens { width, .. } => *width = asked.or(*width),
            _ if asked.is_some() => return Err(DataError::WidthOfText),
            _ => {}
        }
        Ok(self)
    }

    /// Reads the text once, or opens the token files.
    ///
    /// # Errors
    /// As [`read`](super::read) and [`TokenSet::open`].
    pub fn load(&self) -> Result<Corpus, DataError> {
        self.load_watched(&|_| Ok(()))
    }

    /// [`Source::load`], reporting progress to `watch`.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub fn load_watched(&self, watch: Watch<'_>) -> Result<Corpus, DataError> {
        Ok(match self {
            Source::None => return Err(DataError::NoText),
            Source::Embedded { seed, chars } => {
                Corpus::Text(Text::open(Origin::Stories { seed: *seed, chars: *chars }, watch)?)
            }
            Source::Files { paths, lossy } => {
                let bad = if *lossy { InvalidUtf8::Replace } else { InvalidUtf8::Refuse };
                let origin = Origin::of_paths(paths, bad)?.kept(&mut io::stdin().lock(), watch)?;
                Corpus::Text(Text::open(origin, watch)?)
            }
            Source::Tokens { train, val, width } => Corpus::Tokens(TokenSet::open_as(train, val, *width)?),
        })
    }
}

/// The data of a run.
#[derive(Clone, Debug)]
pub enum Corpus {
    /// Text, to be encoded by the tokenizer.
    Text(Text),
    /// Tokens from files.
    Tokens(TokenSet),
}

impl Corpus {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&Text> {
        match self {
            Corpus::Text(text) => Some(text),
            Corpus::Tokens(_) => None,
        }
    }

    /// CRC-32 of all bytes; a resumed run checks it.
    pub fn crc32(&self) -> u32 {
        match self {
            Corpus::Text(text) => text.crc32(),
            Corpus::Tokens(tokens) => tokens.crc32(),
        }
    }

    /// Checks the data against the checksum that a run recorded.
    ///
    /// # Errors
    /// [`DataError::Changed`] if it differs.
    pub fn verify(&self, expected: u32) -> Result<(), DataError> {
        let what = if self.text().is_some() { "text has" } else { "set of token files has" };
        match self.crc32() {
            found if found == expected => Ok(()),
            found => Err(DataError::Changed { what, expected, found }),
        }
    }

    /// Encodes the text for training and keeps the tokens for [`Dataset::of`] with the same tokenizer and options,
    /// reporting progress to `watch`. Returns how well the tokenizer fits. Does nothing for token files.
    ///
    /// # Errors
    /// As [`Dataset::of`].
    pub fn prepare(&self, tokenizer: &Tokenizer, options: &Options, watch: Watch<'_>) -> Result<Findings, DataError> {
        match self {
            Corpus::Text(text) => Dataset::prepare(text, tokenizer, options, watch),
            Corpus::Tokens(_) => Ok(Findings::default()),
        }
    }
}
