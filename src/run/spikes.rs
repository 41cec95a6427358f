//! Detects losses and gradient norms far above the previous ones.

use serde::{Deserialize, Serialize};

/// A running mean and variance in which the weight of a step decays by a fiftieth with each later one.
///
/// Source: West 1979, "Updating mean and variance estimates", with exponential weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    n: u64,
    mean: f64,
    variance: f64,
}

/// The number of standard deviations above the mean that makes a spike.
pub const SPIKE: f64 = 6.0;

impl Running {
    /// Steps before anything counts as a spike: the variance of fewer is unreliable.
    const WARM_UP: u64 = 50;
    const WEIGHT: f64 = 1.0 / 50.0;

    fn is_warm(&self) -> bool {
        self.n >= Self::WARM_UP && self.variance > 0.0
    }

    /// The largest value that is not a spike; 0 if unknown.
    fn limit(&self) -> f32 {
        if self.is_warm() { (self.mean + SPIKE * self.variance.sqrt()) as f32 } else { 0.0 }
    }

    /// Adds a value, and returns its distance from the previous mean in standard deviations; `None` at first. Outliers
    /// count as [`SPIKE`] deviations off, so that one spike doesn't hide the next.
    pub fn take(&mut self, x: f64) -> Option<f64> {
        let deviation = self.variance.sqrt();
        let is_warm = self.is_warm();
        let z = (x - self.mean) / deviation;
        let x = if is_warm { x.min(self.mean + SPIKE * deviation) } else { x };
        self.n += 1;
        let weight = Self::WEIGHT.max(1.0 / self.n as f64);
        let difference = x - self.mean;
        self.mean += weight * difference;
        self.variance = (1.0 - weight) * (self.variance + weight * difference * difference);
        is_warm.then_some(z)
    }
}

/// What to do about a step whose loss or gradient norm is a spike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnSpike {
    /// Report it.
    #[default]
    Report,
    /// Also leave weights and moments unchanged.
    Skip,
}

/// Steps between a step and the last one whose results are certain to have arrived when it begins.
const LAG: u64 = 3;

/// Statistics of the steps so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spikes {
    loss: Running,
    grad_norm: Running,
    /// The last step added.
    #[serde(default)]
    step: u64,
    /// The limits before each of the last steps.
    #[serde(default)]
    before: Vec<(Running, Running)>,
}

impl Spikes {
    /// Adds the loss and gradient norm of a step, or `None` if they weren't finite; returns the names and distances of
    /// those that are spikes.
    pub fn take(&mut self, step: u64, finite: Option<(f32, f32)>) -> Vec<(&'static str, f64)> {
        self.step = step;
        self.before.push((self.loss, self.grad_norm));
        if self.before.len() as u64 >= LAG {
            self.before.remove(0);
        }
        let Some((loss, grad_norm)) = finite else { return vec![] };
        let loss = self.loss.take(loss.into());
        let found = [("loss", loss), ("grad_norm", self.grad_norm.take(grad_norm.into()))];
        found.into_iter().filter_map(|(name, z)| Some((name, z.filter(|&z| z > SPIKE)?))).collect()
    }

    /// The loss and gradient norm above which a step is a spike; 0 if unknown.
    ///
    /// They use the steps up to the third before it, even if later ones are known: so they don't depend on the device's
    /// speed, and are the same in a resumed run.
    pub fn limits(&self, step: u64) -> [f32; 2] {
        let later = self.step.checked_sub(step.saturating_sub(LAG)).and_then(|n| usize::try_from(n).ok());
        let known = match later {
            Some(0) => Some((self.loss, self.grad_norm)),
            Some(n) => self.before.len().checked_sub(n).map(|i| self.before[i]),
            None => None,
        };
        known.map_or([0.0; 2], |(loss, grad_norm)| [loss.limit(), grad_norm.limit()])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Pseudo-random noise between 0 and 1.
    fn noise(i: u64) -> f64 {
        (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1u64 << 24) as f64
    }

    #[test]
    fn noise_and_slow_change_are_no_spikes_and_jumps_are() {
        let mut running = Running::default();
        for i in 0..2000 {
            let falling = 10.0 / (1.0 + i as f64 / 200.0);
            let z = running.take(falling + 0.1 * noise(i));
            assert!(z.is_none_or(|z| z < SPIKE), "{i}: {z:?}");
        }
        assert!(running.take(5.0) > Some(SPIKE));
        // the second spike is as clear as the first
        assert!(running.take(5.0) > Some(SPIKE));
        assert!(running.take(0.9) < Some(SPIKE));
    }

    #[test]
    fn the_mean_and_variance_are_those_of_the_first_values() {
        let mut running = Running::default();
        let values: Vec<f64> = (0..40).map(noise).collect();
        for &x in &values {
            assert_eq!(running.take(x), None);
        }
        let mean = values.iter().sum::<f64>() / 40.0;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 40.0;
        assert!((running.mean - mean).abs() < 1e-12 && (running.variance - variance).abs() < 1e-12);
    }

    /// A resumed run must judge later steps by the same bits.
    #[test]
    fn a_checkpoint_keeps_every_bit() {
        let mut spikes = Spikes::default();
        for i in 0..2000 {
            let loss = noise(i) as f32;
            spikes.take(i + 1, Some((loss, 2.0 * loss)));
            let json = serde_json::to_string(&spikes).unwrap();
            assert_eq!(serde_json::from_str::<Spikes>(&json).unwrap(), spikes, "after {i} steps");
        }
    }

    #[test]
    fn limits_depend_on_the_third_step_before_alone() {
        let mut spikes = Spikes::default();
        let mut after = vec![[0.0; 2]];
        for step in 1..200 {
            let loss = 1.0 + noise(step) as f32;
            let finite = (step != 120).then_some((loss, 2.0 * loss));
            assert!(spikes.take(step, finite).is_empty());
            after.push([spikes.loss.limit(), spikes.grad_norm.limit()]);
            // limits of the next step with all results known, without the last one, and without the last two
            for next in step + 1..=step + LAG {
                let third = usize::try_from(next.saturating_sub(LAG)).unwrap();
                assert_eq!(spikes.limits(next), after[third], "{step}: {next}");
            }
        }
        assert!(after[50] != [0.0; 2] && after[49] == [0.0; 2] && after[120] == after[119]);
        let [loss, grad_norm] = spikes.limits(200);
        assert!(loss > 2.0 && loss < 4.0 && grad_norm > 4.0 && grad_norm < 8.0, "{loss} {grad_norm}");
    }

    #[test]
    fn a_constant_has_no_spikes() {
        let mut running = Running::default();
        assert!((0..200).all(|_| running.take(1.5).is_none()));
    }
}
