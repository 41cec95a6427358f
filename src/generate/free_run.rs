use super::{Decoder, SamplerConfig};
use crate::exec::ExecError;

/// How often the model's own greedy continuation matches the text.
#[derive(Debug, Clone, PartialEq)]
pub struct FreeRun {
    /// Windows evaluated.
    pub n_window: usize,
    /// Share of windows whose k-th generated token is the text's, for k = 1, 2, ...
    pub share: Vec<f64>,
}

/// Gives the model the first `prompt` tokens of each window and lets it continue greedily from its own predictions:
/// this shows errors that teacher forcing, which always gives the true past, hides.
///
/// # Errors
///
/// A device error.
pub fn free_run(decoder: &mut Decoder, windows: &[Vec<u32>], prompt: usize) -> Result<FreeRun, ExecError> {
    let n_new = windows.iter().map(|w| w.len().saturating_sub(prompt)).min().unwrap_or(0);
    let mut right = vec![0usize; n_new];
    decoder.set_sampling(SamplerConfig { temperature: 0.0, ..SamplerConfig::default() });
    for group in windows.chunks(decoder.n_row()) {
        if n_new == 0 {
            break;
        }
        let prompts: Vec<&[u32]> = group.iter().map(|w| &w[..prompt]).collect();
        decoder.start(&prompts, 0)?;
        // windows of equal length: every row gets the same number of tokens
        let mut done = 0;
        while done < n_new {
            let new = decoder.next(n_new - done)?;
            for (tokens, window) in new.iter().zip(group) {
                for (k, token) in (done..).zip(tokens) {
                    right[k] += usize::from(*token == window[prompt + k]);
                }
            }
            done += new.first().map_or(n_new, Vec::len);
        }
    }
    let n_window = windows.len();
    Ok(FreeRun { n_window, share: right.iter().map(|&n| n as f64 / n_window.max(1) as f64).collect() })
}
