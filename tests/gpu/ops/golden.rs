//! An op on the device against the results that PyTorch gave for the same inputs.

use tril::doctor::Data;
use tril::exec::Program;
use tril::graph::{GraphBuilder, Phase};
use tril::kernel::Choice;
use tril::ops::Op;
use tril::plan::Plan;
use tril::reference::compare::{Tolerance, canary, compare};
use tril::tensor::{DType, Role, Shape};

use crate::common::golden;

/// One case of a golden, with its name in every message.
pub struct Golden<'a> {
    file: &'a golden::Golden,
    stem: &'a str,
    pub name: String,
}

impl Golden<'_> {
    /// Runs a check on every case of a stem.
    pub fn each(stem: &str, check: impl Fn(&Golden<'_>)) {
        let file = golden::Golden::open(stem);
        let names = file.cases();
        assert!(!names.is_empty());
        for name in names {
            check(&Golden { file: &file, stem, name });
        }
    }

    fn at(&self, tensor: &str) -> String {
        format!("{}.{tensor}", self.name)
    }

    pub fn has(&self, tensor: &str) -> bool {
        self.file.has(&self.at(tensor))
    }

    pub fn shape(&self, tensor: &str) -> Shape {
        let dims: Vec<u64> = self.file.shape(&self.at(tensor)).into_iter().map(|d| d as u64).collect();
        Shape::new(&dims)
    }

    /// A tensor of real numbers as an input.
    pub fn f32(&self, tensor: &str) -> (Shape, Data) {
        (self.shape(tensor), Data::F32(self.file.f32(&self.at(tensor))))
    }

    /// A tensor of f64 results as an input, rounded to f32.
    pub fn rounded(&self, tensor: &str) -> (Shape, Data) {
        (self.shape(tensor), Data::F32(self.f64(tensor).into_iter().map(|x| x as f32).collect()))
    }

    /// A tensor of ids or random words as an input.
    pub fn words(&self, tensor: &str) -> (Shape, Data) {
        (self.shape(tensor), Data::U32(self.u32(tensor)))
    }

    pub fn f64(&self, tensor: &str) -> Vec<f64> {
        self.file.f64(&self.at(tensor))
    }

    pub fn u32(&self, tensor: &str) -> Vec<u32> {
        self.file.u32(&self.at(tensor))
    }

    pub fn scalar(&self, tensor: &str) -> f64 {
        self.file.scalar(&self.at(tensor))
    }

    /// The largest magnitude in a tensor.
    pub fn largest(&self, tensor: &str) -> f64 {
        self.f64(tensor).into_iter().fold(0.0, |max, x| x.abs().max(max))
    }

    /// The mean of a tensor's squares.
    pub fn mean_square(&self, tensor: &str) -> f64 {
        let values = self.f64(tensor);
        values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64
    }

    /// Runs the op and compares its first outputs with tensors of the golden.
    pub fn check(&self, op: impl Op + 'static, inputs: &[(Shape, Data)], wanted: &[(&str, Tolerance)]) {
        for (got, (tensor, tolerance)) in run(op, inputs).iter().zip(wanted) {
            let want = self.f64(tensor);
            let at = |e| panic!("{} {tensor} in {} on {}: {e}", self.stem, self.name, crate::gpu().name());
            compare(got, &want, *tolerance).map(|_| ()).unwrap_or_else(at);
            canary(got, &want, *tolerance).unwrap_or_else(at);
        }
    }
}

/// The real outputs of an op on the device.
pub fn run(op: impl Op + 'static, inputs: &[(Shape, Data)]) -> Vec<Vec<f32>> {
    run_with(op, inputs, &Choice::default())
}

/// The same with chosen kernels.
pub fn run_with(op: impl Op + 'static, inputs: &[(Shape, Data)], choice: &Choice) -> Vec<Vec<f32>> {
    let gpu = crate::gpu();
    let mut builder = GraphBuilder::new();
    let mut ids = vec![];
    for (i, (shape, data)) in inputs.iter().enumerate() {
        let dtype = if matches!(data, Data::F32(_)) { DType::F32 } else { DType::U32 };
        ids.push(builder.tensor(&format!("in{i}"), *shape, dtype, Role::Input).unwrap());
    }
    let outputs = builder.apply("op", op, &ids).unwrap();
    outputs.iter().for_each(|&t| builder.set_role(t, Role::Output));
    let program = Program::new(&gpu, Plan::new(builder.finish(), gpu.caps(), choice).unwrap()).unwrap();
    for (&id, (_, data)) in ids.iter().zip(inputs) {
        match data {
            Data::F32(v) => program.write(id, v).unwrap(),
            Data::U32(v) => program.write_u32(id, v).unwrap(),
        }
    }
    program.run(Phase::MicroBatch).unwrap();
    outputs.iter().map(|&t| program.read(t).unwrap()).collect()
}
