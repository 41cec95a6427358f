//! Numbers in flags, and the errors for values that aren't numbers.

use std::error::Error;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};

use clap::Command;
use clap::error::{ContextKind, ErrorKind};

/// Accepts negative numbers as values of flags, so that each flag's own parser can explain what is wrong.
pub(super) fn with_negative(command: Command) -> Command {
    command.mut_subcommands(|command| {
        command.mut_args(|arg| {
            let takes_value = arg.get_action().takes_values() && !arg.is_positional();
            if takes_value { arg.allow_negative_numbers(true) } else { arg }
        })
    })
}

/// Rewords clap's error for a value that isn't a number; returns other errors as they are.
pub(super) fn reworded(error: clap::Error) -> clap::Error {
    let Some(what) = error.source().and_then(expected) else { return error };
    let part = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let (flag, value) = (part(ContextKind::InvalidArg), part(ContextKind::InvalidValue));
    let text = format!("invalid value '{value}' for '{flag}': {what}\n\nFor more information, try '--help'.\n");
    clap::Error::raw(ErrorKind::ValueValidation, text)
}

fn expected(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if error.is::<ParseFloatError>() {
        return Some("it must be a number");
    }
    Some(match error.downcast_ref::<ParseIntError>()?.kind() {
        IntErrorKind::PosOverflow => "it is too large",
        _ => "it must be a whole number, not negative",
    })
}
