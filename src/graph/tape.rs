use std::collections::HashMap;

use super::{GraphBuilder, GraphError, Phase};
use crate::ops::{Backward, Dest, Op, Residual, ShapeError};
use crate::tensor::{Role, TensorId, TensorSpec};

impl GraphBuilder {
    /// Appends the backward pass of all nodes so far: the gradient of `loss` with respect to every parameter, in
    /// tensors called `d <parameter>`. The loss's own gradient is 1, which the loss op's backward rule assumes.
    ///
    /// # Errors
    ///
    /// [`GraphError::NotDifferentiable`] for an op without a backward rule on the path to the loss.
    pub fn backward(&mut self, loss: TensorId) -> Result<(), GraphError> {
        self.graph.n_forward = self.graph.nodes.len();
        let mut tape = Tape {
            needs: self.needs_gradient(),
            grads: HashMap::new(),
            sharers: HashMap::new(),
            node: 0,
            builder: self,
        };
        tape.declare_param_grads()?;
        tape.grads.insert(loss, loss);
        for node in (0..tape.builder.graph.n_forward).rev() {
            tape.node = node;
            let outputs = &tape.builder.graph.nodes[node].outputs;
            if !outputs.iter().any(|o| tape.grads.contains_key(o)) {
                continue;
            }
            tape.step()?;
        }
        Ok(())
    }

    /// Whether each tensor depends on a parameter.
    fn needs_gradient(&self) -> Vec<bool> {
        let graph = &self.graph;
        let mut needs: Vec<bool> = graph.tensors.iter().map(|t| t.role == Role::Param).collect();
        for node in &graph.nodes {
            let any = node.inputs.iter().any(|t| needs[t.0]);
            node.outputs.iter().for_each(|t| needs[t.0] |= any);
        }
        needs
    }
}

/// The reverse walk. It owns the accumulation rule: the first writer of an activation's gradient stores, later writers
/// add. Every writer of a parameter's gradient adds, as it may hold that of an earlier micro-batch
/// ([`Graph::store_first`]).
struct Tape<'a> {
    builder: &'a mut GraphBuilder,
    needs: Vec<bool>,
    /// The gradients computed so far, by tensor.
    grads: HashMap<TensorId, TensorId>,
    /// How many tensors still awaiting their backward pass share this gradient: adding into a shared one would change
    /// the gradient of the others.
    sharers: HashMap<TensorId, usize>,
    node: usize,
}

impl Tape<'_> {
    fn declare_param_grads(&mut self) -> Result<(), GraphError> {
        for id in (0..self.builder.graph.tensors.len()).map(TensorId) {
            if self.builder.spec(id).role == Role::Param {
                let grad = self.builder.param_grad(id)?;
                self.grads.insert(id, grad);
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), GraphError> {
        let op = self.builder.graph.nodes[self.node].op.clone();
        let result = op.backward(self);
        let (name, node) = (op.name(), self.node);
        let label = || self.builder.graph.nodes[node].label.clone();
        match result {
            Some(done) => done.map_err(|e| if e.label.is_empty() { ShapeError { label: label(), ..e } } else { e })?,
            None => return Err(GraphError::NotDifferentiable { op: name, label: label() }),
        }
        for output in self.builder.graph.nodes[node].outputs.clone() {
            if let Some(count) = self.grads.get(&output).and_then(|g| self.sharers.get_mut(g)) {
                *count = count.saturating_sub(1);
            }
        }
        Ok(())
    }

    fn emit(
        &mut self,
        op: Box<dyn Op>,
        inputs: &[TensorId],
        into: &[Option<(TensorId, bool)>],
    ) -> Result<Vec<TensorId>, ShapeError> {
        let label = format!("d {}", self.builder.graph.nodes[self.node].label);
        let name = op.name();
        self.builder.node(&label, op.into(), inputs, into, Phase::MicroBatch).map_err(|e| match e {
            GraphError::Shape(e) => e,
            other => ShapeError { label: label.clone(), ..ShapeError::new(name, "gradient", "a valid tensor", other) },
        })
    }

    fn add_into(&mut self, input: TensorId, gradient: TensorId) -> Result<(), ShapeError> {
        let Some(&existing) = self.grads.get(&input) else {
            self.grads.insert(input, gradient);
            *self.sharers.entry(gradient).or_insert(0) += 1;
            return Ok(());
        };
        if self.builder.spec(existing).role == Role::Grad {
            // a sum would read and write the same buffer in one dispatch
            let what = format!("gradient of {}", self.builder.spec(input).name);
            return Err(ShapeError::new("tape", &what, "an op that adds into its output", "one that only stores"));
        }
        let sum = self.emit(Box::new(Residual), &[existing, gradient], &[])?[0];
        self.replace(input, sum);
        Ok(())
    }

    fn replace(&mut self, input: TensorId, gradient: TensorId) {
        if let Some(count) = self.grads.insert(input, gradient).and_then(|old| self.sharers.get_mut(&old)) {
            *count = count.saturating_sub(1);
        }
        *self.sharers.entry(gradient).or_insert(0) += 1;
    }
}

impl Backward for Tape<'_> {
    fn n_input(&self) -> usize {
        self.builder.graph.nodes[self.node].inputs.len()
    }

    fn input(&self, i: usize) -> TensorId {
        self.builder.graph.nodes[self.node].inputs[i]
    }

    fn output(&self, i: usize) -> TensorId {
        self.builder.graph.nodes[self.node].outputs[i]
    }

    fn dout(&self, i: usize) -> Option<TensorId> {
        self.grads.get(&self.output(i)).copied()
    }

    fn wants(&self, i: usize) -> bool {
        self.builder.graph.nodes[self.node].inputs.get(i).is_some_and(|t| self.needs[t.0])
    }

    fn spec(&self, tensor: TensorId) -> &TensorSpec {
        self.builder.spec(tensor)
    }

    fn apply(&mut self, op: Box<dyn Op>, inputs: &[TensorId], dest: &[Dest]) -> Result<Vec<TensorId>, ShapeError> {
        let mut into = vec![];
        for (i, dest) in dest.iter().enumerate() {
            let Dest::Grad(input) = *dest else {
                into.push(None);
                continue;
            };
            let existing = self.grads.get(&self.input(input)).copied();
            let alone =
                |g: &TensorId| self.builder.spec(*g).role == Role::Grad || self.sharers.get(g).is_none_or(|&n| n <= 1);
            // reading a tensor while adding to it would use one buffer twice in one dispatch
            let usable = |g: &TensorId| op.accumulates(i) && alone(g) && !inputs.contains(g);
            into.push(existing.filter(usable).map(|g| (g, true)));
        }
        let outputs = self.emit(op, inputs, &into)?;
        for (i, dest) in dest.iter().enumerate() {
            if let (Dest::Grad(input), None) = (*dest, into[i]) {
                self.add_into(self.input(input), outputs[i])?;
            }
        }
        Ok(outputs)
    }

    fn pass(&mut self, input: usize, gradient: TensorId) -> Result<(), ShapeError> {
        self.add_into(self.input(input), gradient)
    }
}
