use crate::doctor::{Case, Data};
use crate::ops::GlobalNorm;
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// The root of a sum of n squares: half the relative error of that sum, whose terms are all positive (uniform values: a
/// mean of a third of the largest); then a root, a division and a few roundings. Sums are of 4,096 elements at most,
/// and then of blocks. 0 and 1 are exact within this.
pub fn tolerance(n: usize) -> Tolerance {
    let longest = n.min(4096) + n / 4096;
    let sum = Tolerance::sum(longest, 1.0);
    Tolerance { abs: 0.0, rel: (3.0 * sum.abs / longest as f64 + sum.rel) / 2.0 }.plus(Tolerance::ulps(4.0))
}

pub(super) fn cases() -> Vec<Case> {
    let judged =
        |name: &str, loss: f32, limits: [f32; 2], sizes: &[u64], max_norm: f32, scale: f32, bad: &[(usize, f32)]| {
            let mut inputs: Vec<(Shape, Vec<f32>)> =
                vec![(Shape::new(&[1]), vec![loss]), (Shape::new(&[2]), limits.to_vec())];
            for (seed, &n) in (1..).zip(sizes) {
                let Data::F32(values) = Data::uniform(seed, n, scale) else { unreachable!("uniform data is f32") };
                inputs.push((Shape::new(&[n]), values));
            }
            for &(at, value) in bad {
                inputs[2].1[at] = value;
            }
            let inputs = inputs.into_iter().map(|(shape, values)| (shape, Data::F32(values))).collect();
            Case::new(name, GlobalNorm { max_norm }, inputs, tolerance(sizes.iter().sum::<u64>() as usize))
        };
    let slabs = |name: &str, sizes: &[u64], max_norm: f32, scale: f32, bad: &[(usize, f32)]| {
        judged(name, 1.0, [0.0; 2], sizes, max_norm, scale, bad)
    };
    let limited = |name: &str, loss: f32, limits: [f32; 2]| judged(name, loss, limits, &[64], 1.0, 1.0, &[]);
    let case = |name: &str, n: u64, max_norm: f32, scale: f32| slabs(name, &[n], max_norm, scale, &[]);
    let bad = |name: &str, bad: &[(usize, f32)]| slabs(name, &[8192 + 64], 1.0, 1.0, bad);
    vec![
        case("one vector", 4, 1.0, 1.0),
        case("not clipped", 64, 1.0, 0.01),
        case("clipping off", 64, 0.0, 1.0),
        case("zeros", 64, 1.0, 0.0),
        case("block minus one vector", 4092, 1.0, 1.0),
        case("block plus one vector", 4100, 1.0, 1.0),
        case("many blocks", 1_000_000, 1.0, 1.0),
        case("huge values", 256, 1.0, 1e36),
        case("huge values, many", 100_000, 0.0, 1e35),
        case("tiny values", 256, 1.0, 1e-30),
        case("between huge and middling", 4096, 0.0, 7e13),
        case("between middling and tiny", 4096, 0.0, 5e-14),
        case("norm beyond f32", 1024, 1.0, 3e38),
        slabs("huge beside middling", &[128], 0.0, 1e13, &[(3, 1e14)]),
        slabs("three slabs", &[64, 4096, 8256], 1.0, 1.0, &[]),
        bad("one NaN, the last", &[(8255, f32::NAN)]),
        bad("infinities and NaN", &[(0, f32::INFINITY), (5, f32::NEG_INFINITY), (4097, f32::NAN)]),
        // the norm of 64 values between -1 and 1 is between 3 and 6
        limited("limits that are kept", 2.0, [2.5, 8.0]),
        limited("loss above its limit", 2.0, [1.5, 8.0]),
        limited("norm above its limit", 2.0, [2.5, 1.0]),
        limited("norm above its limit, loss without", 2.0, [0.0, 1.0]),
        limited("loss below 0", -2.0, [0.5, 8.0]),
        limited("loss NaN", f32::NAN, [0.0, 0.0]),
        limited("loss infinite, with limits", f32::INFINITY, [1.0, 1.0]),
        judged("gradients not finite, loss above its limit", 2.0, [1.0, 1.0], &[64], 1.0, 1.0, &[(7, f32::NAN)]),
        slabs("split over bindings", &[40_000, 64], 1.0, 1.0, &[]).max_binding(20_000),
    ]
}
