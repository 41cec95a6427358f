use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{GraphBuilder, GraphError, Node, Phase};
use crate::ops::Op;
use crate::tensor::{Role, TensorId};

/// The part of the forward pass that the backward pass recomputes instead of keeping it in memory. Results are
/// bit-identical: the same kernels run on the same inputs, and dropout masks are hashes. Only a GELU fused into a
/// product ([`crate::graph::Graph::fuse`]) is recomputed by a kernel of its own, with the same arithmetic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing: fastest, and takes the most memory.
    #[default]
    None,
    /// The outputs of GELU and of norms, which are cheap to compute.
    Cheap,
    /// Everything inside a block: only the blocks' inputs are kept.
    Block,
}

impl Recompute {
    /// All policies, fastest first.
    pub const ALL: [Self; 3] = [Self::None, Self::Cheap, Self::Block];
}

impl fmt::Display for Recompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Cheap => "cheap",
            Self::Block => "block",
        })
    }
}

impl GraphBuilder {
    /// Marks a tensor that [`Recompute::Block`] keeps: a block's input, and the last block's output.
    pub fn checkpoint(&mut self, tensor: TensorId) {
        self.checkpoints.push(tensor);
    }

    /// Shortens the lifetimes of forward activations. Call it after [`GraphBuilder::backward`] and before
    /// [`GraphBuilder::optimizer`]: where the backward pass reads an activation that need not be kept, the nodes that
    /// produce it run again just before.
    ///
    /// # Errors
    ///
    /// An op's shape rule fails, although it has passed once already.
    pub fn recompute(&mut self, policy: Recompute) -> Result<(), GraphError> {
        if policy == Recompute::None {
            return Ok(());
        }
        let n_forward = self.graph.n_forward;
        let backward = self.graph.nodes.split_off(n_forward);
        let mut producer = HashMap::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            producer.extend(node.outputs.iter().map(|&t| (t, index)));
        }
        let made = |t: &TensorId| producer.get(t).copied();
        let made_at = self.checkpoints.iter().map(|t| made(t).unwrap_or(0));
        let inside = made_at.clone().min().unwrap_or(n_forward)..made_at.max().unwrap_or(0);
        let kept = self.checkpoints.iter().copied().collect();
        let mut again = Recomputer { builder: self, policy, kept, producer, inside, copies: HashMap::new() };
        for mut node in backward {
            for input in &mut node.inputs {
                *input = again.resolve(*input)?;
            }
            again.builder.graph.nodes.push(node);
        }
        Ok(())
    }
}

/// An output this many times smaller than its node's largest (a norm's mean, attention's logsumexp) is always kept.
const SMALL: u64 = 16;

struct Recomputer<'a> {
    builder: &'a mut GraphBuilder,
    policy: Recompute,
    /// The checkpoints.
    kept: HashSet<TensorId>,
    /// The forward node that produces each tensor.
    producer: HashMap<TensorId, usize>,
    /// The nodes between those of the first and the last checkpoint.
    inside: std::ops::Range<usize>,
    /// The recomputed copies of forward tensors.
    copies: HashMap<TensorId, TensorId>,
}

impl Recomputer<'_> {
    /// Returns the tensor to read in the backward pass instead of a forward one: the same one if it is kept.
    fn resolve(&mut self, tensor: TensorId) -> Result<TensorId, GraphError> {
        if let Some(&copy) = self.copies.get(&tensor) {
            return Ok(copy);
        }
        let Some(&index) = self.producer.get(&tensor) else { return Ok(tensor) };
        if self.kept.contains(&tensor) || self.is_kept_anyway(tensor, index) {
            return Ok(tensor);
        }
        let node = &self.builder.graph.nodes[index];
        let rerun = node.op.rerun(&self.builder.graph.io(node));
        // part of a node can be rerun from another of its outputs, if that one is kept
        let is_there = |t: &TensorId| !node.outputs.contains(t) || self.kept.contains(t);
        let rerun = rerun.filter(|r| self.policy == Recompute::Cheap || r.inputs.iter().all(is_there));
        let (op, inputs, outputs): (Arc<dyn Op>, _, _) = match rerun {
            Some(rerun) if rerun.outputs.contains(&tensor) => (rerun.op.into(), rerun.inputs, rerun.outputs),
            _ if self.policy == Recompute::Block && self.inside.contains(&index) => {
                (node.op.clone(), node.inputs.clone(), node.outputs.clone())
            }
            _ => return Ok(tensor),
        };
        let label = format!("again {}", node.label);
        let inputs = inputs.into_iter().map(|t| self.resolve(t)).collect::<Result<Vec<_>, _>>()?;
        let made = self.builder.node(&label, op, &inputs, &[], Phase::MicroBatch)?;
        for (old, new) in outputs.into_iter().zip(made) {
            if !self.kept.contains(&old) && !self.is_kept_anyway(old, index) {
                self.copies.insert(old, new);
            }
        }
        Ok(self.copies.get(&tensor).copied().unwrap_or(tensor))
    }

    fn is_kept_anyway(&self, tensor: TensorId, producer: usize) -> bool {
        let node: &Node = &self.builder.graph.nodes[producer];
        let largest = node.outputs.iter().map(|&t| self.builder.spec(t).bytes()).max().unwrap_or(0);
        let spec = self.builder.spec(tensor);
        spec.role != Role::Activation || spec.bytes() * SMALL <= largest
    }
}
