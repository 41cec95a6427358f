//! Handles files of a run that somebody has moved or removed.

use super::Run;
use crate::data::Source;
use crate::train::{Event, RunError};

impl Run {
    /// Records the new location of the run's text or token files, once the run was resumed with them and has verified
    /// them.
    ///
    /// # Errors
    ///
    /// The operating system's error.
    pub fn remember(&mut self, source: Source) -> Result<(), RunError> {
        self.config.data.source = source;
        Ok(self.dir.write("config.toml", self.config.to_toml().as_bytes())?)
    }

    /// Reports that `metrics.jsonl` was removed, if it was.
    pub(super) fn note_metrics(&mut self, on: &mut impl FnMut(&Event)) {
        if self.metrics.take_anew() {
            on(&Event::MetricsAnew { step: self.step() });
        }
    }
}
