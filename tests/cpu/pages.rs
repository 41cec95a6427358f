//! Checks the pages against the command line: commands and flags exist, and links lead to headings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::tidy::PAGES;

fn read(page: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap()
}

fn help(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tril")).args(args).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The flags among the words of a text.
fn flags(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| c.is_whitespace() || "=|,.:;`[]()".contains(c));
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_string).collect()
}

/// Every command with its flags, as its help lists them.
fn commands() -> BTreeMap<String, BTreeSet<String>> {
    let overview = help(&[]);
    let lines = overview.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // the continuation of a description is indented further
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(|name| (name.to_string(), flags(&help(&[name])))).collect()
}

/// The command lines of tril in a page's examples, without comments: after `$`, environment variables and pipes.
fn examples(page: &str) -> Vec<&str> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("$ ")).map(|line| line.split("  #").next().unwrap());
    lines
        .filter_map(|line| {
            line.split_once("tril ").filter(|(before, _)| !before.contains("cargo")).map(|(_, args)| args)
        })
        .collect()
}

/// Quoted parts of a page that begin like a flag or a command of tril.
fn quoted(page: &str) -> Vec<&str> {
    let text = page.lines().filter(|line| !line.starts_with("```"));
    let quoted = text.flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted.filter(|words| words.starts_with("--") || words.starts_with("tril ")).collect()
}

#[test]
fn pages_use_commands_and_flags_that_exist() {
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    let mut offenders = vec![];
    for page in PAGES {
        let text = read(page);
        let of_tril = |words: &&str| words.starts_with("tril ");
        let lines = examples(&text).into_iter().chain(quoted(&text).into_iter().filter(of_tril).map(|q| &q[5..]));
        for line in lines {
            let name = line.split_whitespace().next().unwrap_or("");
            // `tril COMMAND` stands for any command
            if name.starts_with('-') || name.chars().all(|c| c.is_ascii_uppercase()) {
                continue;
            }
            match commands.get(name) {
                None => offenders.push(format!("{page}: there is no command {name}: tril {line}")),
                Some(known) => {
                    let unknown = flags(line).into_iter().filter(|flag| !known.contains(flag));
                    offenders.extend(unknown.map(|flag| format!("{page}: {flag} is no flag of {name}: tril {line}")));
                }
            }
        }
    }
    assert!(offenders.is_empty(), "correct these pages:\n  {}", offenders.join("\n  "));
}

#[test]
fn the_guide_and_the_readme_name_flags_that_exist() {
    let all: BTreeSet<String> = commands().into_values().flatten().collect();
    for page in ["README.md", "GUIDE.md"] {
        let text = read(page);
        let unknown: Vec<String> =
            quoted(&text).into_iter().flat_map(flags).filter(|flag| !all.contains(flag)).collect();
        assert!(unknown.is_empty(), "{page} names flags that no command has: {unknown:?}");
    }
}

#[test]
fn every_flag_of_train_is_known_to_the_guide_or_named_for_itself() {
    // settings that nanoGPT's users know by these names, without need for explanation
    const PLAIN: [&str; 14] = [
        "--batch-size",
        "--beta1",
        "--beta2",
        "--bias",
        "--clip",
        "--eps",
        "--grad-accum",
        "--help",
        "--lr",
        "--min-lr",
        "--steps",
        "--tied",
        "--warmup-steps",
        "--weight-decay",
    ];
    let named = flags(&read("GUIDE.md"));
    let of_train = commands().remove("train").unwrap();
    let missing: Vec<String> =
        of_train.into_iter().filter(|flag| !named.contains(flag) && !PLAIN.contains(&flag.as_str())).collect();
    assert!(missing.is_empty(), "GUIDE.md says nothing about these flags of train: {missing:?}");
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words.chars().filter(|c| c.is_alphanumeric() || " -".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_within_a_page_lead_to_a_heading() {
    for page in PAGES {
        let text = read(page);
        let anchors: BTreeSet<String> = text.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
        let links = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next());
        let lost: Vec<&str> = links.filter(|link| !anchors.contains(*link)).collect();
        assert!(lost.is_empty(), "{page}: {lost:?}");
    }
}

#[test]
fn examples_are_found_in_a_page() {
    let page = "```console\n$ tril train a.txt --lr 1e-3  # as --x\n$ X=1 tril tune\n$ cargo run -- tril x\n```\n`--steps N`, `a --b`";
    assert_eq!(examples(page), ["train a.txt --lr 1e-3", "tune"]);
    assert_eq!(quoted(page), ["--steps N"]);
    assert_eq!(anchor("## Plan a run, and fit it"), "plan-a-run-and-fit-it");
}
