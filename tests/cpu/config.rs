//! Hand-written settings files: each error says where, what was found and what was expected.

use std::collections::BTreeSet;

use tril::data::{Mode, Source};
use tril::run::RunConfig;

/// All settings that a run may have, with each kind of source and mode.
fn whole() -> Vec<RunConfig> {
    let mut config = RunConfig::preset("nano").unwrap();
    config.train.row_size = Some(8);
    (config.data.pack, config.data.document_mask) = (Some(true), Some(true));
    config.data.mode = Mode::Documents { separator: "%%".into() };
    let sources = [
        config.data.source.clone(),
        Source::Files { paths: vec!["a.txt".into(), "b.txt".into()], lossy: true },
        Source::Tokens { train: vec!["train.bin".into()], val: vec!["val.bin".into()], width: None },
        Source::None,
    ];
    sources
        .map(|source| RunConfig { data: tril::run::DataConfig { source, ..config.data.clone() }, ..config.clone() })
        .into()
}

fn error(text: &str) -> String {
    RunConfig::from_toml("config.toml", text).unwrap_err().to_string()
}

/// The lines of a file with the dotted path of each setting.
fn settings(text: &str) -> Vec<(usize, String, String)> {
    let mut table = String::new();
    let mut all = vec![];
    for (i, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']').into();
        } else if let Some((key, value)) = line.split_once(" = ") {
            all.push((i, format!("{table}.{key}"), value.into()));
        }
    }
    all
}

/// Words that only a developer of the program understands.
fn is_plain(message: &str) {
    for word in [
        "usize",
        "u64",
        "u32",
        "f64",
        "f32",
        "struct",
        "enum",
        "invalid",
        "variant",
        "field",
        "tagged",
        "sequence",
        "boolean",
        "integer",
        "float",
        "map",
        "fit in target",
        "deserial",
        "path string",
        "newtype",
    ] {
        assert!(!message.contains(word), "{word}: {message}");
    }
    assert!(message.contains("tril train --help"), "{message}");
}

#[test]
fn type_errors_name_line_key_and_expected_type() {
    let mut keys = BTreeSet::new();
    for config in whole() {
        let text = config.to_toml();
        assert_eq!(RunConfig::from_toml("config.toml", &text).unwrap(), config);
        for (i, path, value) in settings(&text) {
            let wrong: &[(&str, &str)] = &[
                ("\"some words\"", "the text \"some words\""),
                ("\"\"", "the text \"\""),
                ("3", "the number 3"),
                ("1.5", "the number 1.5"),
                ("-7", "the number -7"),
                ("99999999999999999999", "the number 99999999999999999999"),
                ("9223372036854775808", "the number 9223372036854775808"),
                ("1e999", "the number 1e999"),
                ("true", "true"),
                ("[1, 2]", "a list"),
                ("{ a = 1 }", "a table"),
                ("1979-05-27", "a date"),
            ];
            let mut refused = 0;
            for (new, found) in wrong {
                let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
                let (key, _) = lines[i].split_once(" = ").unwrap();
                lines[i] = format!("{key} = {new}");
                let Err(error) = RunConfig::from_toml("config.toml", &lines.join("\n")) else { continue };
                let message = error.to_string();
                refused += 1;
                let item = if value.starts_with('[') && *new == "[1, 2]" { "[0]" } else { "" };
                let begin = format!("config.toml: line {}, {path}{item}: found ", i + 1);
                assert!(message.starts_with(&begin), "{path} = {new}: {message}");
                let found = if item.is_empty() { *found } else { "the number 1" };
                assert!(message.contains(found), "{path} = {new}: {message}");
                assert!(message.contains("expected ") || path == "data.tokenizer", "{path} = {new}: {message}");
                is_plain(&message);
            }
            // a number may be any number, and a string any string
            assert!(refused >= 7, "{path} takes all but {refused}");
            keys.insert(path);
        }
    }
    assert!(keys.len() > 45, "{keys:?}");
}

#[test]
fn a_wrong_value_in_a_list_is_located() {
    let base = RunConfig::preset("nano").unwrap();
    let text = "[data.source]\nkind = \"files\"\npaths = [\n  \"a.txt\",\n  \"b.txt\",\n  7,\n]\n";
    let message = base.overlaid("f.toml", text).unwrap_err().to_string();
    assert!(
        message.starts_with("f.toml: line 6, data.source.paths[2]: found the number 7, expected text"),
        "{message}"
    );
    is_plain(&message);
}

#[test]
fn missing_keys_are_reported_with_their_table() {
    for config in whole() {
        let text = config.to_toml();
        for (i, path, _) in settings(&text) {
            let lines: Vec<&str> = text.lines().enumerate().filter(|(n, _)| *n != i).map(|(_, line)| line).collect();
            let Err(error) = RunConfig::from_toml("config.toml", &lines.join("\n")) else { continue };
            let message = error.to_string();
            let (table, key) = path.rsplit_once('.').unwrap();
            let header = lines.iter().position(|line| *line == format!("[{table}]")).unwrap();
            let begin = format!("config.toml: line {}, {table}", header + 1);
            assert!(message.starts_with(&begin) && message.contains(key), "{path}: {message}");
            is_plain(&message);
        }
    }
    assert!(error("").starts_with("config.toml: model: it is missing"), "{}", error(""));
    assert!(
        error("[model]\n").starts_with("config.toml: line 1, model.n_layer: it is missing"),
        "{}",
        error("[model]\n")
    );
}

#[test]
fn unknown_keys_are_reported_with_the_valid_ones() {
    let base = RunConfig::preset("nano").unwrap();
    for (text, begin, words) in [
        ("[model]\nlayers = 2", "line 2, model.layers: unknown setting; expected one of n_layer, n_head", ""),
        ("steps = 3", "line 1, steps: unknown setting; did you mean train.steps?", ""),
        ("[train]\nn-layer = 3", "line 2, train.n-layer: unknown setting; did you mean model.n_layer?", ""),
        ("[train]\nbeta1 = 0.5", "line 2, train.beta1: ", "there is train.optimizer.beta1"),
        ("[optimizer]\nbeta1 = 0.5", "line 1, optimizer: ", "there is train.optimizer"),
        ("[data]\nrow_size = 4", "line 2, data.row_size: ", "there is train.row_size"),
        ("[train]\nseparator = 4", "line 2, train.separator: ", "there are steps, "),
        ("[other]\n", "line 1, other: unknown setting; expected one of model, train, data", ""),
        ("[model.n_layer]\n", "line 1, model.n_layer: found a table of settings, expected a whole number", ""),
        ("[[model]]\nn_layer = 1", "line 1, model: found a list, expected a table", ""),
        ("model = 3", "line 1, model: found the number 3, expected a table", ""),
        ("train.optimizer.beta1 = [1]", "line 1, train.optimizer.beta1: found a list, expected a number", ""),
        (
            "[train]\nschedule = \"exponential\"",
            "line 2, train.schedule: ",
            "\"constant\", \"cosine\", \"linear\", \"wsd\"",
        ),
        (
            "[data]\ntokenizer = \"words\"",
            "line 2, data.tokenizer: found the text \"words\", and it must be",
            "bpe:SIZE",
        ),
        (
            "[data.mode]\nkind = \"lines\"",
            "line 2, data.mode.kind: found the text \"lines\"",
            "\"stream\", \"documents\"",
        ),
        ("[data.mode]\nkind = \"stream\"\nseparator = \",\"", "line 1, data.mode: ", "\"stream\" has none"),
        ("[data.mode]\nseparator = \",\"", "line 1, data.mode: ", "\"documents\" has a separator"),
        ("[data.source]\npaths = [\"a\"]", "line 1, data.source: ", "\"files\" has paths"),
        ("[data.source]\nkind = \"web\"", "line 2, data.source.kind: found the text \"web\"", "\"files\""),
        ("[data.source]\nkind = \"files\"\nurl = 1", "line 3, data.source.url: unknown setting", "paths"),
    ] {
        let message = base.overlaid("f.toml", text).unwrap_err().to_string();
        assert!(message.starts_with(&format!("f.toml: {begin}")) && message.contains(words), "{text}: {message}");
        is_plain(&message);
    }
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    let base = RunConfig::preset("nano").unwrap();
    for (text, begin, words) in [
        ("[model]\nn = [", "line 2, n = [: ", "`]`"),
        ("[model]\nn_layer = 2\nn_layer = 3", "line 3, n_layer = 3: ", "twice"),
        ("[model]\n[train]\n[model]\n", "line 3, [model]: ", "twice"),
        ("[model]\nn_layer 2\n", "line 2, n_layer 2: ", "`=`"),
        ("[model]\nn_layer = \n", "line 2, n_layer =: ", "missing value"),
        ("[model]\nn_layer = two\n", "line 2, n_layer = two: ", "missing value; quote text"),
        ("[model]\nbias = True\n", "line 2, bias = True: ", "but not numbers, true or false"),
        ("[model\nn_layer = 2\n", "line 1, [model: ", "`]`"),
        ("[model]\nn_layer = 1,5\n", "line 2, n_layer = 1,5: ", ""),
        ("{\"model\": 1}", "line 1, {\"model\": 1}: ", ""),
        ("[data]\ntokenizer = \"C:\\path\"\n", "line 2, tokenizer = \"C:\\path\": ", "single quotes"),
        ("[data]\ntokenizer = 'a\n", "line 2, tokenizer = 'a: ", ""),
        ("\n\n\u{0}", "line 3: ", ""),
        ("a \u{1b}[2J\n", "line 1, a [2J: ", ""),
    ] {
        let message = base.overlaid("f.toml", text).unwrap_err().to_string();
        assert!(message.starts_with(&format!("f.toml: {begin}")) && message.contains(words), "{text}: {message}");
    }
}

#[test]
fn fixed_settings_are_reported_as_written() {
    let mut is = RunConfig::preset("nano").unwrap();
    is.model.dropout = 0.1;
    let mut wanted = is.clone();
    (wanted.model.dropout, wanted.train.optimizer.beta2, wanted.train.lr) = (0.2, 0.999, 3e-4);
    let told: Vec<String> = is.fixed_changes(&wanted).iter().map(ToString::to_string).collect();
    let expected = [
        "--dropout is 0.1 and can't become 0.2",
        "--lr is 0.001 and can't become 0.0003",
        "--beta2 is 0.99 and can't become 0.999",
    ];
    assert_eq!(told, expected);
    assert!(is.to_toml().contains("\ndropout = 0.1\n"));
}
