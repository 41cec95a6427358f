use super::epilogue::{Epilogue, EpilogueCall};
use super::{Matmul, Product, split};
use crate::kernel::Dispatch;
use crate::ops::{Cost, Io, LowerCtx, Op, OutSpec, ShapeError, to_usize};
use crate::reference;
use crate::tensor::{Shape, TensorSpec};

/// A [`Matmul`] fused with an epilogue in one GPU kernel, so that nothing is stored and read again in between. A plan
/// substitutes it for separate ops ([`crate::graph::Graph::fuse`]) once the backward pass exists, so it has no backward
/// rule.
///
/// Shapes: a, b and bias as [`Matmul`], with rows of a multiple of 4 elements; the third input (pre or stream) and all
/// outputs as its out. With column sums, b isn't transposed and the second output is dbias (N).
#[derive(Debug, Clone, Copy)]
pub struct Fused {
    /// The product.
    pub product: Matmul,
    /// The epilogue.
    pub then: Epilogue,
}

/// Floating-point operations per element of GELU and of its derivative.
const GELU_FLOPS: u64 = 10;
const GELU_GRADIENT_FLOPS: u64 = 20;

impl Fused {
    /// Whether the kernel supports operands of these shapes.
    pub fn suits(self, a: Shape, b: Shape) -> bool {
        let (_, n, _) = self.product.sizes(a, b);
        [n, a.n_col(), b.n_col()].iter().all(|n| n.is_multiple_of(4))
            && (self.then != Epilogue::ColumnSums || !self.product.trans_b)
    }

    fn bias(self) -> usize {
        2 + usize::from(self.then.reads_other())
    }
}

impl Op for Fused {
    fn name(&self) -> &'static str {
        "matmul_fused"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        let (a, b) = (inputs[0].shape, inputs[1].shape);
        let shape = self.product.out_shape(a, b, inputs.get(self.bias()))?;
        if !self.suits(a, b) {
            return Err(ShapeError::new(self.name(), "shapes of a and b", "rows of 4, 8, 12, ... elements", shape));
        }
        if self.then.reads_other() {
            ShapeError::check(self.name(), "shape of the third input", shape, inputs[2].shape)?;
        }
        let out = |name| OutSpec::f32(name, shape);
        let mut outputs = match self.then {
            Epilogue::Gelu | Epilogue::GeluGradient | Epilogue::Residual => vec![out("out")],
            Epilogue::GeluKeepInput => vec![out("pre"), out("out")],
            Epilogue::ColumnSums => vec![out("dweight"), OutSpec::f32("dbias", Shape::new(&[shape.n_col()]))],
        };
        outputs.extend(self.then.stand_in());
        if self.then == Epilogue::ColumnSums {
            let (m, n, k) = self.product.sizes(a, b);
            if let Some(parts) = split::scratch([m, n, k]) {
                let column_parts = Shape::new(&[parts.shape.dims()[0], n]);
                outputs.extend([parts, OutSpec::scratch("column_parts", column_parts)]);
            }
        }
        Ok(outputs)
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let other = self.then.reads_other().then(|| io.input(2));
        let add = self.then == Epilogue::ColumnSums && io.adds(1);
        let epilogue = EpilogueCall { then: self.then, second: io.output(1), other, add, first_sum: 0 };
        let parts =
            (self.then == Epilogue::ColumnSums && io.outputs.len() > 2).then(|| (io.output(2), Some(io.output(3))));
        let bias = (io.inputs.len() > self.bias()).then(|| io.input(self.bias()));
        Product { bias, parts, epilogue: Some(epilogue), ..self.product.product(io, self.cost(io)) }.dispatches(ctx)
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let bias = inputs.get(self.bias()).copied();
        let product = self.product.in_f64((inputs[0], shapes[0]), (inputs[1], shapes[1]), bias);
        match self.then {
            Epilogue::Gelu => vec![reference::gelu::forward(&product)],
            Epilogue::GeluKeepInput => {
                let out = reference::gelu::forward(&product);
                vec![product, out]
            }
            Epilogue::GeluGradient => vec![reference::gelu::backward(&product, inputs[2])],
            Epilogue::Residual => vec![reference::residual::forward(inputs[2], &product)],
            Epilogue::ColumnSums => {
                let [n_row, n_col] = [shapes[1].n_row(), shapes[1].n_col()].map(to_usize);
                vec![product, reference::column_sum::forward(inputs[1], n_row, n_col)]
            }
        }
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        let (m, n, k) = self.product.sizes(io.shape_in(0), io.shape_in(1));
        let epilogue = match self.then {
            Epilogue::Gelu | Epilogue::GeluKeepInput => m * n * GELU_FLOPS,
            Epilogue::GeluGradient => m * n * GELU_GRADIENT_FLOPS,
            Epilogue::Residual => m * n,
            Epilogue::ColumnSums => k * n,
        };
        // without the scratch tensors
        let real = &io.outputs[..1 + usize::from(self.then.writes_second())];
        Cost { flops: 2 * m * n * k + epilogue, bytes: Io { outputs: real, ..*io }.bytes() }
    }

    fn accumulates(&self, _output: usize) -> bool {
        matches!(self.then, Epilogue::Residual | Epilogue::ColumnSums)
    }
}
