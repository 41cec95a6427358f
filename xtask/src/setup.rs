//! Makes sure that tril finds a device; on Linux, by installing a software one where there is none.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use crate::packages::{Unknown, install_commands};
use crate::run::{cargo, cargo_command, fail, show};

/// Builds tril and checks that it finds an adapter, installing Mesa's software driver if that is what it takes.
pub fn device() -> Result<(), ExitCode> {
    cargo(&["build", "--release", "--bin", "tril"])?;
    if has_adapter(&Stdio::null)? {
        return Ok(());
    }
    if !cfg!(target_os = "linux") {
        let _ = has_adapter(&Stdio::inherit)?;
        return Err(fail("tril finds no GPU; update the graphics driver of this system"));
    }
    eprintln!("There is no Vulkan device here; installing Mesa's software driver.");
    install()?;
    if has_adapter(&Stdio::inherit)? {
        return Ok(());
    }
    Err(fail(
        "Mesa's software driver is installed, and still there is no Vulkan device; see that the variables VK_DRIVER_FILES \
         and VK_ICD_FILENAMES are unset, and what `vulkaninfo --summary` (package vulkan-tools) says",
    ))
}

/// Whether `tril devices` finds anything; what it finds is shown, what it misses only where `stderr` says so.
fn has_adapter(stderr: &dyn Fn() -> Stdio) -> Result<bool, ExitCode> {
    let args = ["run", "--release", "--quiet", "--bin", "tril", "--", "devices"];
    show(&[&["cargo"], &args[..]].concat());
    match cargo_command(&args).stderr(stderr()).status() {
        Ok(status) => Ok(status.success()),
        Err(e) => Err(fail(&format!("cargo can't be started: {e}"))),
    }
}

fn install() -> Result<(), ExitCode> {
    let commands = install_commands(|program| find(program).is_some(), is_root()).map_err(|unknown| match unknown {
        Unknown::Manager => fail(
            "there is no package manager here that this command knows (apt-get, dnf, pacman, zypper, apk); install a Vulkan \
             loader and a Vulkan driver for your GPU, or Mesa's software driver (lavapipe), then run this again",
        ),
        Unknown::Root(commands) => fail(&format!(
            "installing a driver takes root, and neither sudo nor doas is here; run this as root, then try again:\n  {}",
            commands.join("\n  ")
        )),
    })?;
    // once more after a failure: mirrors have bad moments, and a stale index is fetched anew
    if run_all(&commands) {
        return Ok(());
    }
    eprintln!("That failed; trying once more.");
    if run_all(&commands) {
        return Ok(());
    }
    let lines: Vec<String> = commands.iter().map(|c| c.join(" ")).collect();
    Err(fail(&format!(
        "the driver could not be installed; see the messages above, check the network, and run by hand:\n  {}",
        lines.join("\n  ")
    )))
}

/// Runs commands in order as long as they succeed.
fn run_all(commands: &[Vec<&str>]) -> bool {
    commands.iter().all(|words| {
        show(words);
        Command::new(words[0]).args(&words[1..]).status().is_ok_and(|status| status.success())
    })
}

/// A program on the PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether we are root. The standard library can't say, `id` can; where it is missing, sudo does no harm.
fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).trim() == "0")
}
