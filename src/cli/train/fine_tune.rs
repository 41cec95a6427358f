use super::{Started, TrainArgs, encode, start};
use crate::cli::misuse::misuse;
use crate::cli::reading;
use crate::cli::settings::{boxed, load_corpus};
use crate::cli::token_files::check_beside;
use crate::files::shell::quoted;
use crate::run::{OpenRun, prepare};
use crate::train::Run;

/// Starts training an imported run, whose settings are still open.
pub(super) fn begin(args: &TrainArgs, mut open: OpenRun) -> Result<Started, Box<dyn std::error::Error>> {
    let root = &open.dir.root().to_path_buf();
    if args.paths.is_empty() {
        let (root, run) = (root.display(), quoted(root));
        return Err(misuse(format!(
            "{root} was imported and has no text yet; give the text to train on: tril train TEXT --resume {run}"
        )));
    }
    args.settings.check_batch()?;
    let mut config = args.settings.resolve_for(&open.config)?;
    args.profile.map_or(Ok(()), |_| Run::check_profile(config.train.steps))?;
    prepare::check_special_tokens(config.data.special_tokens, &config.data.tokenizer).map_err(boxed)?;
    let corpus = load_corpus(&mut config, &args.paths, &args.settings)?;
    check_beside(&config.data.source, &open.tokenizer)?;
    let tokenizer = open.tokenizer.clone().for_data(&config.data.mode, config.data.special_tokens);
    let findings = encode(&corpus, &tokenizer, &config)?;
    findings.check()?;
    reading::warn_of_unknown(&findings, "an imported model keeps its tokenizer, so give text that it knows");
    reading::note_names(&findings, &tokenizer, &config.data.mode);
    start(args, config, root.to_path_buf(), |gpu, config, choice| Run::begin(gpu, &mut open, config, &corpus, choice))
}
