//! Containers without a container runtime: a network of its own with names of its own, and programs
//! that see a root folder of their own, as a user of their own. Only root may set them up.

use crate::support::process::{Folder, Process};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A network in which all names mean its own loopback.
pub struct Sandbox {
    network: Process,
    pub folder: Folder,
}

/// What a container sees and is.
#[derive(Clone, Default)]
pub struct Container {
    /// The folder of its image; `None` for this machine's programs, with changes of its own.
    pub root: Option<PathBuf>,
    pub user: u32,
    pub workdir: String,
    pub env: Vec<(String, String)>,
    /// A file or folder of this machine, its place in the container, and whether it is read-only.
    pub mounts: Vec<(PathBuf, String, bool)>,
    pub tmpfs: Vec<String>,
    pub is_read_only: bool,
}

impl Sandbox {
    /// Starts a network in which `names` are known. Returns why, if this machine does not allow it.
    pub fn start(names: &[&str]) -> Result<Self, String> {
        let folder = Folder::new();
        let script = "ip link set lo up && echo up && exec sleep inf";
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", script]);
        let mut network = Process::start(&mut command, folder.file("network.log"));
        let begun = Instant::now();
        while network.text().trim() != "up" {
            if network.has_ended() || begun.elapsed() > Duration::from_secs(10) {
                return Err(network.text());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let hosts: String =
            ["localhost"].iter().chain(names).map(|name| format!("127.0.0.1 {name}\n")).collect();
        folder.write("hosts", &hosts);
        Ok(Self { network, folder })
    }

    /// Starts a program in a container.
    pub fn start_in(&self, container: &Container, name: &str, words: &[String]) -> Process {
        let mut command = self.command_in(container, name, words);
        Process::start(&mut command, self.folder.file(&format!("{name}.log")))
    }

    /// Runs a program in a container of its own to its end, with a text as standard input.
    pub fn run_in(&self, container: &Container, name: &str, words: &[&str], input: &str) -> Output {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let mut command = self.command_in(container, name, &words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs a program in a running container, as its user.
    pub fn run_next_to(
        &self,
        running: &Process,
        container: &Container,
        words: &[String],
    ) -> Output {
        let mut command = Command::new("env");
        command.arg("-i").args(variables(container));
        command.args(["setpriv", "--no-new-privs", "nsenter", "--mount", "--net", "--root"]);
        command.args(["--wd", "--target", &running.pid().to_string()]);
        let user = container.user.to_string();
        command.args(["--setgid", &user, "--setuid", &user]).args(words).output().unwrap()
    }

    /// Calls a URL of the network. Returns the status and the body.
    pub fn call(&self, url: &str, arguments: &[&str]) -> (u16, String) {
        let mut command = self.enter();
        command.args([
            "curl",
            "--silent",
            "--max-time",
            "10",
            "--write-out",
            "\n%{http_code}",
            url,
        ]);
        let output = command.args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or_default();
        (status.parse().unwrap_or(0), body.to_owned())
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.network.pid()));
        command
    }

    /// Returns the command that makes a container and runs a program in it: with no capability, and
    /// no way to gain one.
    fn command_in(&self, container: &Container, name: &str, words: &[String]) -> Command {
        let own = self.folder.file(&format!("{name}.root"));
        std::fs::create_dir_all(&own).unwrap();
        // Changes of the root stay in the container. The layers of an overlay must not be in one
        // another, so its own get a file system.
        let below = container.root.as_deref().unwrap_or(Path::new("/"));
        let mut script = format!(
            "set -eu; cd {}; mount -t tmpfs tmpfs .; cd \"$PWD\"; mkdir upper work root\n\
             mount -t overlay overlay -o lowerdir={},upperdir=upper,workdir=work root\n",
            own.display(),
            below.display()
        );
        let root = own.join("root");
        if container.root.is_none() {
            // Postgres looks its user up.
            let user = container.user;
            script.push_str(&format!("echo 'container:x:{user}:{user}::/:' >> root/etc/passwd\n"));
        }
        let hosts = (self.folder.file("hosts"), "/etc/hosts".to_owned(), true);
        let system = ["/proc", "/dev"].map(|path| (PathBuf::from(path), path.to_owned(), false));
        for (from, to, is_read_only) in system.iter().chain([&hosts]).chain(&container.mounts) {
            let to = inside(&root, to);
            let make = if from.is_dir() { "mkdir -p" } else { "touch" };
            script.push_str(&format!(
                "mkdir -p {}; {make} {to}; mount --bind {} {to}\n",
                Path::new(&to).parent().unwrap().display(),
                from.display()
            ));
            if *is_read_only {
                script.push_str(&format!("mount -o remount,bind,ro {to}\n"));
            }
        }
        for path in &container.tmpfs {
            let path = inside(&root, path);
            script
                .push_str(&format!("mkdir -p {path}; mount -t tmpfs -o mode=1777 tmpfs {path}\n"));
        }
        if container.is_read_only {
            script.push_str(&format!("mount -o remount,ro {}\n", root.display()));
        }
        let (user, workdir) = (container.user, &container.workdir);
        script.push_str("exec env -i \"$@\"\n");
        let mut command = self.enter();
        command.args(["unshare", "--mount", "sh", "-c", &script, "sh"]);
        command.args(variables(container)).args(["setpriv", "--no-new-privs", "unshare"]);
        command.arg(format!("--root={}", root.display())).arg(format!("--wd={workdir}"));
        command.arg(format!("--setgid={user}")).arg(format!("--setuid={user}")).args(words);
        command
    }
}

/// Returns a container's environment, as `env` takes it.
fn variables(container: &Container) -> Vec<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = match container.root {
        Some(_) => "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        None => path,
    };
    let given = container.env.iter().map(|(name, value)| format!("{name}={value}"));
    std::iter::once(format!("PATH={path}")).chain(given).collect()
}

/// Returns the place of a container's path on this machine, where /var/run is a link to /run.
fn inside(root: &Path, path: &str) -> String {
    let path = path.replace("/var/run/", "/run/");
    root.join(path.trim_start_matches('/')).display().to_string()
}
