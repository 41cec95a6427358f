use std::any::Any;
use std::sync::Arc;

use super::{Graph, Node};
use crate::ops::{Epilogue, Fused, Matmul, Op};
use crate::tensor::{Role, TensorId, TensorSpec};

impl Graph {
    /// Fuses into matrix products, where a GPU's kernel can do it, the ops that follow: GELU, its gradient, a residual
    /// sum; and the sums of columns that a product reads anyway. The nodes fused away are removed; tensors that only
    /// they touched stay in the graph, unused.
    ///
    /// Results change by rounding only: the order in which a bias's gradient is summed, and how a compiler treats one
    /// kernel instead of two.
    pub fn fuse(&mut self) {
        for first in 0..self.nodes.len() {
            let Some(&product) = of::<Matmul>(&self.nodes[first]) else { continue };
            let found = (0..self.nodes.len()).find_map(|i| Some((i, self.follow(product, first, i)?)));
            if let Some((second, then)) = found {
                self.join(product, then, first, second);
            }
        }
        let is_left = |node: &Node| !node.outputs.is_empty();
        self.n_forward = self.nodes[..self.n_forward].iter().filter(|node| is_left(node)).count();
        self.nodes.retain(is_left);
    }

    /// The epilogue of the product that does a node's work, if the two can be fused.
    fn follow(&self, product: Matmul, first: usize, second: usize) -> Option<Epilogue> {
        let (from, node) = (&self.nodes[first], &self.nodes[second]);
        if node.outputs.is_empty() {
            return None;
        }
        let out = from.outputs[0];
        let is_first = node.inputs[0] == out && node.inputs[1..].iter().all(|other| *other != out);
        let then = match node.op.epilogue()? {
            Epilogue::Gelu if is_first && !self.is_passed(out, &[second]) => Epilogue::GeluKeepInput,
            then @ (Epilogue::Gelu | Epilogue::GeluGradient) if is_first => then,
            Epilogue::Residual if node.inputs[..2].contains(&out) && node.inputs[0] != node.inputs[1] => {
                Epilogue::Residual
            }
            Epilogue::ColumnSums if node.inputs[0] == from.inputs[1] && from.inputs.len() == 2 => Epilogue::ColumnSums,
            _ => return None,
        };
        let has_bias = from.inputs.len() > 2;
        let stores = !from.accumulate[0] && !node.accumulate[0];
        let fits = match then {
            Epilogue::ColumnSums => true,
            Epilogue::Gelu | Epilogue::GeluKeepInput => stores,
            Epilogue::GeluGradient => stores && !has_bias && self.is_passed(out, &[second]),
            Epilogue::Residual => stores && self.is_passed(out, &[second]),
        };
        let (a, b) = (self.spec(from.inputs[0]).shape, self.spec(from.inputs[1]).shape);
        let fits = fits && second > first && node.phase == from.phase && Fused { product, then }.suits(a, b);
        (fits && self.can_move(first, second, out)).then_some(then)
    }

    /// Whether a tensor has one writer and is read by these nodes only.
    fn is_passed(&self, tensor: TensorId, to: &[usize]) -> bool {
        let readers = self.nodes.iter().enumerate().filter(|(_, node)| node.inputs.contains(&tensor));
        let n_write = self.nodes.iter().filter(|node| node.outputs.contains(&tensor)).count();
        self.spec(tensor).role == Role::Activation && n_write == 1 && readers.into_iter().all(|(i, _)| to.contains(&i))
    }

    /// Whether a node's work can be done as early as node `first`, which passes it `passed`: no node in between changes
    /// what it reads, or touches what it writes.
    fn can_move(&self, first: usize, second: usize, passed: TensorId) -> bool {
        let node = &self.nodes[second];
        let keeps = |between: &Node| {
            !between.outputs.iter().any(|t| node.inputs.contains(t) || node.outputs.contains(t))
                && !between.inputs.iter().any(|t| node.outputs.contains(t))
        };
        let from = &self.nodes[first];
        let from_first = from.outputs.iter().any(|t| *t != passed && node.inputs.contains(t));
        self.nodes[first + 1..second].iter().all(keeps) && !from_first
    }

    fn join(&mut self, product: Matmul, then: Epilogue, first: usize, second: usize) {
        let out = self.nodes[first].outputs[0];
        let follower = &self.nodes[second];
        let (into, adds) = (follower.outputs[0], follower.accumulate[0]);
        let other = match then {
            Epilogue::GeluGradient => Some(follower.inputs[1]),
            Epilogue::Residual => follower.inputs[..2].iter().copied().find(|t| *t != out),
            Epilogue::Gelu | Epilogue::GeluKeepInput | Epilogue::ColumnSums => None,
        };
        let rest = follower.op.rest();
        let node = &mut self.nodes[second];
        if let Some(rest) = rest {
            // the product's own work stays where it was
            node.op = rest;
            node.inputs.splice(..2, [into]);
            node.outputs.remove(0);
            node.accumulate.remove(0);
        } else {
            // a node without outputs is removed
            node.outputs.clear();
            node.inputs.clear();
        }

        let op = Fused { product, then };
        let from = &mut self.nodes[first];
        from.inputs.splice(2..2, other);
        match then {
            Epilogue::GeluKeepInput | Epilogue::ColumnSums => {
                from.outputs = vec![out, into];
                from.accumulate = vec![from.accumulate[0], adds];
            }
            Epilogue::Gelu | Epilogue::GeluGradient | Epilogue::Residual => {
                from.outputs = vec![into];
                from.accumulate = vec![false];
            }
        }
        from.op = Arc::new(op);
        let specs: Vec<&TensorSpec> = from.inputs.iter().map(|t| &self.tensors[t.0]).collect();
        let scratch: Vec<TensorSpec> = match op.outputs(&specs) {
            Ok(outputs) => outputs
                .into_iter()
                .filter(|out| out.scratch)
                .map(|out| {
                    let name = format!("{}.fused.{}", from.label, out.name);
                    TensorSpec::new(name, out.shape, out.dtype, Role::Activation)
                })
                .collect(),
            Err(e) => panic!("fused a product that can't be: {e}"),
        };
        for spec in scratch {
            self.nodes[first].outputs.push(TensorId(self.tensors.len()));
            self.nodes[first].accumulate.push(false);
            self.tensors.push(spec);
        }
    }
}

/// A node's op, if it has that type.
fn of<T: Op>(node: &Node) -> Option<&T> {
    (&*node.op as &dyn Any).downcast_ref()
}
