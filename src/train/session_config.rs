use crate::graph::AdamwConfig;
use crate::model::{BatchShape, ConfigError, Memory, ModelConfig, ReadBack};
use crate::run::RunConfig;

/// The configuration of a training session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionConfig {
    /// The model.
    pub model: ModelConfig,
    /// Rows of a micro-batch.
    pub batch_size: u64,
    /// Positions of a row; at most the block size.
    pub t: u64,
    /// The maximum number of micro-batches per step, whose gradients are added up. With 1, gradients needn't be cleared
    /// first.
    pub micro_batches: u64,
    /// The optimizer.
    pub optimizer: AdamwConfig,
    /// Seed of initial weights and dropout.
    pub seed: u64,
    /// What to keep readable in addition to loss and norm.
    pub keep: ReadBack,
    /// Where to save memory.
    pub memory: Memory,
    /// Whether rows may hold several documents that don't attend to each other: a batch lists them in
    /// [`crate::data::Batch::firsts`].
    pub document_mask: bool,
}

/// The maximum number of positions in a micro-batch: a weight's gradient is a sum over all of them, and llvmpipe ends a
/// longer loop early.
const MAX_POSITIONS: u64 = 262_000;

impl SessionConfig {
    /// The rows of a batch.
    pub fn rows(&self) -> BatchShape {
        BatchShape { b: self.batch_size, t: self.t, document_mask: self.document_mask }
    }

    /// Checks the model, the batch's shape and the optimizer.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Range`] naming the flag.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.model.validate()?;
        check_batch(&self.model, self.batch_size, self.t)?;
        self.optimizer.validate()
    }
}

impl RunConfig {
    /// The configuration of the run's session.
    pub fn session(&self) -> SessionConfig {
        let t = &self.train;
        SessionConfig {
            model: self.model.clone(),
            batch_size: t.batch_size,
            t: self.row_size(),
            micro_batches: t.grad_accum,
            optimizer: t.optimizer,
            seed: t.seed,
            keep: ReadBack::default(),
            memory: Memory { loss_chunk: t.loss_chunk, recompute: t.recompute },
            document_mask: self.masks_documents(),
        }
    }
}

/// Fails on a batch of no rows or positions, of rows beyond the block size, or of too many positions in total.
pub(super) fn check_batch(model: &ModelConfig, b: u64, t: u64) -> Result<(), ConfigError> {
    let range =
        |flag, value: u64, expected: String| Err(ConfigError::Range { flag, value: value.to_string(), expected });
    if t == 0 || t > model.block_size {
        return range("positions of a row", t, format!("it must be from 1 to the block size {}", model.block_size));
    }
    let most = MAX_POSITIONS / t;
    if b == 0 || b > most {
        return range(
            "--batch-size",
            b,
            format!("with {t} positions a row it must be from 1 to {most}; see --grad-accum"),
        );
    }
    Ok(())
}

impl AdamwConfig {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Range`] naming the flag.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let range = |flag, value: f64, expected: &str| {
            Err(ConfigError::Range { flag, value: value.to_string(), expected: expected.into() })
        };
        for (flag, value) in [("--weight-decay", self.weight_decay), ("--clip", self.max_norm)] {
            if !value.is_finite() || value < 0.0 {
                return range(flag, value, "it must be a finite number, at least 0");
            }
        }
        for (flag, value) in [("--beta1", self.beta1), ("--beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return range(flag, value, "it must be from 0 up to, not including, 1");
            }
        }
        if !(self.eps > 0.0 && self.eps.is_finite()) {
            return range("--eps", self.eps, "it must be a finite number above 0");
        }
        Ok(())
    }
}
