use super::{Generator, Sampler, SamplerConfig};
use crate::exec::{ExecError, Program};

/// How often the model's own greedy continuation still has the right token.
#[derive(Debug, Clone, PartialEq)]
pub struct FreeRun {
    /// Windows looked at.
    pub n_window: usize,
    /// Share of windows whose k-th generated token is the text's, for k = 1, 2, ...
    pub share: Vec<f64>,
}

/// Gives the model the first `prompt` tokens of each window and lets it continue on its own predictions, greedily: what
/// teacher forcing, which always shows the true past, hides.
///
/// # Errors
///
/// A failure of the device.
pub fn free_run(
    generator: &mut Generator,
    source: &Program,
    windows: &[Vec<u32>],
    prompt: usize,
) -> Result<FreeRun, ExecError> {
    let n_new = windows.iter().map(|w| w.len().saturating_sub(prompt)).min().unwrap_or(0);
    let greedy = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
    let mut right = vec![0usize; n_new];
    for group in windows.chunks(generator.n_row()) {
        let mut contexts: Vec<Vec<u32>> = group.iter().map(|w| w[..prompt].to_vec()).collect();
        for (k, count) in right.iter_mut().enumerate() {
            let views: Vec<&[u32]> = contexts.iter().map(Vec::as_slice).collect();
            let logits = generator.next_logits(source, &views)?;
            for ((context, logits), window) in contexts.iter_mut().zip(&logits).zip(group) {
                let next = Sampler::new(greedy, 0).sample(logits);
                *count += usize::from(next == window[prompt + k]);
                context.push(next);
            }
        }
    }
    let n_window = windows.len();
    Ok(FreeRun { n_window, share: right.iter().map(|&n| n as f64 / n_window.max(1) as f64).collect() })
}
