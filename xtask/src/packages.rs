//! Which commands install Mesa's software Vulkan driver on this Linux system.

/// A package manager and its commands.
#[derive(Debug)]
pub struct Manager {
    /// The program to look for.
    program: &'static str,
    /// Updates the list of packages, if that is a separate command.
    refresh: Option<&'static [&'static str]>,
    /// Installs the driver and the loader.
    install: &'static [&'static str],
}

/// In order of preference; a system usually has only one of them.
const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        // sudo drops the environment, so env sets it after sudo
        refresh: Some(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "update"]),
        install: &[
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "install",
            "-y",
            "--no-install-recommends",
            MESA,
            "libvulkan1",
        ],
    },
    Manager {
        program: "dnf",
        refresh: None,
        install: &["dnf", "install", "-y", "mesa-vulkan-drivers", "vulkan-loader"],
    },
    Manager {
        program: "pacman",
        refresh: None,
        install: &["pacman", "-Sy", "--needed", "--noconfirm", "vulkan-swrast", "vulkan-icd-loader"],
    },
    Manager {
        program: "zypper",
        refresh: None,
        install: &["zypper", "--non-interactive", "install", "--no-recommends", "libvulkan_lvp", "libvulkan1"],
    },
    Manager {
        program: "apk",
        refresh: None,
        install: &["apk", "add", "--no-cache", "mesa-vulkan-swrast", "vulkan-loader"],
    },
];

/// Debian's package with Mesa's Vulkan drivers.
const MESA: &str = "mesa-vulkan-drivers";

/// Prints the available versions of Mesa's drivers, in English whatever the system's language.
pub const APT_POLICY: &[&str] = &["env", "LC_ALL=C", "apt-cache", "policy", MESA];

/// Why no command can be run.
#[derive(Debug, PartialEq, Eq)]
pub enum Unknown {
    /// No package manager that we know.
    Manager,
    /// Not root and no way to become root, which these commands need.
    Root(Vec<String>),
}

/// How this system installs the driver.
#[derive(Debug)]
pub struct Installer {
    manager: &'static Manager,
    /// The program that runs commands as root, if we aren't root.
    become_root: Option<&'static str>,
}

impl Installer {
    /// Finds the package manager. `has` returns whether a program is on the PATH.
    pub fn find(has: impl Fn(&str) -> bool, is_root: bool) -> Result<Self, Unknown> {
        let manager = MANAGERS.iter().find(|m| has(m.program)).ok_or(Unknown::Manager)?;
        let become_root = match (is_root, ["sudo", "doas"].into_iter().find(|p| has(p))) {
            (true, _) => None,
            (false, Some(program)) => Some(program),
            (false, None) => {
                let commands = manager.refresh.into_iter().chain([manager.install]);
                return Err(Unknown::Root(commands.map(|c| c.join(" ")).collect()));
            }
        };
        Ok(Self { manager, become_root })
    }

    /// Updates the list of packages.
    pub fn refresh(&self) -> Option<Vec<&str>> {
        self.manager.refresh.map(|command| self.as_root(command))
    }

    /// Whether [`APT_POLICY`] runs here.
    pub fn is_apt(&self) -> bool {
        self.manager.program == "apt-get"
    }

    /// Installs the driver, from these backports if there are any.
    pub fn install<'a>(&'a self, backport: Option<&'a Backport>) -> Vec<&'a str> {
        let mut command = self.as_root(self.manager.install);
        if let (Some(Backport { archive, .. }), Some(place)) = (backport, command.iter().position(|w| *w == MESA)) {
            // -t, so that the driver's dependencies come from there too
            command.splice(place..place, ["-t", archive]);
        }
        command
    }

    fn as_root(&self, command: &'static [&'static str]) -> Vec<&'static str> {
        self.become_root.into_iter().chain(command.iter().copied()).collect()
    }
}

/// A newer Mesa than the one that apt would install by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backport {
    /// Its version.
    pub version: String,
    /// Its archive, such as `bookworm-backports`.
    pub archive: String,
    /// The version that apt would install.
    pub instead_of: String,
}

impl Backport {
    /// Finds it in the output of [`APT_POLICY`]. Backports are built for the system's release, and apt uses them only
    /// on request; other archives that apt ranks low (testing, experimental) would replace half the system, and the
    /// system's settings forbid an archive of negative priority.
    pub fn find(policy: &str) -> Option<Self> {
        let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim();
        let table = policy.lines().skip_while(|line| line.trim() != "Version table:").skip(1);
        let mut version = "";
        // versions are listed from newest to oldest, each followed by its sources
        for line in table {
            let words: Vec<&str> = line.split_whitespace().filter(|&word| word != "***").collect();
            match words[..] {
                [found, _priority] if found == candidate => return None,
                [found, _priority] if found.parse::<i32>().is_err() => version = found,
                [priority, _url, release, ..] if priority.parse().is_ok_and(|p: i32| p > 0) => {
                    let archive = release.split('/').next().unwrap_or(release);
                    if archive.ends_with("-backports") && !version.is_empty() {
                        let [version, archive, instead_of] = [version, archive, candidate].map(String::from);
                        return Some(Self { version, archive, instead_of });
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Backport, Installer, MANAGERS, Unknown};

    /// The commands, one per line, on a system with these programs.
    fn lines(programs: &[&str], is_root: bool) -> Result<Vec<String>, Unknown> {
        let installer = Installer::find(|p| programs.contains(&p), is_root)?;
        Ok(installer.refresh().into_iter().chain([installer.install(None)]).map(|c| c.join(" ")).collect())
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
    fn without_root_the_commands_are_returned() {
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

    /// The output of `apt-cache policy` for the driver, with this version table.
    fn policy(candidate: &str, table: &str) -> String {
        format!("mesa-vulkan-drivers:\n  Installed: (none)\n  Candidate: {candidate}\n  Version table:\n{table}")
    }

    const BOOKWORM: &str =
        "     22.3.6-1+deb12u1 500\n        500 http://mirror.example/debian bookworm/main amd64 Packages\n";
    const BACKPORT: &str =
        "     25.0.7-2~bpo12+1 100\n        100 http://mirror.example/debian bookworm-backports/main amd64 Packages\n";

    fn found(policy: &str) -> Option<(String, String)> {
        Backport::find(policy).map(|b| (b.version, b.archive))
    }

    #[test]
    fn a_newer_mesa_comes_from_backports_that_are_configured() {
        let bookworm = "22.3.6-1+deb12u1";
        let backport = Some(("25.0.7-2~bpo12+1".to_string(), "bookworm-backports".to_string()));
        assert_eq!(found(&policy(bookworm, &format!("{BACKPORT}{BOOKWORM}"))), backport);
        // the older one is installed
        let installed = BOOKWORM.replacen("    ", " ***", 1) + "        100 /var/lib/dpkg/status\n";
        assert_eq!(found(&policy(bookworm, &format!("{BACKPORT}{installed}"))), backport);
        // the newer one is in two places
        let twice = "     25.0.7-2~bpo12+1 100\n        100 http://mirror.example/debian bookworm-backports/main arm64 Packages\n        \
                     100 https://mirror.example/debian bookworm-backports/main arm64 Packages\n";
        assert_eq!(found(&policy(bookworm, &format!("{twice}{BOOKWORM}"))), backport);
        // an even newer one from an archive that isn't a backport is ignored
        let testing = "     26.1.0-1 90\n         90 http://mirror.example/debian testing/main amd64 Packages\n";
        assert_eq!(found(&policy(bookworm, &format!("{testing}{BACKPORT}{BOOKWORM}"))), backport);
    }

    #[test]
    fn without_a_newer_backport_apt_chooses() {
        let bookworm = "22.3.6-1+deb12u1";
        let experimental =
            "     26.1.0-1 1\n          1 http://mirror.example/debian experimental/main amd64 Packages\n";
        let forbidden = BACKPORT.replace("100", "-1");
        let older = "     21.0.1-1~bpo12+1 100\n        100 http://mirror.example/debian bookworm-backports/main amd64 Packages\n";
        for table in [
            BOOKWORM.to_string(),
            format!("{experimental}{BOOKWORM}"),
            format!("{forbidden}{BOOKWORM}"),
            format!("{BOOKWORM}{older}"),
            String::new(),
        ] {
            assert_eq!(found(&policy(bookworm, &table)), None, "{table}");
        }
        // the candidate is already the backport, by the system's own pinning
        assert_eq!(found(&policy("25.0.7-2~bpo12+1", &format!("{BACKPORT}{BOOKWORM}"))), None);
        // apt-cache knows no such package
        assert_eq!(found(""), None);
        assert_eq!(found("N: Unable to locate package mesa-vulkan-drivers\n"), None);
    }

    #[test]
    fn the_drivers_dependencies_come_from_the_backports_too() {
        let backport = Backport::find(&policy("22.3.6-1+deb12u1", &format!("{BACKPORT}{BOOKWORM}")));
        let Ok(installer) = Installer::find(|p| ["apt-get", "sudo"].contains(&p), false) else {
            panic!("expected apt")
        };
        assert_eq!(
            installer.install(backport.as_ref()).join(" "),
            "sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -t bookworm-backports \
             mesa-vulkan-drivers libvulkan1"
        );
    }
}
