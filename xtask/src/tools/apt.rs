//! Debian packages.

use super::probe::{is_in_path, runs};
use crate::tasks::Runner;
use crate::workspace::at;
use anyhow::Result;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The way to call apt-get without a prompt: as root, or with a sudo that needs no password.
#[derive(Clone, Copy)]
pub struct Apt {
    sudo: &'static str,
}

impl Apt {
    /// Returns `None` if there is no apt-get, or no permission to use it.
    pub fn find() -> Option<Self> {
        if !is_in_path("apt-get") {
            None
        } else if nix::unistd::geteuid().is_root() {
            Some(Self { sudo: "" })
        } else {
            runs("sudo", &["-n", "true"]).then_some(Self { sudo: "sudo -n" })
        }
    }

    /// Installs packages. Waits for other installations, because apt-get refuses to run twice at a
    /// time.
    pub fn install(self, runner: &Runner, packages: &[&str]) -> Result<()> {
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let sudo = self.sudo;
        // With this runlevel, an installed server is not started. sudo drops variables, so env sets
        // them.
        let script = format!(
            "{sudo} apt-get update && {sudo} env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
             apt-get install -y --no-install-recommends {}",
            packages.join(" ")
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]);
        runner.run(&mut shell, &at(".tools/log/apt.log"))
    }
}
