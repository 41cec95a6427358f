//! Losses and gradient norms far above what came before.

use serde::{Deserialize, Serialize};

/// A running mean and variance, in which a step's weight fades by a fiftieth with each later one.
///
/// Source: West 1979, "Updating mean and variance estimates", with exponential weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    n: u64,
    mean: f64,
    variance: f64,
}

/// How many standard deviations above the mean make a spike.
pub const SPIKE: f64 = 6.0;

impl Running {
    /// Steps before anything counts as a spike: a variance of fewer says little.
    const WARM_UP: u64 = 50;
    const WEIGHT: f64 = 1.0 / 50.0;

    /// Takes a value, and gives its distance from the mean of those before in standard deviations; none at first. What is
    /// far off counts as being [`SPIKE`] deviations off, so that one spike doesn't hide the next.
    pub fn take(&mut self, x: f64) -> Option<f64> {
        let deviation = self.variance.sqrt();
        let is_warm = self.n >= Self::WARM_UP && deviation > 0.0;
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

/// What is known of the steps so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spikes {
    loss: Running,
    grad_norm: Running,
}

impl Spikes {
    /// Takes a step's results; the names and distances of those that are spikes.
    pub fn take(&mut self, loss: f32, grad_norm: f32) -> Vec<(&'static str, f64)> {
        let found = [("loss", self.loss.take(loss.into())), ("grad_norm", self.grad_norm.take(grad_norm.into()))];
        found.into_iter().filter_map(|(name, z)| Some((name, z.filter(|&z| z > SPIKE)?))).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Between 0 and 1, without a pattern.
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
        // the second is as clear as the first
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

    /// A resumed run has to judge later steps by the same bits.
    #[test]
    fn a_checkpoint_keeps_every_bit() {
        let mut spikes = Spikes::default();
        for i in 0..2000 {
            spikes.take(noise(i) as f32, noise(i + 7) as f32);
            let json = serde_json::to_string(&spikes).unwrap();
            assert_eq!(serde_json::from_str::<Spikes>(&json).unwrap(), spikes, "after {i} steps");
        }
    }

    #[test]
    fn a_constant_has_no_spikes() {
        let mut running = Running::default();
        assert!((0..200).all(|_| running.take(1.5).is_none()));
    }
}
