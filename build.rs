//! Checks every shader with naga and generates the Rust side of its bindings; a shader error fails the build.

#[path = "build/emit.rs"]
mod emit;
#[path = "build/expand.rs"]
mod expand;
#[path = "build/reflect.rs"]
mod reflect;

use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=shaders");
    if let Err(error) = run() {
        eprintln!("error: {error}");
        process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let dir = Path::new("shaders");
    let mut out = String::new();
    for path in wgsl_files(dir)? {
        let name = path.file_stem().and_then(|s| s.to_str()).ok_or("a shader's name is not UTF-8")?.to_string();
        let text = read(&path)?;
        let at = |e: String| format!("{}: {e}", path.display());
        let file =
            expand::parse(&text, |import| read(&dir.join("shared").join(format!("{import}.wgsl")))).map_err(at)?;
        let facts = reflect::reflect(&file).map_err(at)?;
        emit::module(&mut out, &name, &file, &facts);
    }
    emit::table(&mut out);
    let target = PathBuf::from(env::var("OUT_DIR").map_err(|e| e.to_string())?).join("kernels.rs");
    fs::write(&target, out).map_err(|e| format!("{}: {e}", target.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn wgsl_files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "wgsl"))
        .collect();
    files.sort();
    Ok(files)
}
