//! Makes sure that tril finds a device; on Linux, installs a software one if there is none.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use crate::packages::{APT_POLICY, Backport, Installer, Unknown};
use crate::run::{cargo, cargo_command, fail, show};

/// Builds tril and checks that it finds an adapter, installing Mesa's software driver if necessary.
pub fn device() -> Result<(), ExitCode> {
    cargo(&["build", "--release", "--bin", "tril"])?;
    if has_adapter(&Stdio::null)? {
        return Ok(());
    }
    if !cfg!(target_os = "linux") {
        let _ = has_adapter(&Stdio::inherit)?;
        return Err(fail("tril finds no GPU; update this system's graphics driver"));
    }
    eprintln!("Found no Vulkan device; installing Mesa's software driver.");
    install()?;
    if has_adapter(&Stdio::inherit)? {
        return Ok(());
    }
    Err(fail(
        "Mesa's software driver is installed, but there is still no Vulkan device; make sure that the variables \
         VK_DRIVER_FILES and VK_ICD_FILENAMES are unset, and run `vulkaninfo --summary` (package vulkan-tools)",
    ))
}

/// Whether `tril devices` finds any; its standard error goes to `stderr`.
fn has_adapter(stderr: &dyn Fn() -> Stdio) -> Result<bool, ExitCode> {
    let args = ["run", "--release", "--quiet", "--bin", "tril", "--", "devices"];
    show(&[&["cargo"], &args[..]].concat());
    match cargo_command(&args).stderr(stderr()).status() {
        Ok(status) => Ok(status.success()),
        Err(e) => Err(fail(&format!("cargo can't be started: {e}"))),
    }
}

fn install() -> Result<(), ExitCode> {
    let installer = Installer::find(|program| find(program).is_some(), is_root()).map_err(|unknown| match unknown {
        Unknown::Manager => fail(
            "found no supported package manager (apt-get, dnf, pacman, zypper, apk); install a Vulkan loader and a \
             Vulkan driver for your GPU, or Mesa's software driver (lavapipe), then run this again",
        ),
        Unknown::Root(commands) => fail(&format!(
            "installing a driver needs root, but there is no sudo or doas; run this as root, then try again:\n  {}",
            commands.join("\n  ")
        )),
    })?;
    // mirrors fail at times, and the list of packages may be stale
    for again in [true, false] {
        if installer.refresh().is_none_or(|command| run(&command)) {
            let backport = if installer.is_apt() { newer_mesa() } else { None };
            if backport.is_some() && run(&installer.install(backport.as_ref())) {
                return Ok(());
            }
            if backport.is_some() {
                eprintln!("Failed; installing the release's own Mesa.");
            }
            if run(&installer.install(None)) {
                return Ok(());
            }
        }
        if again {
            eprintln!("Failed; trying once more.");
        }
    }
    let commands = installer.refresh().into_iter().chain([installer.install(None)]);
    let lines: Vec<String> = commands.map(|c| c.join(" ")).collect();
    Err(fail(&format!(
        "could not install the driver; see the messages above, check the network, and run by hand:\n  {}",
        lines.join("\n  ")
    )))
}

/// A Mesa newer than the release's own, from backports configured on this system; newer software drivers are faster.
fn newer_mesa() -> Option<Backport> {
    show(APT_POLICY);
    let output = Command::new(APT_POLICY[0]).args(&APT_POLICY[1..]).output().ok()?;
    let backport = Backport::find(&String::from_utf8_lossy(&output.stdout));
    if let Some(Backport { version, archive, instead_of }) = &backport {
        eprintln!("Using Mesa {version} from {archive} instead of {instead_of}: newer software drivers are faster.");
    }
    backport
}

/// Prints and runs a command; returns whether it succeeded.
fn run(words: &[&str]) -> bool {
    show(words);
    Command::new(words[0]).args(&words[1..]).status().is_ok_and(|status| status.success())
}

/// Finds a program on the PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether we are root, according to `id`; if `id` is missing, sudo does no harm.
fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).trim() == "0")
}
