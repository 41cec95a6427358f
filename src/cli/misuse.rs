//! Usage errors: exit code 2, wherever they are noticed.

use std::error::Error;

use crate::data::DataError;
use crate::gpu::GpuError;
use crate::model::ConfigError;
use crate::train::memory::FitError;
use crate::train::{RunError, SessionError};

/// An invalid value of a flag, or flags that don't go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Misuse(String);

/// An error that ends the command with exit code 2.
pub(super) fn misuse(what: impl ToString) -> Box<dyn Error> {
    Misuse(what.to_string()).into()
}

/// Whether an error is a usage error. Errors in a file's contents never are.
pub(super) fn is_misuse(error: &(dyn Error + 'static)) -> bool {
    let (run, fit) = (error.downcast_ref(), error.downcast_ref());
    let session = match (run, fit) {
        (Some(RunError::Session(session)), _) | (_, Some(FitError::Session(session))) => Some(session),
        _ => error.downcast_ref(),
    };
    let data = if let Some(RunError::Data(data)) = run { Some(data) } else { error.downcast_ref() };
    let of_data = matches!(
        data,
        Some(
            DataError::DocumentsOfTokens
                | DataError::NoSpecials
                | DataError::NoDocuments
                | DataError::EmptySeparator
                | DataError::ZeroBlock
                | DataError::ValOfText { .. }
                | DataError::WidthOfText
                | DataError::TooWide { .. }
                | DataError::ValFraction { .. }
        )
    );
    let of_run = matches!(run, Some(RunError::Config(_) | RunError::NoProfile { .. } | RunError::Behind { .. }));
    let of_device =
        matches!(error.downcast_ref(), Some(GpuError::NoSuchAdapter { .. } | GpuError::SeveralAdapters { .. }));
    error.is::<Misuse>()
        || error.is::<ConfigError>()
        || matches!(session, Some(SessionError::Config(_)))
        || matches!(fit, Some(FitError::Rows { .. }))
        || of_data
        || of_run
        || of_device
}
