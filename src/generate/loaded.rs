use std::sync::Arc;

use crate::exec::{ExecError, Program};
use crate::gpu::Gpu;
use crate::kernel::Choice;
use crate::model::{BatchShape, Gpt, Memory, ModelConfig, Purpose, ReadBack};
use crate::plan::Plan;

use super::MIN_CONTEXT;

/// A model on a device without training state; a generator or an evaluator can use its parameters.
#[derive(Debug)]
pub struct LoadedModel {
    config: ModelConfig,
    program: Program,
}

impl LoadedModel {
    /// Uploads weights, under GPT-2's names, to a device.
    ///
    /// # Errors
    ///
    /// A name that the model lacks, a wrong size, or a device error.
    pub fn new(gpu: &Arc<Gpu>, config: &ModelConfig, weights: &[(String, Vec<f32>)]) -> Result<Self, ExecError> {
        let t = MIN_CONTEXT.min(config.block_size);
        let gpt = Gpt::build(config, Purpose::Next, BatchShape::new(1, t), ReadBack::default(), Memory::default())?;
        let program = Program::new(gpu, Plan::new(gpt.graph, gpu.caps(), &Choice::default())?)?;
        for (name, values) in weights {
            program.write_named(name, values)?;
        }
        for constant in gpt.constants {
            program.write_named(&constant.name, &constant.table.values())?;
        }
        Ok(Self { config: config.clone(), program })
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The program that holds the parameters.
    pub fn program(&self) -> &Program {
        &self.program
    }
}
