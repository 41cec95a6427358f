//! The settings and tokenizer that a run's files were saved with.

use std::collections::{BTreeMap, HashMap};

use super::{RunConfig, RunDir, RunDirError};
use crate::files::tensor_file::Reader;
use crate::graph::{AdamwConfig, Optimizer};
use crate::model::ModelConfig;

/// Keys of a file's metadata.
const SETTINGS: &str = "config";
const MODEL: &str = "model";
const TOKENIZER: &str = "tokenizer_crc32";
const HEADS: &str = "n_head";

/// The metadata of a checkpoint about its run.
pub(super) fn of_state(dir: &RunDir, config: &RunConfig) -> HashMap<String, String> {
    HashMap::from([(SETTINGS.into(), config.to_toml()), tokenizer(dir), heads(&config.model)])
}

/// The metadata of a file of weights only, or of an import's checkpoint, whose settings are still open. The same
/// weights give the same bytes, whatever step they are from.
pub(super) fn of_weights(dir: &RunDir, model: &ModelConfig) -> HashMap<String, String> {
    let text = toml::to_string(&plain(model)).unwrap_or_else(|e| panic!("every setting has a TOML form: {e}"));
    HashMap::from([(MODEL.into(), text), tokenizer(dir), heads(model)])
}

/// Without dropout, which the weights don't depend on, and which fine-tuning may change.
fn plain(model: &ModelConfig) -> ModelConfig {
    ModelConfig { dropout: 0.0, ..model.clone() }
}

fn tokenizer(dir: &RunDir) -> (String, String) {
    (TOKENIZER.into(), checksum(dir.tokenizer_crc32()))
}

fn checksum(crc32: u32) -> String {
    format!("{crc32:08x}")
}

/// The number of heads, which the shapes of weights don't show.
fn heads(model: &ModelConfig) -> (String, String) {
    (HEADS.into(), model.n_head.to_string())
}

/// What a file was saved with.
#[derive(Debug)]
pub(super) struct SavedSettings {
    model: ModelConfig,
    /// All settings, of a checkpoint in training.
    all: Option<RunConfig>,
    tokenizer: String,
}

impl SavedSettings {
    /// Reads it from a file; `None` for older files without it.
    pub fn of(file: &Reader) -> Result<Option<Self>, RunDirError> {
        let Ok(tokenizer) = file.meta(TOKENIZER).map(str::to_string) else { return Ok(None) };
        let damaged = |reason: String| file.damaged(reason);
        let all = file.meta(SETTINGS).ok().map(|text| RunConfig::from_toml(SETTINGS, text)).transpose();
        let all = all.map_err(|e| damaged(e.to_string()))?;
        let model = match &all {
            Some(all) => all.model.clone(),
            None => toml::from_str(file.meta(MODEL)?).map_err(|e| damaged(e.message().to_string()))?,
        };
        // before anything is computed with unchecked sizes
        model.validate().map_err(|e| damaged(e.to_string()))?;
        Ok(Some(Self { model, all, tokenizer }))
    }

    /// All settings, if the file has them.
    pub fn all(&self) -> Option<&RunConfig> {
        self.all.as_ref()
    }

    /// Whether this is the content of the tokenizer's file.
    pub fn is_of_tokenizer(&self, json: &str) -> bool {
        self.tokenizer == checksum(crc32fast::hash(json.as_bytes()))
    }

    /// The optimizer of a checkpoint; for an import, whose settings are still open, the default one.
    pub fn optimizer(&self) -> &dyn Optimizer {
        self.all.as_ref().map_or(&AdamwConfig::DEFAULT, |all| &all.train.optimizer)
    }

    /// The model.
    pub fn model(&self) -> &ModelConfig {
        &self.model
    }

    /// Whether the run's tokenizer is the one that it was saved with.
    pub fn is_of_run(&self, dir: &RunDir) -> bool {
        self.tokenizer == tokenizer(dir).1
    }

    /// Fails if the model differs.
    pub fn check_model(&self, dir: &RunDir, model: &ModelConfig) -> Result<(), RunDirError> {
        changed(dir, "model.", &flat(&plain(&self.model)), &flat(&plain(model)))
    }

    /// Fails if a setting that affects results differs. The path of the text may change: the text has a checksum.
    pub fn check_settings(&self, dir: &RunDir, config: &RunConfig, of: Compared) -> Result<(), RunDirError> {
        let Some(all) = &self.all else { return self.check_model(dir, &config.model) };
        let kept = |config: &RunConfig| {
            let mut settings = flat(config);
            settings.retain(|key, _| !key.starts_with("data.source"));
            settings
                .retain(|key, _| of != Compared::Split || key == "data.val_fraction" || key.starts_with("data.mode."));
            settings
        };
        changed(dir, "", &kept(&all.with_free(config)), &kept(config))
    }
}

/// Flattens settings to dotted names.
pub(super) fn flat(settings: &impl serde::Serialize) -> BTreeMap<String, String> {
    // through TOML, which writes an f32 as briefly as config.toml does
    let text = toml::to_string(settings).unwrap_or_else(|e| panic!("every setting has a TOML form: {e}"));
    let table: toml::Table = toml::from_str(&text).unwrap_or_else(|e| panic!("own TOML parses: {e}"));
    let (mut flat, mut open) = (BTreeMap::new(), vec![(String::new(), table)]);
    while let Some((prefix, table)) = open.pop() {
        for (key, value) in table {
            let name = format!("{prefix}{key}");
            match value {
                toml::Value::Table(inner) => open.push((format!("{name}."), inner)),
                // on one line, even for a line break
                toml::Value::String(text) => drop(flat.insert(name, format!("{text:?}"))),
                other => drop(flat.insert(name, other.to_string())),
            }
        }
    }
    flat
}

fn changed(
    dir: &RunDir,
    prefix: &str,
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Result<(), RunDirError> {
    let keys: std::collections::BTreeSet<_> = before.keys().chain(now.keys()).collect();
    let differ = keys.into_iter().filter(|key| before.get(*key) != now.get(*key));
    let say = |value: Option<&String>| value.map_or("nothing".to_string(), |value| format!("= {value}"));
    let lines: Vec<String> =
        differ.map(|key| format!("{prefix}{key} {}, and was {}", say(now.get(key)), say(before.get(key)))).collect();
    if lines.is_empty() {
        return Ok(());
    }
    Err(RunDirError::Changed { path: dir.path("config.toml").display().to_string(), what: lines.join("; ") })
}

/// Which settings are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// Those of model and tokenizer, which the weights depend on.
    Model,
    /// Also those of the validation split, which an evaluation depends on.
    Split,
    /// All settings.
    All,
}

/// Fails if an older file, without a recorded model, was saved with another number of heads.
pub(super) fn check_heads(file: &Reader, model: &ModelConfig) -> Result<(), RunDirError> {
    match file.meta(HEADS) {
        Ok(saved) if saved != model.n_head.to_string() => {
            let (path, saved) = (file.path().display().to_string(), saved.into());
            Err(RunDirError::Heads { path, saved, config: model.n_head })
        }
        _ => Ok(()),
    }
}
