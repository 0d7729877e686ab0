//! Processes, folders and ports that end with their test.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A process that ends with the test, together with its children: it leads a process group. A
/// static is never dropped. The process of a static ends with the tests' own process, which closes
/// the pipe that its guard reads. The guard leads a group of its own, because Ctrl-C and the end of
/// a timeout signal the group of the tests.
pub struct Process {
    child: Child,
    guard: Child,
    pub log: PathBuf,
}

impl Process {
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let output = std::fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.process_group(0).spawn().unwrap();
        let mut guard = Command::new("sh");
        guard.args(["-c", "cat > /dev/null; kill -9 \"-$1\"", "guard"]);
        guard.arg(child.id().to_string()).process_group(0);
        let guard = guard.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, guard, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the exit status.
    pub fn ended(&mut self, seconds: u64) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it goes on:\n{}", self.text());
    }

    /// Waits until the log contains this text, and returns the log.
    pub async fn says(&self, text: &str) -> String {
        self.says_within(text, 20).await
    }

    /// Does the same for so many seconds.
    pub async fn says_within(&self, text: &str, seconds: u64) -> String {
        let begun = Instant::now();
        loop {
            let log = self.text();
            if log.contains(text) {
                return log;
            }
            assert!(begun.elapsed() < Duration::from_secs(seconds), "{text} is not in:\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guard is killed first, while the process id still belongs to the child.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

/// Runs the command `health` of a server with this environment alone. Returns its exit status and
/// what it prints.
pub fn health(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut command = Command::new(Path::new(root).join("target/debug").join(program));
    command.arg("health").args(arguments).env_clear().envs(environment.iter().copied());
    let output = command.current_dir("/").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// Returns the command that runs `wrangler dev` for a folder on a loopback port.
pub fn wrangler_dev(folder: &Folder, port: u16) -> Command {
    let bin = concat!(env!("CARGO_MANIFEST_DIR"), "/../../node_modules/.bin");
    let mut wrangler = Command::new(format!("{bin}/wrangler"));
    wrangler.args(["dev", "--ip", "127.0.0.1", "--port", &port.to_string()]);
    wrangler.args(["--inspector-port", "0", "--show-interactive-dev-session=false"]);
    wrangler.env("WRANGLER_SEND_METRICS", "false").env("CLOUDFLARE_CF_FETCH_ENABLED", "false");
    wrangler.env("WRANGLER_HIDE_BANNER", "true").current_dir(folder.file(""));
    // wrangler needs the version of Node that is installed with it.
    let path = std::env::var("PATH").unwrap_or_default();
    wrangler.env("PATH", format!("{bin}:{path}"));
    wrangler
}

/// A folder that is deleted with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("servers-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.file(name);
        std::fs::write(&file, text).unwrap();
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns free ports, which no other stack or test takes meanwhile.
pub fn free_ports<const N: usize>() -> [u16; N] {
    xtask_ports::free_ports().unwrap()
}

pub fn wait_for_port(port: u16, process: &Process) {
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "port {port}:\n{}", process.text());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a server as every test does, and waits. The next test starts and interrupts this one.
#[test]
#[ignore = "is started by another test"]
fn test_with_a_server() {
    let folder = Folder::new();
    let server = Process::start(Command::new("sleep").arg("60"), folder.file("log"));
    println!("server {}", server.pid());
    std::thread::sleep(Duration::from_secs(60));
}

/// Ctrl-C signals the whole process group of a test run.
#[test]
fn interrupted_tests_leave_no_server_behind() {
    // A shell lets its background jobs ignore the signal.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(std::env::current_exe().unwrap());
    let test = "support::process::test_with_a_server";
    command.args(["--ignored", "--nocapture", "--exact", test]);
    let tests = command.stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).spawn();
    let mut tests = tests.unwrap();
    let mut lines = BufReader::new(tests.stdout.take().unwrap()).lines();
    let pid = lines.find_map(|line| {
        line.unwrap().split_once("server ").and_then(|(_, pid)| pid.parse::<u32>().ok())
    });
    let stat = format!("/proc/{}/stat", pid.unwrap());
    assert!(Path::new(&stat).exists());
    let group = format!("-{}", tests.id());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    assert_eq!(tests.wait().unwrap().signal(), Some(2), "the run ended otherwise");
    let begun = Instant::now();
    // What has ended and has not been waited for is a zombie.
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(begun.elapsed() < Duration::from_secs(5), "the server still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}
