//! Which settings may change when a run is resumed.

use super::saved_settings::flat;
use super::{OnNonfinite, RunConfig};

/// A setting that affects results, so that a resumed run can't change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedSetting {
    /// Its flag.
    pub flag: String,
    /// Its value in the run.
    pub is: String,
    /// The requested value.
    pub wanted: String,
}

impl std::fmt::Display for FixedSetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { flag, is, wanted } = self;
        write!(f, "{flag} is {is} and can't become {wanted}")
    }
}

impl RunConfig {
    /// These settings with those of `wanted` that affect no result: how far to train, and what to do along the way.
    pub fn with_free(&self, wanted: &Self) -> Self {
        let (mut config, new) = (self.clone(), &wanted.train);
        let train = &mut config.train;
        train.steps = new.steps;
        train.eval_every = new.eval_every;
        train.sample_every = new.sample_every;
        train.checkpoint_every = new.checkpoint_every;
        train.keep = new.keep;
        // results are the same to the last bit
        train.recompute = new.recompute;
        // neither of the other two policies lets such a step change anything
        if ![train.on_nonfinite, new.on_nonfinite].contains(&OnNonfinite::Rollback) {
            train.on_nonfinite = new.on_nonfinite;
        }
        config
    }

    /// The settings that differ in `wanted` and would affect results.
    pub fn fixed_changes(&self, wanted: &Self) -> Vec<FixedSetting> {
        let (is, wanted) = (flat(&self.with_free(wanted)), flat(wanted));
        let keys: std::collections::BTreeSet<_> = is.keys().chain(wanted.keys()).collect();
        let differing = keys.into_iter().filter(|key| is.get(*key) != wanted.get(*key));
        let plain = |value: Option<&String>| value.map_or("unset".into(), |value| value.trim_matches('"').to_string());
        differing
            .map(|key| FixedSetting { flag: flag(key), is: plain(is.get(key)), wanted: plain(wanted.get(key)) })
            .collect()
    }
}

/// The flag of a setting, or its key if it has none.
fn flag(key: &str) -> String {
    match key {
        "train.optimizer.max_norm" => "--clip".into(),
        "train.row_size" => "--block-size".into(),
        "data.mode.kind" => "--mode".into(),
        "data.crc32" => key.into(),
        _ if key.starts_with("data.source") => key.into(),
        _ => format!("--{}", key.rsplit('.').next().unwrap_or(key).replace('_', "-")),
    }
}
