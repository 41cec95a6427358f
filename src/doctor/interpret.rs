//! A model evaluated in f64: its graph, op by op, by the ops' references.

use std::collections::BTreeMap;

use crate::data::Batch;
use crate::graph::{AdamwConfig, Graph, GraphError, Phase, Training};
use crate::model::{BatchShape, Gpt, Memory, ModelConfig, Purpose, ReadBack};
use crate::tensor::{Role, Shape, TensorId};
use crate::train::{batch_words, loss_scale};

/// The results of a model for one batch, without dropout.
#[derive(Debug, Clone, PartialEq)]
pub struct Interpreted {
    /// The mean over the real targets, in nats; 0 if there are none.
    pub loss: f64,
    /// The logits (B, T, V).
    pub logits: Vec<f64>,
    /// The gradient of every parameter, by name.
    pub gradients: BTreeMap<String, Vec<f64>>,
}

/// Runs forward and backward on one batch in f64, for models of a few thousand weights, using the graph that a device
/// would run.
///
/// # Errors
///
/// [`GraphError`] if a tensor is too large to index.
///
/// # Panics
///
/// If a parameter is missing or has a wrong size, and as [`Gpt::build`].
pub fn interpret(
    model: &ModelConfig,
    params: &BTreeMap<String, Vec<f64>>,
    batch: &Batch,
) -> Result<Interpreted, GraphError> {
    let model = ModelConfig { dropout: 0.0, ..model.clone() };
    let shape = BatchShape { b: batch.b as u64, t: batch.t as u64, document_mask: !batch.firsts.is_empty() };
    let train = Purpose::Train(Training { optimizer: &AdamwConfig::DEFAULT, max_norm: 0.0, adds_up: true });
    let keep = ReadBack { logits: true, attention: false };
    let Gpt { graph, inputs, constants, logits, loss, .. } = Gpt::build(&model, train, shape, keep, Memory::default())?;
    let find = |name: &str| graph.find(name).unwrap_or_else(|| panic!("the graph has no tensor {name}"));

    let mut values = Values(vec![None; graph.tensors.len()]);
    for &(param, _) in &graph.params {
        let name = &graph.spec(param).name;
        let value = params.get(name).unwrap_or_else(|| panic!("no values of the parameter {name}"));
        values.set(&graph, param, value.clone());
    }
    for constant in constants {
        values.set(&graph, find(&constant.name), constant.table.exact());
    }
    for (input, words) in batch_words(&inputs, batch) {
        values.set(&graph, input, words.iter().map(|&word| f64::from(word)).collect());
    }
    // without dropout nothing reads the random key
    values.set(&graph, inputs.rng, vec![0.0; 4]);
    if let Some(scale) = inputs.loss_scale {
        values.set(&graph, scale, vec![loss_scale(batch.n_targets())]);
    }
    values.run(&graph);

    let gradients = graph.params.iter().map(|&(param, _)| {
        let name = graph.spec(param).name.clone();
        (name.clone(), values.take(find(&format!("d {name}"))))
    });
    let gradients = gradients.collect();
    let mut of = |tensor: Option<TensorId>| tensor.map(|tensor| values.take(tensor)).unwrap_or_default();
    Ok(Interpreted { loss: of(loss)[0], logits: of(logits), gradients })
}

/// The values computed so far, by tensor.
struct Values(Vec<Option<Vec<f64>>>);

impl Values {
    fn set(&mut self, graph: &Graph, tensor: TensorId, value: Vec<f64>) {
        let spec = graph.spec(tensor);
        assert_eq!(value.len() as u64, spec.shape.numel(), "{} has the wrong number of elements", spec.name);
        self.0[tensor.0] = Some(value);
    }

    fn take(&mut self, tensor: TensorId) -> Vec<f64> {
        self.0[tensor.0].take().unwrap_or_else(|| panic!("the graph writes every output"))
    }

    /// Runs the nodes of a micro-batch. Gradients and metrics begin at 0.
    fn run(&mut self, graph: &Graph) {
        for (value, spec) in self.0.iter_mut().zip(&graph.tensors) {
            if matches!(spec.role, Role::Grad | Role::Metric) {
                *value = Some(vec![0.0; spec.shape.numel() as usize]);
            }
        }
        for node in graph.nodes.iter().filter(|node| node.phase == Phase::MicroBatch) {
            assert!(!node.op.in_place(), "no op of a training graph works in place, and {} does", node.label);
            let inputs: Vec<&[f64]> = node.inputs.iter().map(|&tensor| self.of(graph, tensor)).collect();
            let shapes: Vec<Shape> = node.inputs.iter().map(|&tensor| graph.spec(tensor).shape).collect();
            let outputs = node.op.reference(&inputs, &shapes);
            // scratch comes last, and has no reference
            for ((&tensor, &adds), output) in node.outputs.iter().zip(&node.accumulate).zip(outputs) {
                match &mut self.0[tensor.0] {
                    Some(sum) if adds => sum.iter_mut().zip(output).for_each(|(sum, x)| *sum += x),
                    value => *value = Some(output),
                }
            }
        }
    }

    fn of(&self, graph: &Graph, tensor: TensorId) -> &[f64] {
        self.0[tensor.0]
            .as_deref()
            .unwrap_or_else(|| panic!("{} is read before it is written", graph.spec(tensor).name))
    }
}
