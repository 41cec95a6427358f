//! Which commands install Mesa's software Vulkan driver on this Linux system.

/// A package manager and what it is told.
struct Manager {
    /// The program to look for.
    program: &'static str,
    /// Commands in order.
    commands: &'static [&'static [&'static str]],
}

/// In the order of preference; a system has one of them, as a rule.
const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        // sudo drops the environment, so env sets it behind sudo
        commands: &[
            &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "update"],
            &[
                "env",
                "DEBIAN_FRONTEND=noninteractive",
                "apt-get",
                "install",
                "-y",
                "--no-install-recommends",
                "mesa-vulkan-drivers",
                "libvulkan1",
            ],
        ],
    },
    Manager { program: "dnf", commands: &[&["dnf", "install", "-y", "mesa-vulkan-drivers", "vulkan-loader"]] },
    Manager {
        program: "pacman",
        commands: &[&["pacman", "-Sy", "--needed", "--noconfirm", "vulkan-swrast", "vulkan-icd-loader"]],
    },
    Manager {
        program: "zypper",
        commands: &[&["zypper", "--non-interactive", "install", "--no-recommends", "libvulkan_lvp", "libvulkan1"]],
    },
    Manager { program: "apk", commands: &[&["apk", "add", "--no-cache", "mesa-vulkan-swrast", "vulkan-loader"]] },
];

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub enum Unknown {
    /// No package manager that we know.
    Manager,
    /// Neither root nor a way to become root; these commands need it.
    Root(Vec<String>),
}

/// The commands that install the driver; `has` says whether a program is on the PATH.
pub fn install_commands(has: impl Fn(&str) -> bool, is_root: bool) -> Result<Vec<Vec<&'static str>>, Unknown> {
    let manager = MANAGERS.iter().find(|m| has(m.program)).ok_or(Unknown::Manager)?;
    let become_root = match (is_root, ["sudo", "doas"].into_iter().find(|p| has(p))) {
        (true, _) => None,
        (false, Some(program)) => Some(program),
        (false, None) => return Err(Unknown::Root(manager.commands.iter().map(|c| c.join(" ")).collect())),
    };
    Ok(manager.commands.iter().map(|c| become_root.into_iter().chain(c.iter().copied()).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::{MANAGERS, Unknown, install_commands};

    /// What is run, a line a command, on a system with these programs.
    fn lines(programs: &[&str], is_root: bool) -> Result<Vec<String>, Unknown> {
        let commands = install_commands(|p| programs.contains(&p), is_root)?;
        Ok(commands.iter().map(|c| c.join(" ")).collect())
    }

    #[test]
    fn root_on_debian_updates_and_installs() {
        let expected = [
            "env DEBIAN_FRONTEND=noninteractive apt-get update",
            "env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1",
        ];
        assert_eq!(lines(&["apt-get", "sudo"], true), Ok(expected.map(String::from).to_vec()));
    }

    #[test]
    fn a_user_asks_sudo_or_doas_for_every_command() {
        for program in ["sudo", "doas"] {
            for line in lines(&["apt-get", program], false).unwrap_or_default() {
                assert!(line.starts_with(&format!("{program} env ")), "{line}");
            }
        }
        let both = lines(&["apk", "doas", "sudo"], false);
        assert_eq!(both, Ok(vec!["sudo apk add --no-cache mesa-vulkan-swrast vulkan-loader".to_string()]));
    }

    #[test]
    fn without_root_the_commands_are_told() {
        let Err(Unknown::Root(commands)) = lines(&["apt-get"], false) else { panic!("expected a need for root") };
        assert_eq!(commands.len(), 2);
    }

    #[test]
    fn an_unknown_system_is_not_guessed_at() {
        assert_eq!(lines(&["brew", "sudo"], false), Err(Unknown::Manager));
    }

    #[test]
    fn every_manager_runs_itself_and_never_asks() {
        for manager in MANAGERS {
            let lines = lines(&[manager.program], true).unwrap_or_default();
            assert!(!lines.is_empty());
            for line in lines {
                let words: Vec<&str> = line.split(' ').collect();
                assert!(words.contains(&manager.program), "{line}");
                let quiet = ["-y", "--noconfirm", "--non-interactive", "--no-cache", "update"];
                assert!(words.iter().any(|w| quiet.contains(w)), "{line} may ask");
            }
        }
    }
}
