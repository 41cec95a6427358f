use super::{Cost, Io, LowerCtx, Op, OutSpec, ShapeError, to_u32};
use crate::kernel::{Dispatch, groups_rows, sample_forward as k};
use crate::reference::sample as reference;
use crate::tensor::{DType, Shape, TensorSpec};

/// Each row's next token, sampled from its logits. Updates the rows' state in place.
///
/// Shapes: logits (B, V); settings ([`Sample::n_setting`]) u32: temperature (bits of an f32), top-k, top-p (bits), seed
/// low, seed high, .., and a bit for each token that is never chosen; fed (B) u32, the number of positions just fed to
/// each row; cursor (B, 4) u32, in place: token, length, tokens drawn, stream; text (B, `n_text`) u32, in place. A row
/// that was fed nothing stays unchanged. For any other row the chosen token goes into the cursor and into column `drawn
/// % n_text` of text, length grows by `fed` and drawn by 1. The token is [`Sample::NONE`] if no allowed logit is
/// finite. Ties go to the lower id.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// How many of the latest tokens are kept per row.
    pub n_text: u64,
}

impl Sample {
    /// The token that means that no logit is finite.
    pub const NONE: u32 = u32::MAX;
    /// Words of the settings before the forbidden tokens.
    const N_HEAD: u64 = 8;
    /// Words per row of the cursor.
    pub const N_CURSOR: u64 = 4;

    /// Number of settings words for `n_col` tokens.
    pub fn n_setting(n_col: u64) -> u64 {
        Self::N_HEAD + n_col.div_ceil(32)
    }

    /// The words of the settings before the forbidden tokens.
    pub fn settings(temperature: f32, top_k: usize, top_p: f32, seed: u64) -> [u32; 8] {
        let top_k = u32::try_from(top_k).unwrap_or(u32::MAX);
        let (low, high) = (seed & u64::from(u32::MAX), seed >> 32);
        [temperature.to_bits(), top_k, top_p.to_bits(), to_u32(low), to_u32(high), 0, 0, 0]
    }

    /// The remaining words of the settings: a bit for each of `n_col` tokens, set if it is never chosen.
    pub fn forbidden(n_col: u64, is_forbidden: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut words = vec![0; super::to_usize(n_col.div_ceil(32))];
        for id in (0..to_u32(n_col)).filter(|&id| is_forbidden(id)) {
            words[id as usize / 32] |= 1 << (id % 32);
        }
        words
    }
}

impl Op for Sample {
    fn name(&self) -> &'static str {
        "sample"
    }

    fn outputs(&self, inputs: &[&TensorSpec]) -> Result<Vec<OutSpec>, ShapeError> {
        const MAX_COLS: u64 = 1 << 18;
        let (logits, settings, fed) = (inputs[0].shape, inputs[1], inputs[2]);
        if logits.n_col() > MAX_COLS {
            return Err(ShapeError::new("sample", "columns of logits", format!("at most {MAX_COLS}"), logits.n_col()));
        }
        for (what, words, n) in [("settings", settings, Self::n_setting(logits.n_col())), ("fed", fed, logits.n_row())]
        {
            ShapeError::check("sample", &format!("type of {what}"), DType::U32, words.dtype)?;
            ShapeError::check("sample", &format!("shape of {what}"), Shape::new(&[n]), words.shape)?;
        }
        let words = |name, n_col| OutSpec {
            name,
            shape: Shape::new(&[logits.n_row(), n_col]),
            dtype: DType::U32,
            scratch: false,
        };
        Ok(vec![words("cursor", Self::N_CURSOR), words("text", self.n_text.max(1))])
    }

    fn lower(&self, io: &Io<'_>, ctx: &LowerCtx<'_>) -> Vec<Dispatch> {
        let logits = io.shape_in(0);
        let (n_row, n_col) = (logits.n_row(), logits.n_col());
        let bind = k::Bind {
            cursor: io.output(0),
            text: io.output(1),
            logits: io.input(0),
            settings: io.input(1),
            fed: io.input(2),
        };
        let params = k::Params { n_row: to_u32(n_row), n_col: to_u32(n_col), n_text: to_u32(io.shape_out(1).n_col()) };
        vec![k::dispatch(ctx.variant(&k::DEF), bind, k::Mode {}, params, groups_rows(n_row, 1))]
    }

    fn reference(&self, inputs: &[&[f64]], shapes: &[Shape]) -> Vec<Vec<f64>> {
        let [logits, words, fed] = [inputs[0], inputs[1], inputs[2]];
        let (mut cursor, mut text) = (inputs[3].to_vec(), inputs[4].to_vec());
        let word = |i: usize| words[i] as u32;
        let real = |i: usize| f64::from(f32::from_bits(word(i)));
        let settings =
            reference::Settings { temperature: real(0), top_k: super::to_usize(word(1).into()), top_p: real(2) };
        let seed = u64::from(word(4)) << 32 | u64::from(word(3));
        let n_text = text.len() / fed.len();
        for (row, logits) in logits.chunks(super::to_usize(shapes[0].n_col())).enumerate() {
            if fed[row] == 0.0 {
                continue;
            }
            let at = &mut cursor[4 * row..4 * row + 4];
            let is_forbidden = |id: usize| word(super::to_usize(Self::N_HEAD) + id / 32) >> (id % 32) & 1 == 1;
            let allowed = logits.iter().enumerate().map(|(id, &logit)| if is_forbidden(id) { f64::NAN } else { logit });
            let weights = reference::weights(&allowed.collect::<Vec<_>>(), settings);
            let point = reference::uniform(seed, at[3] as u32, at[2] as u32);
            let token = reference::draw(&weights, point).map_or(f64::from(Self::NONE), |token| token as f64);
            text[row * n_text + at[2] as usize % n_text] = token;
            at[0] = token;
            at[1] += fed[row];
            at[2] += 1.0;
        }
        vec![cursor, text]
    }

    fn cost(&self, io: &Io<'_>) -> Cost {
        Cost { flops: 4 * io.shape_in(0).numel(), bytes: io.bytes() }
    }

    fn in_place(&self) -> bool {
        true
    }
}
