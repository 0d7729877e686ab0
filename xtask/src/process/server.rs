//! Servers: processes that run until they are stopped.

use super::command::{die_with_parent, signal_group};
use super::files::{end_of_log, open_log};
use super::http::http_status;
use super::signals::check_stop;
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running server, with its log.
pub struct Server {
    pub name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a server in its own process group. So Ctrl-C reaches only this process, which then
    /// stops the server. The calling thread must outlive the server.
    pub fn start(name: &'static str, command: &mut Command, log: PathBuf) -> Result<Self> {
        let output = open_log(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        die_with_parent(command);
        let child = command.spawn().with_context(|| format!("can't start {name}: {command:?}"))?;
        Ok(Self { name, child, log })
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status of the server; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Describes the end of the server, with the last lines of its log.
    pub fn obituary(&self, status: ExitStatus) -> String {
        format!("{} ended ({status}); {}", self.name, end_of_log(&self.log))
    }

    /// Waits until `path` at `address` responds with a status that `accept` accepts.
    pub fn wait_ready(
        &mut self,
        address: SocketAddr,
        path: &str,
        accept: fn(u16) -> bool,
        patience: Duration,
    ) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                bail!("{}", self.obituary(status));
            }
            if http_status(address, path).is_some_and(accept) {
                return Ok(());
            }
            check_stop()?;
            if begun.elapsed() > patience {
                bail!(
                    "{} was not ready after {} s; {}",
                    self.name,
                    patience.as_secs(),
                    end_of_log(&self.log)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    /// Sends SIGTERM to the server, and SIGKILL after 5 s. Kills its process group in any case.
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
            let begun = Instant::now();
            while self.ended().is_none() && begun.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        signal_group(&self.child, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// The servers of a stack; the last one is stopped first.
#[derive(Default)]
pub struct Servers(pub Vec<Server>);

impl Servers {
    /// Waits until the last server responds.
    pub fn wait_ready(
        &mut self,
        address: SocketAddr,
        path: &str,
        accept: fn(u16) -> bool,
        seconds: u64,
    ) -> Result<()> {
        match self.0.last() {
            Some(last) => self.wait_ready_named(last.name, address, path, accept, seconds),
            None => Ok(()),
        }
    }

    /// Waits until the server named `name` responds. If another server has ended meanwhile, the
    /// error names that one.
    pub fn wait_ready_named(
        &mut self,
        name: &str,
        address: SocketAddr,
        path: &str,
        accept: fn(u16) -> bool,
        seconds: u64,
    ) -> Result<()> {
        let Some(server) = self.0.iter_mut().find(|server| server.name == name) else {
            return Ok(());
        };
        let outcome = server.wait_ready(address, path, accept, Duration::from_secs(seconds));
        for server in &mut self.0 {
            if let Some(status) = server.ended() {
                bail!("{}", server.obituary(status));
            }
        }
        outcome
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}
