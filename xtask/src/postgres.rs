//! A PostgreSQL server for the stack.

use crate::process::{self, Server, Servers};
use crate::tasks::step;
use crate::tools;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Returns the folder of this process's PostgreSQL. It is outside the workspace, which the user
/// postgres may not be able to enter. Its path is short, because a socket's path has at most 107
/// bytes.
pub fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("portcullis-postgres-{}", std::process::id()))
}

/// Returns the URL of the PostgreSQL in a folder.
pub fn url(folder: &Path) -> String {
    format!("postgres://postgres@localhost/postgres?host={}", folder.display())
}

/// Starts a PostgreSQL with its own folder and socket. As root, starts it as the user postgres,
/// because it refuses to run as root.
pub fn start(folder: &Path, log: impl Fn(&str) -> PathBuf, servers: &mut Servers) -> Result<()> {
    let bin = tools::postgres_bin().context("PostgreSQL is not installed")?;
    let data = folder.join("data");
    fs::create_dir_all(folder)?;
    let root = nix::unistd::geteuid().is_root();
    let command = |program: &str| {
        if root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(bin.join(program));
            command
        } else {
            Command::new(bin.join(program))
        }
    };
    if root {
        let status = Command::new("chown").args(["postgres"]).arg(folder).status()?;
        anyhow::ensure!(status.success(), "can't give {} to postgres", folder.display());
    }
    let mut initdb = command("initdb");
    initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-N"]);
    step("PostgreSQL: make a cluster", &mut initdb, &log("initdb"))?;
    let mut postgres = command("postgres");
    postgres.arg("-D").arg(&data).args(["-c", "listen_addresses=", "-k"]).arg(folder);
    let mut server = Server::start("postgres", &mut postgres, log("postgres"))?;
    for _ in 0..200 {
        process::check_stop()?;
        if let Some(status) = server.ended() {
            bail!("{}", server.obituary(status));
        }
        let mut ready = Command::new(bin.join("pg_isready"));
        if ready.arg("-h").arg(folder).output().is_ok_and(|output| output.status.success()) {
            servers.0.push(server);
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("PostgreSQL does not respond; see {}", log("postgres").display());
}
