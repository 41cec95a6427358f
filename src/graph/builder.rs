use std::collections::HashSet;
use std::sync::Arc;

use super::{Graph, GraphError, Node, Phase};
use crate::ops::{Op, ShapeError};
use crate::tensor::{DType, ParamGroup, Role, Shape, TensorId, TensorSpec};

/// Builds a [`Graph`]: declares tensors and applies ops in execution order.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    pub(super) graph: Graph,
    names: HashSet<String>,
    /// The tensors that [`super::Recompute::Block`] keeps.
    pub(super) checkpoints: Vec<TensorId>,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a tensor that exists before the graph runs: a parameter, constant or input.
    ///
    /// # Errors
    ///
    /// The name is taken, or the tensor has more elements than a kernel can index.
    pub fn tensor(&mut self, name: &str, shape: Shape, dtype: DType, role: Role) -> Result<TensorId, GraphError> {
        if u32::try_from(shape.numel()).is_err() {
            return Err(GraphError::TooLarge { name: name.into(), shape: shape.to_string() });
        }
        if !self.names.insert(name.into()) {
            return Err(GraphError::DuplicateName(name.into()));
        }
        self.graph.tensors.push(TensorSpec::new(name, shape, dtype, role));
        Ok(TensorId(self.graph.tensors.len() - 1))
    }

    /// Declares a trained parameter.
    ///
    /// # Errors
    ///
    /// As [`GraphBuilder::tensor`].
    pub fn param(&mut self, name: &str, dims: &[u64], group: ParamGroup) -> Result<TensorId, GraphError> {
        let param = self.tensor(name, Shape::new(dims), DType::F32, Role::Param)?;
        self.graph.params.push((param, group));
        Ok(param)
    }

    /// Declares the tensor of a parameter's gradient, `d <parameter>`. It is cleared when a step begins, so every
    /// writer adds.
    ///
    /// # Errors
    ///
    /// As [`GraphBuilder::tensor`].
    pub fn param_grad(&mut self, param: TensorId) -> Result<TensorId, GraphError> {
        let (name, shape) = (format!("d {}", self.spec(param).name), self.spec(param).shape);
        match self.graph.find(&name) {
            Some(grad) => Ok(grad),
            None => self.tensor(&name, shape, DType::F32, Role::Grad),
        }
    }

    /// Declares a tensor that the host writes.
    ///
    /// # Errors
    ///
    /// As [`GraphBuilder::tensor`].
    pub fn input(&mut self, name: &str, dims: &[u64], dtype: DType) -> Result<TensorId, GraphError> {
        self.tensor(name, Shape::new(dims), dtype, Role::Input)
    }

    /// The spec of a tensor.
    pub fn spec(&self, tensor: TensorId) -> &TensorSpec {
        self.graph.spec(tensor)
    }

    /// Applies an op. Its outputs become new activations named `label.output`, or `label` for an output called `out`.
    /// Returns the real outputs, without scratch.
    ///
    /// # Errors
    ///
    /// The op's shape rule rejects its inputs, or a name is taken.
    pub fn apply(
        &mut self,
        label: &str,
        op: impl Op + 'static,
        inputs: &[TensorId],
    ) -> Result<Vec<TensorId>, GraphError> {
        self.node(label, Arc::new(op), inputs, &[], Phase::MicroBatch)
    }

    /// Applies an op with one output.
    ///
    /// # Errors
    ///
    /// As [`GraphBuilder::apply`].
    pub fn apply1(&mut self, label: &str, op: impl Op + 'static, inputs: &[TensorId]) -> Result<TensorId, GraphError> {
        Ok(self.apply(label, op, inputs)?[0])
    }

    /// Applies an op whose first output is added to an existing tensor; the others are new activations.
    ///
    /// # Errors
    ///
    /// As [`GraphBuilder::apply`].
    pub fn node_into(
        &mut self,
        label: &str,
        op: impl Op + 'static,
        inputs: &[TensorId],
        into: TensorId,
    ) -> Result<Vec<TensorId>, GraphError> {
        self.node(label, Arc::new(op), inputs, &[Some((into, true))], Phase::MicroBatch)
    }

    /// Applies an op whose real outputs go to `into` where that has an entry (its flag means: add), and to new
    /// activations otherwise.
    ///
    /// # Errors
    ///
    /// As [`GraphBuilder::apply`].
    pub fn node(
        &mut self,
        label: &str,
        op: Arc<dyn Op>,
        inputs: &[TensorId],
        into: &[Option<(TensorId, bool)>],
        phase: Phase,
    ) -> Result<Vec<TensorId>, GraphError> {
        let label_error = |e: ShapeError| ShapeError { label: label.into(), ..e };
        let specs: Vec<&TensorSpec> = inputs.iter().map(|&t| self.graph.spec(t)).collect();
        let outs = op.outputs(&specs).map_err(label_error)?;
        let (mut outputs, mut accumulate, mut n_real) = (vec![], vec![], 0);
        for (i, out) in outs.iter().enumerate() {
            n_real += usize::from(!out.scratch);
            let (tensor, add) = match into.get(i).copied().flatten().filter(|_| !out.scratch) {
                Some((tensor, add)) => {
                    let spec = self.graph.spec(tensor);
                    ShapeError::check(op.name(), out.name, out.shape.numel(), spec.shape.numel())
                        .map_err(label_error)?;
                    (tensor, add)
                }
                None => {
                    let name = if out.name == "out" { label.to_string() } else { format!("{label}.{}", out.name) };
                    (self.tensor(&self.free_name(name), out.shape, out.dtype, Role::Activation)?, false)
                }
            };
            outputs.push(tensor);
            accumulate.push(add);
        }
        let real = outputs[..n_real].to_vec();
        self.graph.nodes.push(Node { label: label.into(), op, inputs: inputs.to_vec(), outputs, accumulate, phase });
        Ok(real)
    }

    fn free_name(&self, name: String) -> String {
        if !self.names.contains(&name) {
            return name;
        }
        (2..).map(|i| format!("{name}.{i}")).find(|n| !self.names.contains(n)).unwrap_or(name)
    }

    /// Changes a tensor's role: an activation that the host wants to read becomes an output or metric.
    pub fn set_role(&mut self, tensor: TensorId, role: Role) {
        self.graph.tensors[tensor.0].role = role;
    }

    /// Returns the finished graph.
    pub fn finish(mut self) -> Graph {
        if self.graph.n_forward == 0 {
            self.graph.n_forward = self.graph.nodes.len();
        }
        if self.graph.slabs.is_empty() {
            self.graph.slabs = super::slabs::layout(&self.graph);
        }
        self.graph
    }
}
