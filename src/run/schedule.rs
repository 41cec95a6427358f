use serde::{Deserialize, Serialize};

use crate::units::count;

/// The shape of the learning rate over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Constant at the peak after warm-up.
    Constant,
    /// Half a cosine from the peak to the minimum.
    Cosine,
    /// A straight line from the peak to the minimum.
    Linear,
    /// Warm-up, stable, decay: the peak until the last fifth, then a straight line to the minimum.
    Wsd,
}

/// A learning-rate schedule: linear warm-up, then its kind's shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The shape.
    pub kind: ScheduleKind,
    /// The peak.
    pub lr: f64,
    /// The final learning rate of the decay.
    pub min_lr: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Steps of the whole run.
    pub steps: u64,
}

/// The share of a run over which [`ScheduleKind::Wsd`] decays. Source: Hu et al., MiniCPM, arXiv:2404.06395, use 10 %;
/// Haegele et al., arXiv:2405.18392, find 20 % as good as a cosine.
const WSD_DECAY: f64 = 0.2;

impl Schedule {
    /// Returns a warning for a run that ends before its warm-up does.
    pub fn short_of_peak(&self) -> Option<String> {
        let Self { warmup_steps, steps, lr, .. } = self;
        let most = self.at(steps.saturating_sub(1));
        (warmup_steps >= steps && *steps > 0).then(|| {
            format!(
                "the warm-up takes {}, but the run only {steps}, so the learning rate reaches {most:.2e}, not {lr:.2e}; \
                 give fewer --warmup-steps, or more --steps",
                count(*warmup_steps, "step")
            )
        })
    }

    /// The learning rate of a step, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.lr * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let span = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let done = ((step - self.warmup_steps) as f64 / span).min(1.0);
        let share = match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            ScheduleKind::Linear => 1.0 - done,
            ScheduleKind::Wsd => ((1.0 - done) / WSD_DECAY).min(1.0),
        };
        self.min_lr + share * (self.lr - self.min_lr)
    }
}
