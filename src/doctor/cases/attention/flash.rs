use super::{EXP, Line, Sizes};
use crate::doctor::{Case, Data};
use crate::kernel::Choice;
use crate::ops::{AttentionBackward, FlashAttention, FlashAttentionBackward};
use crate::reference::attention;
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// The forward and the backward case of each line.
pub(super) fn cases() -> Vec<Case> {
    let line = |name: &str, sizes: Sizes, p: f32, scale: f32| both(Line::new(name, sizes, p, scale));
    let documents = |name: &str, sizes: Sizes, p: f32| both(Line::documents(name, sizes, p));
    let mut cases: Vec<Case> = [
        line("one token", [2, 1, 48, 3], 0.0, 1.0),
        line("heads of 4", [2, 7, 8, 2], 0.2, 1.0),
        line("heads of 16", [2, 7, 32, 2], 0.0, 1.0),
        line("heads of 32", [2, 64, 96, 3], 0.0, 1.0),
        line("heads of 32", [2, 64, 96, 3], 0.2, 1.0),
        line("heads of 40", [1, 65, 80, 2], 0.0, 1.0),
        line("heads of 64", [1, 130, 128, 2], 0.0, 1.0),
        line("heads of 64", [1, 257, 64, 1], 0.2, 1.0),
        line("heads of 96", [1, 19, 96, 1], 0.0, 1.0),
        line("heads of 128", [1, 33, 256, 2], 0.0, 1.0),
        line("sharp", [1, 65, 64, 2], 0.0, 4.0),
        line("tiny values", [1, 9, 32, 2], 0.0, 1e-15),
        documents("documents, heads of 4", [2, 7, 8, 2], 0.2),
        documents("documents, heads of 32", [3, 150, 96, 3], 0.0),
        documents("documents, heads of 64", [2, 257, 64, 1], 0.2),
        line("more than 65,535 workgroups", [6_553, 9, 40, 10], 0.0, 1.0),
    ]
    .into_iter()
    .flatten()
    .collect();
    // three sequences per binding, starting at any multiple of 4
    cases.extend(line("split between sequences", [5, 9, 24, 2], 0.2, 1.0).map(|c| c.max_binding(9 * 72 * 4 * 3 + 256)));
    cases.extend(documents("documents, split", [5, 9, 24, 2], 0.2).map(|c| c.max_binding(9 * 72 * 4 * 3 + 256)));
    let plain = |c: Case| {
        let kernels = ["forward", "backward_query", "backward_key"];
        c.choice(kernels.iter().fold(Choice::default().pin("attention_flash", "direct"), |choice, kernel| {
            choice.pin(&format!("attention_flash_direct_{kernel}"), "default")
        }))
    };
    cases.extend(line("without subgroups", [2, 21, 80, 2], 0.2, 1.0).map(plain));
    cases.extend(documents("documents, without subgroups", [2, 41, 80, 2], 0.2).map(plain));
    cases
}

fn both(line: Line<'_>) -> [Case; 2] {
    [forward(line), backward(line)]
}

/// Two heads that need several tiles of any kernel.
const TWO_HEADS: (u64, u64) = (67, 2);

/// A forward case with heads of this size, for one variant of a kernel, with or without documents.
pub fn flash_forward(head_size: u64, p: f32, documents: bool) -> Case {
    let (t, n_head) = TWO_HEADS;
    let line = Line::new("several tiles", [1, t, n_head * head_size, n_head], p, 1.0);
    forward(Line { documents, ..line })
}

/// The same for the backward pass.
pub fn flash_backward(head_size: u64, p: f32, documents: bool) -> Case {
    let (t, n_head) = TWO_HEADS;
    let line = Line::new("several tiles", [1, t, n_head * head_size, n_head], p, 1.0);
    backward(Line { documents, ..line })
}

/// The inputs of a case's error model.
struct Errors {
    /// Error of a score.
    score: f64,
    /// Relative error of a sum of exponentials.
    sum: f64,
    /// Largest gradient of a probability, and its error.
    dp: (f64, f64),
    /// The sum of the probabilities of the heaviest key, at least 1.
    heaviest: f64,
    /// The largest part of the scores' gradients that a query or key gets per channel.
    side: f64,
}

/// Scores and the gradients of probabilities err like sums of HS products; six standard deviations bound the latter. A
/// probability is an exponential with the error of its score, divided by a sum of T of them.
fn errors([_, t, c, n_head]: Sizes, p: f32, scale: f32, heaviest: f64) -> Errors {
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let root = f64::from(u32::try_from(c / n_head).unwrap_or(1)).sqrt();
    let (scale, kept) = (f64::from(scale), 1.0 - f64::from(p));
    let score = Tolerance::sum(size(c / n_head), scale * scale).abs / root;
    let sum = EXP + 2.0 * Tolerance::sum(size(t), 0.5).rel;
    let dp = 2.0 * root * scale / kept;
    let dp_error = 2.0 * Tolerance::sum(size(c / n_head), scale / kept).abs;
    Errors { score, sum, dp: (dp, dp_error), heaviest, side: scale / root }
}

fn forward(line: Line<'_>) -> Case {
    let Line { name, sizes, p, scale, .. } = line;
    let e = errors(sizes, p, scale, 1.0);
    let op = FlashAttention { n_head: sizes[3], p, site: 2 };
    // weights sum to 1 / (1 - p), so the error of a mean is that of its weights and of its sum
    let largest = f64::from(scale) / (1.0 - f64::from(p));
    let weight = 2.0 * (e.score + EXP) + e.sum + 1e-6;
    let out = Tolerance { abs: weight * largest + f64::from(f32::MIN_POSITIVE), rel: 0.0 };
    // a logarithm turns a relative error into an absolute one, and errs by about 1e-7 near 1
    let lse = Tolerance { abs: e.score + e.sum + 2e-7, rel: 3e-7 };
    Case::new(format!("flash forward, p {p}: {name}"), op, line.inputs(), out).tolerances(&[out, lse])
}

fn backward(line: Line<'_>) -> Case {
    let Line { name, sizes, p, scale, .. } = line;
    let [b, t, c, n_head] = sizes;
    let mut inputs = line.inputs();
    let dims = AttentionBackward::dims(inputs[0].0, n_head);
    let words: Vec<Vec<f64>> = inputs.iter().map(|(_, data)| data.to_f64()).collect();
    let setting = attention::Setting { rng: &words[1], site: 2, p: p.into(), spans: words.get(2).map(|s| &s[..]) };
    let (out, att) = attention::forward(&words[0], &setting, dims);
    let lse = attention::log_sums(&words[0], setting.spans, dims);
    #[allow(clippy::cast_possible_truncation, reason = "as the forward op would store them")]
    let stored = |values: &[f64]| Data::F32(values.iter().map(|&x| x as f32).collect());
    let dout = (Shape::new(&[b, t, c]), Data::uniform(4, b * t * c, 1.0));
    inputs.insert(0, dout);
    inputs.insert(1, (Shape::new(&[b, t, c]), stored(&out)));
    inputs.insert(3, (Shape::new(&[b, n_head, t]), stored(&lse)));
    let mass = |head: &[f64], j: usize| head.iter().skip(j).step_by(dims.t).sum::<f64>();
    let masses = att.chunks(dims.t * dims.t).flat_map(|head| (0..dims.t).map(move |j| mass(head, j)));
    let e = errors(sizes, p, scale, masses.fold(1.0, f64::max));
    let largest_lse = lse.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let weight = e.score + EXP + 1.2e-7 * largest_lse;
    // a gradient of a score is p (dp - delta); those of a query's scores are weighted by its probabilities, 1, and
    // those of a key's scores by its column's; values get probabilities times dout
    let dscore = 2.0 * e.dp.0 * (weight + 4e-7) + 2.0 * e.dp.1;
    let size = usize::try_from(t).unwrap_or(usize::MAX);
    let kept = 1.0 - f64::from(p);
    let sums = Tolerance::sum(size, 1.0 / kept).rel * e.heaviest * (1.0 / kept).max(2.0 * e.dp.0 * e.side);
    let abs = e.heaviest * (dscore * e.side).max(weight / kept) + sums + f64::from(f32::MIN_POSITIVE);
    let op = FlashAttentionBackward { n_head, p, site: 2 };
    Case::new(format!("flash backward, p {p}: {name}"), op, inputs, Tolerance { abs, rel: 2e-6 })
}
