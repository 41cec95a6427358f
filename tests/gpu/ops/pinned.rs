//! Ops on the device against goldens: the same checks as against the reference, with the golden in its place.

use tril::doctor::{Case, Data, verify};
use tril::kernel::Dispatch;
use tril::ops::{Cost, Io, LowerCtx, Op, OutSpec, ShapeError};
use tril::reference::compare::Tolerance;
use tril::tensor::{Shape, TensorSpec};

use crate::common::golden::Golden;

/// An op whose right answers are given.
#[derive(Debug)]
struct Pinned<O> {
    op: O,
    want: Vec<Vec<f64>>,
}

impl<O: Op> Op for Pinned<O> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        self.op.outputs(inputs)
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        self.op.lower(io, ctx)
    }

    fn reference(&self, _inputs: &[&[f64]], _shapes: &[Shape]) -> Vec<Vec<f64>> {
        self.want.clone()
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        self.op.cost(io)
    }

    fn accumulates(&self, output: usize) -> bool {
        self.op.accumulates(output)
    }

    fn in_place(&self) -> bool {
        self.op.in_place()
    }
}

/// One case of a golden file.
pub struct PinnedCase<'a> {
    golden: &'a Golden,
    pub name: String,
}

impl PinnedCase<'_> {
    pub fn f64(&self, tensor: &str) -> Vec<f64> {
        self.golden.f64(&self.at(tensor))
    }

    pub fn scalar(&self, tensor: &str) -> f64 {
        self.golden.scalar(&self.at(tensor))
    }

    pub fn has(&self, tensor: &str) -> bool {
        self.golden.has(&self.at(tensor))
    }

    pub fn shape(&self, tensor: &str) -> Shape {
        Shape::new(&self.golden.shape(&self.at(tensor)).iter().map(|&d| d as u64).collect::<Vec<_>>())
    }

    pub fn u32(&self, tensor: &str) -> Vec<u32> {
        self.golden.u32(&self.at(tensor))
    }

    /// A tensor with its shape as an op's input.
    pub fn input(&self, tensor: &str) -> (Shape, Data) {
        (self.shape(tensor), Data::F32(self.golden.f32(&self.at(tensor))))
    }

    /// The same for ids.
    pub fn ids(&self, tensor: &str) -> (Shape, Data) {
        (self.shape(tensor), Data::U32(self.u32(tensor)))
    }

    /// Runs the op and compares each output with what it should be.
    pub fn check(&self, op: impl Op + 'static, inputs: Vec<(Shape, Data)>, want: Vec<(Vec<f64>, Tolerance)>) {
        self.check_in_place(op, inputs, vec![], want);
    }

    /// The same for an op that works in place on `state`.
    pub fn check_in_place(
        &self,
        op: impl Op + 'static,
        inputs: Vec<(Shape, Data)>,
        state: Vec<(Shape, Data)>,
        want: Vec<(Vec<f64>, Tolerance)>,
    ) {
        let (want, tolerances): (Vec<_>, Vec<_>) = want.into_iter().unzip();
        let name = format!("{} {}", op.name(), self.name);
        let case = Case::new(name.as_str(), Pinned { op, want }, inputs, Tolerance::exact());
        let case = case.tolerances(&tolerances).state(state);
        if let Err(error) = verify(&crate::gpu(), &case) {
            panic!("{name}: {error}");
        }
    }

    fn at(&self, tensor: &str) -> String {
        format!("{}.{tensor}", self.name)
    }
}

/// Runs a check on every case of a stem that has the tensor `having`.
pub fn each_case(stem: &str, having: &str, check: impl Fn(&PinnedCase<'_>)) {
    let golden = Golden::open(stem);
    let cases = golden.cases().into_iter().map(|name| PinnedCase { golden: &golden, name });
    let cases: Vec<_> = cases.filter(|case| case.has(having)).collect();
    assert!(!cases.is_empty(), "{stem} has no case with {having}");
    cases.iter().for_each(check);
}

/// The largest size of a tensor's elements, for error models.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, x| x.abs().max(most))
}
