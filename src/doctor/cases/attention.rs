mod decode;
mod flash;

pub use flash::{flash_backward, flash_forward};

use crate::doctor::{Case, Data};
use crate::kernel::Choice;
use crate::ops::{Attention, AttentionBackward, document_spans};
use crate::reference::attention;
use crate::reference::compare::Tolerance;
use crate::tensor::Shape;

/// Relative error of an f32 `exp` of a number of moderate size on the least exact device known (lavapipe: 3.9e-6 where
/// the result is 1e-37, below 1e-6 where it is above 1e-6); it applies to both `exp` and the sum of them.
const EXP: f64 = 2e-6;

/// B, T, C and NH of a case.
type Sizes = [u64; 4];

/// The parameters of a forward and a backward case.
#[derive(Clone, Copy)]
struct Line<'a> {
    name: &'a str,
    sizes: Sizes,
    p: f32,
    scale: f32,
    /// Whether rows hold several documents.
    documents: bool,
}

impl<'a> Line<'a> {
    fn new(name: &'a str, sizes: Sizes, p: f32, scale: f32) -> Self {
        Self { name, sizes, p, scale, documents: false }
    }

    fn documents(name: &'a str, sizes: Sizes, p: f32) -> Self {
        Self { documents: true, ..Self::new(name, sizes, p, 1.0) }
    }

    /// qkv and rng, and with documents the spans: of many lengths, different in each row.
    fn inputs(&self) -> Vec<(Shape, Data)> {
        const LENGTHS: [u64; 7] = [3, 1, 20, 8, 70, 2, 33];
        let [b, t, c, _] = self.sizes;
        let qkv = (Shape::new(&[b, t, 3 * c]), Data::uniform(1, b * t * 3 * c, self.scale));
        let mut inputs = vec![qkv, (Shape::new(&[4]), Data::U32(vec![0x1234_5678, 9, 17, 3]))];
        if self.documents {
            let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            let row = |b: u64| {
                let lengths = LENGTHS.into_iter().cycle().skip(size(b));
                let firsts = lengths.scan(0, |next: &mut u64, n| Some((std::mem::replace(next, *next + n), n)));
                firsts.flat_map(|(first, n)| std::iter::repeat_n(first as u32, size(n))).take(size(t))
            };
            let firsts: Vec<u32> = (0..b).flat_map(row).collect();
            inputs.push((Shape::new(&[b, t, 2]), Data::U32(document_spans(&firsts, size(t)))));
        }
        inputs
    }
}

/// The forward and the backward case of each line.
pub(super) fn cases() -> Vec<Case> {
    let line = |name: &str, sizes: Sizes, p: f32, scale: f32| both(Line::new(name, sizes, p, scale));
    let documents = |name: &str, sizes: Sizes, p: f32| both(Line::documents(name, sizes, p));
    let mut cases: Vec<Case> = [
        line("one element", [1, 1, 1, 1], 0.0, 1.0),
        line("one token", [2, 1, 6, 3], 0.0, 1.0),
        line("not multiples of 4", [2, 5, 6, 2], 0.0, 1.0),
        line("not multiples of 4", [2, 5, 6, 2], 0.3, 1.0),
        line("heads of one channel", [1, 7, 5, 5], 0.2, 1.0),
        line("multiples of 4", [2, 16, 24, 3], 0.0, 1.0),
        line("multiples of 4", [2, 16, 24, 3], 0.2, 1.0),
        line("lanes minus 1", [1, 63, 8, 2], 0.1, 1.0),
        line("lanes plus 1", [1, 65, 8, 2], 0.1, 1.0),
        line("sharp", [1, 33, 8, 2], 0.0, 4.0),
        line("tiny values", [1, 9, 8, 2], 0.0, 1e-15),
        line("more than 65,535 rows", [16_400, 4, 4, 1], 0.0, 1.0),
        line("more than 65,535 rows", [16_400, 4, 4, 1], 0.1, 1.0),
        line("most heads", [13_107, 1, 5, 5], 0.0, 1.0),
        documents("documents", [2, 5, 6, 2], 0.0),
        documents("documents", [3, 130, 8, 2], 0.2),
    ]
    .into_iter()
    .flatten()
    .collect();
    cases.extend(line("split between sequences", [5, 9, 8, 2], 0.2, 1.0).map(|c| c.max_binding(2048)));
    cases.extend(line("split between heads", [2, 17, 8, 4], 0.2, 1.0).map(|c| c.max_binding(3072)));
    cases.extend(documents("documents, split between sequences", [5, 9, 8, 2], 0.2).map(|c| c.max_binding(2048)));
    cases.extend(documents("documents, split between heads", [2, 17, 8, 4], 0.2).map(|c| c.max_binding(3072)));
    let pinned = |c: Case| c.choice(Choice::default().pin("matmul", "tiled"));
    cases.extend(decode::cases());
    cases.extend(line("tiled products", [2, 33, 24, 3], 0.2, 1.0).map(pinned));
    cases.extend(flash::cases());
    cases
}

fn both(line: Line<'_>) -> [Case; 2] {
    [forward(line), backward(line)]
}

/// Scores err like sums of HS products; a softmax turns an absolute error of its scores into a relative one of its
/// result, twice (of the term and of the sum), and adds the errors of `exp` and of a sum of T terms up to 1. The output
/// is a mean of values, at most `scale / (1 - p)` in size, by weights with that error.
fn errors([_, t, c, n_head]: Sizes, p: f32, scale: f32) -> (f64, f64, f64) {
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let (scale, hs) = (f64::from(scale), c / n_head);
    let square = scale * scale;
    let score = Tolerance::sum(size(hs), square).abs / f64::from(u32::try_from(hs).unwrap_or(1)).sqrt();
    let att = 2.0 * (score + EXP) + Tolerance::sum(size(t), 0.5).rel * 2.0;
    (att, scale / (1.0 - f64::from(p)), scale)
}

fn forward(line: Line<'_>) -> Case {
    let Line { name, sizes, p, scale, .. } = line;
    let (att, largest, _) = errors(sizes, p, scale);
    let op = Attention { n_head: sizes[3], p, site: 2 };
    // weights sum to 1 (to 1 / (1 - p) after dropout), so the error of a mean is that of its weights and of its sum
    let out = Tolerance { abs: (att + 1e-6) * largest + f64::from(f32::MIN_POSITIVE), rel: 0.0 };
    let weights = Tolerance { abs: f64::from(f32::MIN_POSITIVE) * 2.0, rel: att };
    Case::new(format!("forward, p {p}: {name}"), op, line.inputs(), out).tolerances(&[out, weights])
}

fn backward(line: Line<'_>) -> Case {
    let Line { name, sizes, p, scale, .. } = line;
    let [b, t, c, n_head] = sizes;
    let mut inputs = line.inputs();
    let dims = AttentionBackward::dims(inputs[0].0, n_head);
    let words: Vec<Vec<f64>> = inputs.iter().map(|(_, data)| data.to_f64()).collect();
    let setting = attention::Setting { rng: &words[1], site: 2, p: p.into(), spans: words.get(2).map(|s| &s[..]) };
    let (_, att) = attention::forward(&words[0], &setting, dims);
    #[allow(clippy::cast_possible_truncation, reason = "the probabilities as the forward op would store them")]
    let att = Data::F32(att.iter().map(|&a| a as f32).collect());
    let dout = (Shape::new(&[b, t, c]), Data::uniform(4, b * t * c, 1.0));
    inputs.insert(0, dout);
    inputs.insert(2, (Shape::new(&[b, n_head, t, t]), att));
    let op = AttentionBackward { n_head, p, site: 2 };
    // datt is a sum of HS products up to `largest`; a row's ds are differences of those, weighted by att; a column of
    // att may be as heavy as all rows together, so up to T of them add up
    let (_, largest, scale) = errors(sizes, p, scale);
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let datt = Tolerance::sum(size(c / n_head), largest).abs * 2.0;
    let column = Tolerance::sum(size(t), 1.0).abs / (1.0 - f64::from(p));
    let abs = datt * scale + column * scale.max(scale * scale).max(1.0) + f64::from(f32::MIN_POSITIVE);
    Case::new(format!("backward, p {p}: {name}"), op, inputs, Tolerance { abs, rel: 2e-6 })
}
