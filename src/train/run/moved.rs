use super::Run;
use crate::data::Source;
use crate::train::RunError;

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
}
