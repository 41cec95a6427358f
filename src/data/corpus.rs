//! Text from files, folders, standard input, or the embedded grammar.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{DataError, embedded};

/// How far into a file of a folder a zero byte is looked for; one marks the file as binary (git's rule).
const BINARY_PROBE_BYTES: usize = 8000;

/// Where a run's text comes from, as its config records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// Stories drawn from the embedded grammar.
    Embedded {
        /// Which stories; has nothing to do with the seed of a training.
        seed: u64,
        /// The least number of characters; the last story is always whole.
        chars: u64,
    },
    /// Files, folders and `-` for standard input, in this order.
    Files {
        /// The paths as given.
        paths: Vec<PathBuf>,
    },
}

impl Source {
    /// What a command line means: its paths, or the embedded stories when there are none.
    pub fn from_paths(paths: &[PathBuf]) -> Source {
        if paths.is_empty() {
            return Source::Embedded { seed: embedded::SEED, chars: embedded::CHARS };
        }
        Source::Files { paths: paths.to_vec() }
    }

    /// The text itself.
    ///
    /// # Errors
    /// As [`read`].
    pub fn load(&self) -> Result<Text, DataError> {
        match self {
            Source::Embedded { seed, chars } => Ok(Text::new(embedded::text(*seed, *chars))),
            Source::Files { paths } => read(paths),
        }
    }
}

/// UTF-8 text that remembers where one file ends and the next begins.
///
/// Units: byte offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    content: String,
    ends: Vec<usize>,
    skipped: Vec<PathBuf>,
}

impl Text {
    /// Text that doesn't come from a file.
    pub fn new(content: impl Into<String>) -> Text {
        let content = content.into();
        Text { ends: vec![content.len()], content, skipped: Vec::new() }
    }

    /// Everything, file after file. A file that doesn't end in a line break is given one if another file follows.
    pub fn as_str(&self) -> &str {
        &self.content
    }

    /// The text of each file; a document never reaches from one into the next.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.content[start..end])
    }

    /// Binary files that were found in folders and left out.
    pub fn skipped(&self) -> &[PathBuf] {
        &self.skipped
    }

    /// CRC-32 of the bytes, by which a resumed run sees that its text is still the same.
    pub fn crc32(&self) -> u32 {
        crc32fast::hash(self.content.as_bytes())
    }

    /// Says whether this is the text whose checksum a run recorded.
    ///
    /// # Errors
    /// [`DataError::Changed`] if it isn't.
    pub fn verify(&self, expected: u32) -> Result<(), DataError> {
        let found = self.crc32();
        if found == expected {
            return Ok(());
        }
        Err(DataError::Changed { expected, found })
    }

    fn push(&mut self, file: &str) {
        if !self.content.is_empty() && !self.content.ends_with('\n') {
            self.content.push('\n');
            if let Some(end) = self.ends.last_mut() {
                *end += 1;
            }
        }
        self.content.push_str(file);
        self.ends.push(self.content.len());
    }
}

impl From<&str> for Text {
    fn from(content: &str) -> Text {
        Text::new(content)
    }
}

/// Reads files, folders and, for `-`, standard input.
///
/// A folder gives its files in sorted order, subfolders included; hidden ones (a dot in front), binary ones (a zero
/// byte near the start), empty ones and links to folders are left out. A byte order mark in front of a file is dropped.
///
/// # Errors
/// A path that is missing, unreadable or empty, text that isn't UTF-8, a folder without text.
pub fn read(paths: &[PathBuf]) -> Result<Text, DataError> {
    read_with_input(paths, &mut io::stdin().lock())
}

/// [`read`], with something else in the place of standard input.
///
/// # Errors
/// As [`read`].
pub fn read_with_input(paths: &[PathBuf], input: &mut dyn Read) -> Result<Text, DataError> {
    let mut text = Text { content: String::new(), ends: Vec::new(), skipped: Vec::new() };
    for path in paths {
        if path.as_os_str() == "-" {
            read_one("standard input", input, &mut text)?;
            continue;
        }
        let kind = fs::metadata(path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                DataError::Missing { path: path.clone() }
            } else {
                unreadable(path, error)
            }
        })?;
        if kind.is_dir() {
            let files_before = text.ends.len();
            read_folder(path, &mut text)?;
            if text.ends.len() == files_before {
                return Err(DataError::NoTextInFolder { path: path.clone() });
            }
        } else {
            let mut file = fs::File::open(path).map_err(|error| unreadable(path, error))?;
            read_one(&path.display().to_string(), &mut file, &mut text)?;
        }
    }
    if text.content.is_empty() {
        return Err(DataError::Empty { name: "the list of paths".into() });
    }
    Ok(text)
}

fn read_one(name: &str, from: &mut dyn Read, text: &mut Text) -> Result<(), DataError> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map_err(|source| DataError::Unreadable { name: name.into(), source })?;
    let file = decode(name, &bytes)?;
    if file.is_empty() {
        return Err(DataError::Empty { name: name.into() });
    }
    text.push(file);
    Ok(())
}

fn read_folder(folder: &Path, text: &mut Text) -> Result<(), DataError> {
    let mut entries = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
        .map_err(|error| unreadable(folder, error))?;
    entries.sort();
    for path in entries {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        // A link to a folder may lead back to where we are, a link to nothing has no text.
        let Ok(kind) = fs::metadata(&path) else {
            continue;
        };
        if kind.is_dir() && !path.is_symlink() {
            read_folder(&path, text)?;
        } else if kind.is_file() {
            let bytes = fs::read(&path).map_err(|error| unreadable(&path, error))?;
            if bytes[..bytes.len().min(BINARY_PROBE_BYTES)].contains(&0) {
                text.skipped.push(path);
                continue;
            }
            let file = decode(&path.display().to_string(), &bytes)?;
            if !file.is_empty() {
                text.push(file);
            }
        }
    }
    Ok(())
}

fn decode<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, DataError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| DataError::NotUtf8 { name: name.into(), offset: error.valid_up_to() })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn unreadable(path: &Path, source: io::Error) -> DataError {
    DataError::Unreadable { name: path.display().to_string(), source }
}
