//! Free loopback ports for servers that are started a moment later.
//!
//! A port that was only found free may be taken before its server listens. Two stacks then share
//! one port: the second server fails, and the check of its readiness reaches the first one. So a
//! process locks a block of ports until it ends. The ports are below those that the system assigns
//! to clients, so that no connection takes one either.

use std::fs::File;
use std::io::{Error, Result};
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The ports that are given out. Linux assigns clients those from 32768 on, macOS from 49152.
const PORTS: Range<u16> = 10_000..32_000;

/// A port that browsers and `fetch` of Node refuse to call (WHATWG Fetch, "bad port"), the only one
/// of these.
const BAD_PORT: u16 = 10_080;

/// The number of ports in a block: more than a stack needs.
const BLOCK: u16 = 50;

/// The ports of this process.
static OWN: Mutex<Option<Ports>> = Mutex::new(None);

/// Returns free ports, all different. No other process gets one of them while this process runs,
/// and this process gets none of them again.
///
/// # Errors
///
/// An error if the lock files can't be made, or all ports are taken.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut own = OWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let ports = match &mut *own {
        Some(ports) => ports,
        none => none.insert(Ports::new(std::env::temp_dir().join("portcullis-ports"))?),
    };
    let mut free = [0; N];
    for port in &mut free {
        *port = ports.next()?;
    }
    Ok(free)
}

/// The locked blocks of a process, and the ports of the newest one that are left.
struct Ports {
    folder: PathBuf,
    locks: Vec<File>,
    left: Range<u16>,
}

impl Ports {
    fn new(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, locks: Vec::new(), left: 0..0 })
    }

    fn next(&mut self) -> Result<u16> {
        loop {
            let Some(port) = self.left.next() else {
                self.lock_block()?;
                continue;
            };
            // A program outside of this workspace may use it.
            if port != BAD_PORT && TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(port);
            }
        }
    }

    /// Locks the first block that no process has locked.
    fn lock_block(&mut self) -> Result<()> {
        for first in PORTS.step_by(usize::from(BLOCK)) {
            // A file of another user can't be opened: its block is taken.
            let Ok(file) = open(&self.folder, first) else { continue };
            if file.try_lock().is_ok() {
                self.locks.push(file);
                self.left = first..first + BLOCK;
                return Ok(());
            }
        }
        Err(Error::other(format!(
            "all ports from {} on are taken; stop the programs that use them, or remove {}",
            PORTS.start,
            self.folder.display()
        )))
    }
}

fn open(folder: &Path, first: u16) -> Result<File> {
    let file = folder.join(first.to_string());
    File::options().read(true).write(true).create(true).truncate(false).open(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("portcullis-ports-{name}-{}", std::process::id()))
    }

    #[test]
    fn two_processes_never_get_the_same_port() {
        let folder = folder("two");
        // A lock belongs to the opened file, so two values behave like two processes.
        let mut processes = [(); 2].map(|()| Ports::new(folder.clone()).unwrap());
        let mut given = BTreeSet::new();
        for _ in 0..3 * BLOCK {
            for ports in &mut processes {
                assert!(given.insert(ports.next().unwrap()));
            }
        }
        let [first, mut second] = processes;
        let blocks = first.locks.len();
        assert!(blocks >= 3, "{blocks}");
        // The blocks of a process that has ended are free.
        drop(first);
        second.left = 0..0;
        assert!(!given.insert(second.next().unwrap()));
        drop(second);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn port_that_browsers_refuse_is_not_given_out() {
        let folder = folder("bad");
        let mut ports = Ports::new(folder.clone()).unwrap();
        ports.left = BAD_PORT..BAD_PORT + 20;
        assert!(ports.next().unwrap() > BAD_PORT);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn port_in_use_is_not_given_out() {
        let folder = folder("used");
        let mut ports = Ports::new(folder.clone()).unwrap();
        let port = ports.next().unwrap();
        // Whether this test or another program holds it, it is in use. Another test of this file
        // holds it for a moment only.
        let hold = |_| {
            let held = TcpListener::bind(("127.0.0.1", port + 1)).ok();
            if held.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            held
        };
        let _held = (0..200).find_map(hold);
        assert!(ports.next().unwrap() > port + 1);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn ports_of_this_process_differ() {
        let ports: [u16; 7] = free_ports().unwrap();
        let more: [u16; 7] = free_ports().unwrap();
        let all: BTreeSet<u16> = ports.into_iter().chain(more).collect();
        assert_eq!(all.len(), 14);
        assert!(all.iter().all(|port| PORTS.contains(port)));
    }
}
