use std::sync::Arc;

use super::Run;
use crate::data::{Corpus, DataError, Dataset};
use crate::gpu::Gpu;
use crate::kernel::Choice;
use crate::run::checkpoint::Progress;
use crate::run::{OpenRun, RunConfig};
use crate::train::{RunError, Session};

impl Run {
    /// Starts training an imported run with these settings and this text, which become its own.
    ///
    /// # Errors
    ///
    /// [`RunError`]; the run is unchanged then.
    pub fn begin(
        gpu: &Arc<Gpu>,
        open: &mut OpenRun,
        config: RunConfig,
        corpus: &Corpus,
        choice: &Choice,
    ) -> Result<Self, RunError> {
        config.validate()?;
        let (dir, lock, tokenizer) = (open.dir.clone(), open.lock()?, open.tokenizer.clone());
        let imported = tokenizer.pad_id();
        let tokenizer = tokenizer.for_data(&config.data.mode, config.data.special_tokens);
        // special tokens would shift the ids of characters and bytes, which the model has learned otherwise
        if tokenizer.pad_id() != imported {
            return Err(DataError::NoSpecials.into());
        }
        let dataset = Dataset::of(corpus, &tokenizer, &config.data_options())?;
        let mut found = open.take_checkpoint()?;
        let mut session = Session::with_kernels(gpu, config.session(), choice)?;
        session.load(&mut found)?;
        let progress = Progress { model: Some(0), imported: true, ..session.progress() };
        let mut run = Self::assemble((dir, lock), config, session, dataset, tokenizer, progress)?;
        run.warnings = found.passed_over.clone();
        let restored = run.dir.restore()?;
        run.warnings.extend(restored);
        run.repair_model(&mut found)?;
        // so that it keeps the kernels it starts with, however soon it is killed
        run.save_or_fail(|reason| RunError::NotBegun { reason })?;
        run.dir.write("config.toml", run.config.to_toml().as_bytes())?;
        Ok(run)
    }
}
