//! Restores settings and tokenizers that a run has lost from its checkpoints.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};

use super::dir::{CONFIG, Lost, MODEL, TOKENIZER};
use super::{RunConfig, RunDir, RunDirError, checkpoint, saved_files};
use crate::data::{Mode, Tokenizer};
use crate::files::io_error;

/// Why a text file can't be used.
#[derive(Debug)]
pub(super) enum Fault {
    /// It doesn't exist.
    Missing,
    /// It is not a text file, but this.
    Other(&'static str),
    /// What is wrong with its text.
    Damaged(String),
    /// The operating system's error: the file may be intact.
    Refused(io::Error),
}

/// Reads a file of a run.
pub(super) fn read(dir: &RunDir, name: &str) -> Result<String, Fault> {
    let path = dir.path(name);
    match fs::metadata(&path) {
        Ok(kind) if kind.is_dir() => return Err(Fault::Other("is a folder")),
        // reading a pipe would wait for a writer
        Ok(kind) if !kind.is_file() => return Err(Fault::Other("is not a file")),
        Ok(kind) if kind.len() == 0 => return Err(Fault::Damaged("it is empty".into())),
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(Fault::Missing),
        Err(e) => return Err(Fault::Refused(e)),
    }
    fs::read_to_string(&path).map_err(|e| match e.kind() {
        ErrorKind::InvalidData => Fault::Other("is not UTF-8 text"),
        _ => Fault::Refused(e),
    })
}

/// The settings that the newest complete checkpoint was saved with.
///
/// # Errors
///
/// What to do if no checkpoint has them.
pub(super) fn config(dir: &RunDir, fault: Fault) -> Result<(RunConfig, Lost), RunDirError> {
    if let Fault::Refused(_) = fault {
        return Err(fault.into_error(dir, CONFIG, ""));
    }
    // the best model has only the model's settings, whatever run it is from
    let found = saved_files::newest(dir).filter(|(path, _)| !path.ends_with(MODEL));
    let Some((path, all)) = found.as_ref().and_then(|(path, kept)| Some((path, kept.all()?))) else {
        let remedy = match found {
            Some(_) => "its checkpoint only has the model's settings; restore the file, or import the model again",
            None => "no undamaged checkpoint has the settings; restore the file, or start a new run with --out",
        };
        return Err(fault.into_error(dir, CONFIG, remedy));
    };
    let taken = format!("using the settings of {}", path.display());
    Ok((all.clone(), Lost { name: CONFIG, fault: fault.to_string(), taken, text: all.to_toml() }))
}

/// The tokenizer that the newest undamaged file of the run was saved with: its copy in a checkpoint, or, for the kinds
/// that are always the same, that.
///
/// # Errors
///
/// What to do if there is none.
pub(super) fn tokenizer(dir: &RunDir, config: &RunConfig, fault: Fault) -> Result<Lost, RunDirError> {
    if let Fault::Refused(_) = fault {
        return Err(fault.into_error(dir, TOKENIZER, ""));
    }
    let found = saved_files::newest(dir).and_then(|(_, kept)| {
        let is_it = |json: &String| kept.is_of_tokenizer(json);
        saved_files::copy_of_tokenizer(dir, is_it).or_else(|| {
            let spec = Some(&config.data.tokenizer).filter(|spec| spec.needs_no_text())?;
            let tokenizer = spec.make(&"".into(), &Mode::Stream, 0.0, &|_| Ok(())).ok()?;
            let forms = [tokenizer.clone(), tokenizer.for_documents()];
            let json = forms.iter().filter_map(|form: &Tokenizer| form.to_json().ok()).find(is_it)?;
            Some((json, format!("that of --tokenizer {spec}")))
        })
    });
    let Some((json, from)) = found else {
        let remedy = "no checkpoint has a copy of it; restore the file, or start a new run with --out";
        return Err(fault.into_error(dir, TOKENIZER, remedy));
    };
    let taken = format!("using {from}");
    Ok(Lost { name: TOKENIZER, fault: fault.to_string(), taken, text: json })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing => f.write_str("is missing"),
            Fault::Other(what) => f.write_str(what),
            Fault::Damaged(reason) => write!(f, "is damaged ({reason})"),
            Fault::Refused(error) => write!(f, "can't be read ({error})"),
        }
    }
}

impl Fault {
    /// The error for a file that can't be replaced.
    fn into_error(self, dir: &RunDir, name: &str, remedy: &str) -> RunDirError {
        let path = dir.path(name);
        let foreign = |reason: String| RunDirError::Foreign { path: dir.root().display().to_string(), reason };
        match self {
            Fault::Refused(error) => io_error(&path)(error).into(),
            // without a checkpoint, nothing shows that it is a run at all
            Fault::Missing if checkpoint::newest_step(dir).is_none() => foreign(format!("there is no {name} in it")),
            Fault::Other(what) if checkpoint::newest_step(dir).is_none() => foreign(format!("{name} {what}")),
            Fault::Damaged(reason) if checkpoint::newest_step(dir).is_none() => {
                RunDirError::Damaged { path: path.display().to_string(), reason }
            }
            fault => {
                RunDirError::Lost { path: path.display().to_string(), reason: fault.to_string(), remedy: remedy.into() }
            }
        }
    }
}
