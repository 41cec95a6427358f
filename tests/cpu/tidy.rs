//! Rules about the repository's files that no compiler checks. Every message lists all offenders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const MAX_RUST_LINES: usize = 500;
const MAX_SHADER_LINES: usize = 250;
const MAX_ARCHITECTURE_LINES: usize = 150;

/// The repository's folders with our own files.
const FOLDERS: [&str; 13] = [
    ".cargo",
    ".ci",
    "assets",
    "benches",
    "build",
    "docs",
    "examples",
    "fuzz/fuzz_targets",
    "fuzz/src",
    "shaders",
    "src",
    "tests",
    "xtask",
];

/// Where the files of a stem are; `*` is the stem, or the stem followed by an underscore and more. Then the files there
/// that belong to no stem.
const STEM_PLACES: [(&str, &[&str]); 7] = [
    ("shaders/*_.wgsl", &[]),
    ("src/ops/*.rs", &["mod.rs", "tunable.rs"]),
    ("src/reference/*.rs", &["mod.rs", "compare.rs", "model.rs"]),
    ("src/doctor/cases/*.rs", &["mod.rs"]),
    ("assets/golden/*.safetensors", &["model_plain.safetensors", "model_tiny.safetensors"]),
    ("tests/gpu/ops/*.rs", &["mod.rs", "golden.rs", "pinned.rs"]),
    ("benches/ops/*.rs", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Names in a folder of the repository, sorted; folders end in a slash. Symlinks are left out.
fn list(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root().join(folder)) else { return vec![] };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| !entry.file_type().unwrap().is_symlink())
        .map(|entry| {
            let slash = if entry.file_type().unwrap().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        })
        .collect();
    names.sort();
    names
}

/// All files below a folder, as paths from the root with forward slashes.
fn files_below(folder: &str) -> Vec<String> {
    let below = |name: String| match name.strip_suffix('/') {
        Some(inner) => files_below(&format!("{folder}/{inner}")),
        None => vec![format!("{folder}/{name}")],
    };
    list(folder).into_iter().flat_map(below).collect()
}

fn all_files() -> Vec<String> {
    // in a linked worktree .git is a file
    let top = list("").into_iter().filter(|name| !name.ends_with('/') && name != ".git");
    top.chain(FOLDERS.into_iter().flat_map(files_below)).collect()
}

fn demand(offenders: &[String], what_to_do: &str) {
    assert!(offenders.is_empty(), "{what_to_do}\n  {}\n", offenders.join("\n  "));
}

/// The code of a line: everything before `//`.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

/// The identifier at the start of a text.
fn ident(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("")
}

/// The modules of src/lib.rs, in order: each may import from those before it.
fn layers() -> Vec<String> {
    let lib = read("src/lib.rs");
    lib.lines().filter_map(|l| code(l).trim().strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_string).collect()
}

/// Names at the crate's root that a file of `src` uses: `crate::x`, `crate::{x, y}`, or enough `super::` to get there.
fn root_names(path: &str, text: &str) -> BTreeSet<String> {
    let text: String = text.lines().map(|line| format!("{}\n", code(line))).collect();
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(ident(rest).to_string());
            continue;
        };
        let mut depth = 0;
        let mut is_start = true;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => is_start = true,
                c if is_start && !c.is_whitespace() => {
                    names.insert(ident(&group[i..]).to_string());
                    is_start = false;
                }
                _ => {}
            }
        }
    }
    // src/a/mod.rs is one `super::` below the root, src/a/b.rs two, src/a/b/mod.rs two
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let chain = "super::".repeat(inner.split('/').count());
    for (at, _) in text.match_indices(&chain) {
        let rest = text[at..].trim_start_matches("super::");
        names.insert(ident(rest).to_string());
    }
    names
}

#[test]
fn modules_import_only_those_above_them() {
    let layers = layers();
    assert!(layers.len() > 5, "src/lib.rs lists its modules as `pub mod name;`");
    let mut offenders = vec![];
    for path in files_below("src").into_iter().filter(|p| p.ends_with(".rs")) {
        let layer = ident(path.trim_start_matches("src/"));
        let Some(rank) = layers.iter().position(|l| l == layer) else { continue };
        for name in root_names(&path, &read(&path)) {
            if layers.iter().position(|l| *l == name).is_some_and(|other| other > rank) {
                offenders.push(format!("{path} imports {name}"));
            }
        }
    }
    demand(
        &offenders,
        "each module may use only those above it in src/lib.rs; move the code to the module that may, or what it needs up:",
    );
}

#[test]
fn imports_are_found_in_every_form() {
    let names = |path, text| root_names(path, text).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(names("src/a/b.rs", "use crate::x::{y, z};"), "x");
    assert_eq!(names("src/a/b.rs", "use crate::{x::{p, q}, y, z as w};"), "x y z");
    assert_eq!(names("src/a/b.rs", "use crate::{\n    x,\n    y::*,\n};"), "x y");
    assert_eq!(names("src/a/b.rs", "let v = crate::x::make(); // crate::y"), "x");
    assert_eq!(names("src/a/b.rs", "use super::c;\nuse super::super::x;"), "x");
    assert_eq!(names("src/a/mod.rs", "use super::x;"), "x");
    assert_eq!(names("src/a/b/c.rs", "use super::super::d;"), "");
}

#[test]
fn wgpu_stays_in_gpu_and_exec() {
    let inside = |p: &String| p.starts_with("src/gpu/") || p.starts_with("src/exec/");
    let rust = files_below("src").into_iter().filter(|p| p.ends_with(".rs") && !inside(p));
    let names_wgpu = |path: &String| read(path).lines().any(|line| code(line).contains("wgpu::"));
    let offenders: Vec<String> = rust.filter(names_wgpu).collect();
    demand(&offenders, "only src/gpu and src/exec may name wgpu; give them a function that does what these need:");
}

#[test]
fn unsafe_stays_where_it_is_explained() {
    const PLACES: [&str; 3] = ["src/data/tokens/mmap.rs", "src/gpu/pipelines.rs", "src/gpu/unguarded.rs"];
    let rust = files_below("src").into_iter().filter(|p| p.ends_with(".rs"));
    let has_unsafe = |path: &String| read(path).lines().any(|line| code(line).contains("unsafe"));
    let found: Vec<String> = rust.filter(has_unsafe).collect();
    assert_eq!(found, PLACES, "ARCHITECTURE.md says which files have `unsafe`, and each says why");
}

#[test]
fn files_are_short() {
    let limit = |path: &str| match path.rsplit_once('.') {
        _ if path.starts_with("assets/") => None,
        Some((_, "rs")) => Some(MAX_RUST_LINES),
        Some((_, "wgsl")) => Some(MAX_SHADER_LINES),
        _ => None,
    };
    let mut offenders = vec![];
    for path in all_files() {
        let Some(limit) = limit(&path) else { continue };
        let n_line = read(&path).lines().count();
        if n_line > limit {
            offenders.push(format!("{path} has {n_line} lines, at most {limit}"));
        }
    }
    demand(&offenders, "a file holds one idea; split these:");
}

/// Every op has a golden, and apart from whole models nothing else has one: so the goldens list the stems.
fn stems() -> Vec<String> {
    let goldens = list("assets/golden");
    let names = goldens.iter().filter_map(|name| name.strip_suffix(".safetensors"));
    names.filter(|name| !name.starts_with("model_")).map(str::to_string).collect()
}

/// The stem that a file of a place belongs to.
fn stem_of<'a>(name: &str, ending: &str, stems: &'a [String]) -> Option<&'a str> {
    let (ending, longer) = ending.strip_prefix('_').map_or((ending, false), |e| (e, true));
    let base = name.strip_suffix('/').or(name.strip_suffix(ending))?;
    let is_of = |stem: &&String| match base.strip_prefix(stem.as_str()) {
        Some("") => true,
        Some(rest) => longer && rest.starts_with('_'),
        None => false,
    };
    // the longest, as one stem may be a prefix of another
    stems.iter().filter(is_of).max_by_key(|stem| stem.len()).map(String::as_str)
}

#[test]
fn every_stem_has_all_its_files() {
    let stems = stems();
    assert!(stems.len() >= 11, "assets/golden lists the ops, it has only {stems:?}");
    let mut offenders = vec![];
    for (place, _) in STEM_PLACES {
        let (folder, ending) = place.split_once("/*").unwrap();
        let there = list(folder);
        let found: BTreeSet<&str> = there.iter().filter_map(|name| stem_of(name, ending, &stems)).collect();
        let missing = stems.iter().filter(|stem| !found.contains(stem.as_str()));
        let rest = ending.replace('_', "_*");
        offenders.extend(missing.map(|stem| format!("{folder}/{stem}{rest}")));
    }
    demand(
        &offenders,
        "an op has the same name in every place (CONTRIBUTING.md says what goes where); these are missing:",
    );
}

/// Where each stem is registered by hand; `*` is the stem.
const REGISTRIES: [(&str, &[&str]); 6] = [
    ("src/ops/mod.rs", &["mod *;"]),
    ("src/reference/mod.rs", &["pub mod *;"]),
    ("src/doctor/cases/mod.rs", &["mod *;", "(\"*\", *::cases()),"]),
    ("tests/gpu/ops/mod.rs", &["mod *;"]),
    ("benches/ops.rs", &["mod *;", "*::bench("]),
    ("assets/golden/make_golden.py", &["def *():"]),
];

#[test]
fn every_stem_is_in_every_registry() {
    let mut offenders = vec![];
    for (path, entries) in REGISTRIES {
        let text = read(path);
        for stem in stems() {
            let missing = entries.iter().map(|entry| entry.replace('*', &stem)).filter(|entry| !text.contains(entry));
            offenders.extend(missing.map(|entry| format!("{path}: {entry}")));
        }
    }
    demand(&offenders, "add these lines, without which the op is left out there:");
}

#[test]
fn every_file_next_to_a_stem_belongs_to_one() {
    let stems = stems();
    let mut offenders = vec![];
    for (place, others) in STEM_PLACES {
        let (folder, ending) = place.split_once("/*").unwrap();
        for name in list(folder) {
            let counts = name.ends_with('/') && name != "shared/" || name.ends_with(ending.trim_start_matches('_'));
            if counts && stem_of(&name, ending, &stems).is_none() && !others.contains(&name.as_str()) {
                offenders.push(format!("{folder}/{name}"));
            }
        }
    }
    demand(
        &offenders,
        "these files have the name of no op; rename them, or list them in tests/cpu/tidy.rs with the others:",
    );
}

#[test]
fn stems_are_told_apart() {
    let stems = ["gelu".to_string(), "column_sum".to_string()];
    assert_eq!(stem_of("gelu.rs", ".rs", &stems), Some("gelu"));
    assert_eq!(stem_of("gelu/", ".rs", &stems), Some("gelu"));
    assert_eq!(stem_of("gelu_new.rs", ".rs", &stems), None);
    assert_eq!(stem_of("gelu_forward.wgsl", "_.wgsl", &stems), Some("gelu"));
    assert_eq!(stem_of("geluforward.wgsl", "_.wgsl", &stems), None);
    assert_eq!(stem_of("column_sum_part_forward.wgsl", "_.wgsl", &stems), Some("column_sum"));
    assert_eq!(stem_of("column.rs", ".rs", &stems), None);
}

/// The required keys of a shader's header; the last is one of two.
const HEADER_KEYS: [&[&str]; 5] = [&["Shapes"], &["Work"], &["Numerics"], &["Limits"], &["Reference", "Source"]];

fn missing_keys(text: &str) -> Vec<String> {
    let header: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//")).collect();
    let has = |key: &&str| header.iter().any(|l| l.trim().strip_prefix(key).is_some_and(|rest| rest.starts_with(':')));
    HEADER_KEYS.iter().filter(|keys| !keys.iter().any(&has)).map(|keys| keys.join(" or ")).collect()
}

#[test]
fn every_shader_has_a_complete_header() {
    let mut offenders = vec![];
    for path in files_below("shaders").into_iter().filter(|p| p.ends_with(".wgsl")) {
        let text = read(&path);
        // a shared piece is part of the shaders that import it; its first line needs only to name it
        let missing = if path.starts_with("shaders/shared/") {
            if text.starts_with("// ") { vec![] } else { vec!["a first comment line".to_string()] }
        } else {
            missing_keys(&text)
        };
        if !missing.is_empty() {
            offenders.push(format!("{path}: {}", missing.join(", ")));
        }
    }
    demand(&offenders, "a shader begins with lines like `// Work: one invocation per row.`; these lack:");
    assert_eq!(missing_keys("// Shapes: x\n// Work: x\n// Source: x\nlet a; // Limits: x"), ["Numerics", "Limits"]);
}

#[test]
fn no_file_names_a_machine_or_a_mirror() {
    // split in two, so that this file doesn't match
    let halves =
        [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), ("crates", ".io/"), ("deb.deb", "ian.org"), ("pypi", ".org")];
    let needles = halves.map(|(a, b)| format!("{a}{b}"));
    let mut offenders = vec![];
    for path in all_files() {
        // binary files have no lines to read
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for (n, line) in text.lines().enumerate() {
            let found = needles.iter().find(|needle| line.contains(needle.as_str()));
            offenders.extend(found.map(|needle| format!("{path}:{}: {needle}", n + 1)));
        }
    }
    demand(&offenders, "committed files work anywhere; say these without the path or host of one machine:");
}

/// The documentation pages, whose claims about files and flags are tested.
pub const PAGES: [&str; 6] =
    ["README.md", "GUIDE.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/decisions.md", "benches/peers/README.md"];

/// Paths of the repository that a page in a folder names: in backticks from the root, in links from the folder.
fn named_paths(folder: &str, page: &str) -> Vec<String> {
    let mut paths = vec![];
    let mut is_code = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2).filter(|word| looks_like_path(word));
        paths.extend(quoted.map(str::to_string));
        let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let files = links.filter(|l| !l.contains("://") && !l.starts_with('#'));
        paths.extend(files.map(|link| format!("{folder}{}", link.split('#').next().unwrap_or(""))));
    }
    paths
}

fn looks_like_path(word: &str) -> bool {
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let first = word.split('/').next().unwrap_or("");
    let has_kind = |kinds: &[&str]| kinds.iter().any(|kind| word.ends_with(kind));
    let in_folder = word.contains('/') && (FOLDERS.contains(&first) || has_kind(&[".rs", ".wgsl", ".py", ".toml"]));
    let at_top = !word.contains('/') && (has_kind(&[".md", ".rs"]) || ["Cargo.toml", "Cargo.lock"].contains(&word));
    is_plain && !first.is_empty() && (in_folder || at_top || word.starts_with("LICENSE-"))
}

#[test]
fn pages_name_files_that_exist() {
    let mut offenders = vec![];
    for page in PAGES {
        let folder = page.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let missing = named_paths(&folder, &read(page)).into_iter().filter(|path| !root().join(path).exists());
        offenders.extend(missing.map(|path| format!("{page}: {path}")));
    }
    demand(&offenders, "these pages name files that aren't there; correct the page:");
}

#[test]
fn paths_are_found_in_a_page() {
    let page = "See `src/a.rs`, `tril train`, `src/x/`, `N/2` and [this](b.md#part), not [that](https://x.y/z).\n\
                ```\n`src/c.rs`\n```\n`build.rs` and `shaders/<stem>_forward.wgsl`, `/abs/path.rs`, `a::b`, `LICENSE-MIT`";
    assert_eq!(named_paths("docs/", page), ["src/a.rs", "src/x/", "docs/b.md", "build.rs", "LICENSE-MIT"]);
}

#[test]
fn the_architecture_fits_one_sitting() {
    let n_line = read("ARCHITECTURE.md").lines().count();
    assert!(
        n_line <= MAX_ARCHITECTURE_LINES,
        "ARCHITECTURE.md has {n_line} lines; tell it in {MAX_ARCHITECTURE_LINES}"
    );
}

#[test]
fn the_folders_of_this_test_exist() {
    let missing: Vec<PathBuf> = FOLDERS.iter().map(|f| root().join(f)).filter(|p| !p.is_dir()).collect();
    assert!(missing.is_empty(), "tests/cpu/tidy.rs looks into folders that aren't there: {missing:?}");
}
