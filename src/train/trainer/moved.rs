//! What a run does about files that somebody has moved or removed.

use super::Run;
use crate::data::Source;
use crate::train::{Event, RunError};

impl Run {
    /// Remembers where the text or token files are that the run was resumed with, and so are known to be its own.
    ///
    /// # Errors
    ///
    /// The operating system's refusal.
    pub fn remember(&mut self, source: Source) -> Result<(), RunError> {
        self.config.data.source = source;
        Ok(self.dir.write("config.toml", self.config.to_toml().as_bytes())?)
    }

    /// Says that `metrics.jsonl` was removed, where it was.
    pub(super) fn note_metrics(&mut self, on: &mut impl FnMut(&Event)) {
        if self.metrics.take_anew() {
            on(&Event::MetricsAnew { step: self.step() });
        }
    }
}
