//! Rereads the text or token files that a run began with.

use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::reading;
use super::settings::SettingsArgs;
use crate::data::{Corpus, DataError, Source};
use crate::units::count;

/// Reads them from where they were. `root` is the run's directory.
///
/// # Errors
///
/// As [`Source::load`], and if the text came from standard input and nothing is piped in now.
pub(super) fn text_of_run(source: &Source, root: &Path) -> Result<Corpus, Box<dyn Error>> {
    if is_piped(source) && std::io::stdin().is_terminal() {
        return Err("this run's text came from standard input; pipe the same text in again".into());
    }
    Ok(reading::load(source).map_err(|error| match error {
        DataError::Missing { path } => DataError::Moved { path, run: root.into() },
        other => other,
    })?)
}

/// Reads them from `paths`, or from where they were; also returns the new source, if the run is to remember one. The
/// caller checks that the content is the same.
///
/// # Errors
///
/// As [`text_of_run`], and if the number of validation files differs.
pub(super) fn text_again(
    (paths, settings): (&[PathBuf], &SettingsArgs),
    source: &Source,
    root: &Path,
) -> Result<(Corpus, Option<Source>), Box<dyn Error>> {
    if paths.is_empty() {
        let now = source.clone().of_width(settings.token_width())?;
        return Ok((text_of_run(&now, root)?, Some(now).filter(|now| now != source)));
    }
    let is_lossy = matches!(source, Source::Files { lossy: true, .. });
    let mut now = settings.source(paths)?.lossily(is_lossy);
    if let (Source::Tokens { width: known, .. }, Source::Tokens { width, .. }) = (source, &mut now) {
        *width = width.or(*known);
    }
    if let (Source::Tokens { train, val, .. }, Source::Tokens { val: val_now, .. }) = (source, &now)
        && val.len() != val_now.len()
    {
        return Err(format!(
            "this run trains on {} and validates on {}; name as many of each, the latter with --val",
            count(train.len(), "file"),
            val.len()
        )
        .into());
    }
    let corpus = reading::load(&now)?;
    // piped text has no path to remember
    Ok((corpus, Some(now).filter(|now| !is_piped(now) && now != source)))
}

/// Whether any of the text came from standard input.
fn is_piped(source: &Source) -> bool {
    matches!(source, Source::Files { paths, .. } if paths.iter().any(|p| p.as_os_str() == "-"))
}
