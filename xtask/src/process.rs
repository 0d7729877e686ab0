//! Child processes: run one step and show how it goes, or keep a server and stop it by its pid.

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{self, File};
use std::io::{IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Set by SIGINT, SIGTERM and SIGHUP: whatever is under way is to end.
pub static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(false)));

/// Listens for the signals that end us. Children are then ended by us, not left behind.
pub fn listen() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&STOP))?;
    }
    Ok(())
}

/// Whether whatever is under way is to end.
pub fn is_stopping() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// The error of what was not done because of that.
pub fn check_stop() -> Result<()> {
    if is_stopping() { bail!("stopped") } else { Ok(()) }
}

/// A step of the set-up: its place among all of them, and what it does.
pub struct Step {
    pub place: usize,
    pub of: usize,
    pub name: String,
    /// How long it may take, where it is known not to take long.
    pub seconds_max: Option<u64>,
}

/// Runs a command to its end with its output in a log, and shows the time that passes. If it fails, the
/// end of its log is the error.
pub fn step(step: &Step, command: &mut Command, log: &Path) -> Result<()> {
    let begun = Instant::now();
    let title = format!("[{}/{}] {}", step.place, step.of, step.name);
    let output = open_log(log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn().with_context(|| format!("{title}: {command:?}"))?;
    let terminal = std::io::stderr().is_terminal();
    let mut shown = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if is_stopping() || step.seconds_max.is_some_and(|most| begun.elapsed().as_secs() > most) {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
            let _ = child.wait();
            check_stop()?;
            bail!("{title} took too long; the end of {}:\n{}", log.display(), tail(log));
        }
        let seconds = begun.elapsed().as_secs();
        if terminal && seconds > 0 {
            eprint!("\r{title} … {seconds} s ");
        } else if !terminal && seconds >= shown + 20 {
            shown = seconds;
            eprintln!("{title} … {seconds} s");
        }
        let _ = std::io::stderr().flush();
        std::thread::sleep(Duration::from_millis(100));
    };
    let seconds = begun.elapsed().as_secs_f32();
    if status.success() {
        let begin = if terminal { "\r" } else { "" };
        eprintln!("{begin}{title}: done in {seconds:.1} s          ");
        return Ok(());
    }
    bail!("{title} failed ({status}); the end of {}:\n{}", log.display(), tail(log));
}

/// A server that was started, with its log.
pub struct Server {
    pub name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a server in a process group of its own, so that Ctrl-C reaches it through us alone.
    pub fn start(name: &'static str, command: &mut Command, log: PathBuf) -> Result<Self> {
        let output = open_log(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        die_with_parent(command);
        let child = command.spawn().with_context(|| format!("can't start {name}: {command:?}"))?;
        Ok(Self { name, child, log })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// That it ended, with the end of its log.
    pub fn obituary(&self, status: ExitStatus) -> String {
        format!(
            "{} ended ({status}); the end of {}:\n{}",
            self.name,
            self.log.display(),
            tail(&self.log)
        )
    }

    /// Waits until `path` at `address` is answered, with a status that `accept` takes.
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
                    "{} was not ready after {} s; the end of {}:\n{}",
                    self.name,
                    patience.as_secs(),
                    self.log.display(),
                    tail(&self.log)
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }
}

impl Drop for Server {
    /// Asks it to end, and after a while ends it and what it started.
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id().cast_signed());
        if self.ended().is_none() {
            self.signal(Signal::SIGTERM);
            let begun = Instant::now();
            while self.ended().is_none() && begun.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// The status that an HTTP server answers with, if there is one that does so within a second.
pub fn http_status(address: SocketAddr, path: &str) -> Option<u16> {
    let wait = Some(Duration::from_secs(1));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()?;
    stream.set_read_timeout(wait).ok()?;
    stream.set_write_timeout(wait).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// Status and body of an answer to a POST of JSON, within some seconds. More fields come each with its line's end.
pub fn http_post(
    address: SocketAddr,
    path: &str,
    fields: &str,
    body: &Value,
) -> Result<(u16, String)> {
    let body = body.to_string();
    let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    http(address, &format!("POST {path} HTTP/1.1\r\n{head}{fields}"), &body)
}

/// The same of a GET.
pub fn http_get(address: SocketAddr, path: &str, fields: &str) -> Result<(u16, String)> {
    http(address, &format!("GET {path} HTTP/1.1\r\n{fields}"), "")
}

fn http(address: SocketAddr, head: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "{head}host: {address}\r\nconnection: close\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.get(9..12).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// The end of a log.
pub fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(8192)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default();
    last.iter().map(|line| format!("  | {line}\n")).collect()
}

/// Writes a file that its owner alone may read.
pub fn write_private(file: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut handle = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    handle.write_all(text.as_bytes())?;
    Ok(())
}

/// Writes a private file as a whole: whoever reads it sees all of it or none.
pub fn write_atomically(file: &Path, text: &str) -> Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}.tmp", std::process::id()));
    let draft = PathBuf::from(draft);
    write_private(&draft, text)?;
    fs::rename(&draft, file).with_context(|| format!("can't write {}", file.display()))
}

fn open_log(log: &Path) -> Result<File> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create(log).with_context(|| format!("can't write {}", log.display()))
}

/// Were we to be killed without a chance to stop them, our children would go on for ever.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let die = || nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(Into::into);
    #[expect(unsafe_code, reason = "one system call, which is safe to make between fork and exec")]
    // SAFETY: the closure only calls prctl, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(die);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}
