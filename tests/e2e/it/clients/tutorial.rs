//! The tutorial's commands, as a reader types them.

use crate::support::environment::{ROOT, xtask};
use crate::support::process::{Folder, free_ports};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A part of the tutorial: commands, and texts that their output must have, in this order.
struct Step {
    commands: String,
    expected: Vec<String>,
}

#[test]
fn every_command_of_the_tutorial_prints_what_it_says() {
    check("tutorial.md");
}

#[test]
fn every_command_of_the_tutorial_about_machines_prints_what_it_says() {
    check("tutorial-machines.md");
}

/// Runs `cargo xtask dev` and every command of a page in one shell. The output of each block
/// must have what the block of text below it shows.
fn check(page: &str) {
    let folder = Folder::new();
    let folder = folder.file("");
    std::fs::copy(format!("{ROOT}/portcullis.toml"), folder.join("portcullis.toml")).unwrap();
    let page = std::fs::read_to_string(format!("{ROOT}/docs/{page}")).unwrap();
    let mut steps = steps(&page);
    assert!(steps.len() > 8, "the tutorial has {} blocks of commands", steps.len());
    let first = steps.remove(0);
    assert_eq!(first.commands.trim(), "cargo xtask dev");

    let ports = free_ports();
    let mut dev = Dev::start(&folder, &ports);
    dev.wait();
    let edge = format!("http://127.0.0.1:{}", ports[0]);
    // One shell, as the reader's: variables last from block to block.
    let mut script = String::new();
    for (number, step) in steps.iter().enumerate() {
        let commands = step.commands.replace("http://127.0.0.1:8787", &edge);
        script.push_str(&format!("{commands}\necho '--- {number}'\n"));
    }
    let mut bash = Command::new("bash");
    let output = bash.args(["-c", &script]).current_dir(&folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut rest = text.as_str();
    for (number, step) in steps.iter().enumerate() {
        let (mut own, after) = rest.split_once(&format!("--- {number}\n")).expect(&said);
        rest = after;
        for expected in &step.expected {
            let at = own.find(expected.as_str());
            let at = at.unwrap_or_else(|| panic!("block {number}: no {expected}:\n{said}"));
            own = &own[at + expected.len()..];
        }
    }
    // A healthy start says nothing that looks like a fault.
    let log = std::fs::read_to_string(folder.join(".dev/log/edge.log")).unwrap();
    let is_fault = |line: &&str| line.contains("WARNING") || line.trim_start().starts_with("at ");
    assert_eq!(log.lines().find(is_fault), None, "{log}");
    let policy = std::fs::read(folder.join("portcullis.toml")).unwrap();
    assert_eq!(policy, std::fs::read(format!("{ROOT}/portcullis.toml")).unwrap(), "not put back");
}

/// Returns the blocks of commands of a page, each with the lines of the block of text below it.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for rest in page.split("\n```").skip(1).step_by(2) {
        let (kind, block) = rest.split_once('\n').unwrap();
        match kind {
            "sh" => steps.push(Step { commands: block.to_owned(), expected: Vec::new() }),
            "text" => {
                let step: &mut Step = steps.last_mut().unwrap();
                step.expected = block.lines().map(str::to_owned).collect();
            }
            other => panic!("a block of {other:?}"),
        }
    }
    steps
}

/// `cargo xtask dev` with a folder, a policy and ports of its own.
struct Dev(Child, std::path::PathBuf);

impl Dev {
    fn start(folder: &Path, ports: &[u16; 8]) -> Self {
        let flags = [
            "--port",
            "--gateway-port",
            "--gateway-admin-port",
            "--auth-port",
            "--auth-admin-port",
            "--redis-port",
            "--upstream-port",
            "--console-port",
        ];
        let log = folder.join("dev.log");
        let output = std::fs::File::create(&log).unwrap();
        let mut dev = xtask();
        dev.args(["dev", "--prebuilt", "--folder"]).arg(folder.join(".dev"));
        dev.arg("--policy").arg(folder.join("portcullis.toml"));
        for (flag, port) in flags.iter().zip(ports) {
            dev.arg(flag).arg(port.to_string());
        }
        dev.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Self(dev.spawn().unwrap(), log)
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        loop {
            let log = std::fs::read_to_string(&self.1).unwrap_or_default();
            if log.contains("Portcullis is up") {
                return;
            }
            let ended = self.0.try_wait().unwrap();
            let late = begun.elapsed() > Duration::from_secs(120);
            assert!(ended.is_none() && !late, "{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}
