//! The model to export, as GPT-2's formats have it.

use crate::data::Tokenizer;
use crate::model::{ModelConfig, Positions, Table};
use crate::run::{RunDirError, Weights};
use crate::tensor::{Layout, ParamGroup, ParamSpec};

/// A model to export, in the form of GPT-2's formats: with biases, and positions in a table.
#[derive(Debug)]
pub struct Model {
    /// The run's architecture.
    pub config: ModelConfig,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its weights.
    pub weights: Weights,
}

impl Model {
    /// The names and shapes of GPT-2's tensors, in the order of the forward pass; with `lm_head.weight` if it isn't
    /// tied.
    pub(super) fn params(&self) -> Vec<ParamSpec> {
        ModelConfig { bias: true, positions: Positions::Learned, ..self.config.clone() }.params()
    }

    /// Reads one of them: zeros for a bias that the model lacks, and a table of sinusoidal positions.
    pub(super) fn tensor(&mut self, param: &ParamSpec) -> Result<Vec<f32>, RunDirError> {
        let &ModelConfig { block_size: t, n_embd: c, .. } = &self.config;
        match (param.group, self.config.positions) {
            _ if self.weights.has(&param.name) => self.weights.read(&param.name),
            (ParamGroup::Vector, _) => Ok(vec![0.0; elems(param.shape.dims())]),
            (ParamGroup::Embedding, Positions::Sinusoidal) => Ok(Table::Sinusoidal { t, c }.values()),
            _ => self.weights.read(&param.name),
        }
    }

    /// The same with the matrices of linear layers transposed to (out, in).
    pub(super) fn tensor_by_output(&mut self, param: &ParamSpec) -> Result<Vec<f32>, RunDirError> {
        let values = self.tensor(param)?;
        Ok(match param.layout {
            Layout::InOut => transposed(&values, param.shape.n_col() as usize),
            Layout::Plain => values,
        })
    }
}

/// The number of elements.
pub(super) fn elems(dims: &[u64]) -> usize {
    dims.iter().product::<u64>() as usize
}

fn transposed(values: &[f32], n_col: usize) -> Vec<f32> {
    let n_row = values.len() / n_col;
    (0..values.len()).map(|i| values[i % n_row * n_col + i / n_row]).collect()
}
