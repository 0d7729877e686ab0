//! An auth service for one test, with a user and without a store.

use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::stack::RECORD_ENCRYPTION_KEY;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A running auth service.
pub struct AuthService {
    pub url: String,
    pub admin_url: String,
    pub process: Process,
    folder: Folder,
}

impl AuthService {
    pub const USERNAME: &str = "u";

    /// Starts an auth service whose user has the password `password`, and waits until it listens.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let database = format!("sqlite://{}", folder.file("auth.db").display());
        let command = || command(&database);
        add_user(command(), Self::USERNAME, "");
        let [port, admin_port] = free_ports();
        let mut serve = command();
        serve
            .arg("serve")
            .env("ISSUER", "https://a.example")
            .env("AUDIENCE", "a")
            .env("STORE_URL", "http://127.0.0.1:1")
            .env("STORE_TOKEN", "none")
            .env("MASTER_KEY", RECORD_ENCRYPTION_KEY)
            .env("AUTH_LISTEN", format!("127.0.0.1:{port}"))
            .env("AUTH_ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"))
            .env("LOGIN_ATTEMPTS_PER_USERNAME", "0")
            .env("LOGIN_ATTEMPTS_PER_ADDRESS", "0")
            .envs(settings.iter().copied());
        let process = Process::start(&mut serve, folder.file("auth.log"));
        wait_for_port(port, &process);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        Self { url: url(port), admin_url: url(admin_port), process, folder }
    }

    /// Adds a user with a scope and the password `password`.
    pub fn add_user(&self, username: &str, scope: &str) {
        let database = format!("sqlite://{}", self.folder.file("auth.db").display());
        add_user(command(&database), username, scope);
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Returns host and port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

fn command(database: &str) -> Command {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut command = Command::new(Path::new(root).join("target/debug/portcullis-auth"));
    command.env("DATABASE_URL", database);
    command
}

fn add_user(mut command: Command, username: &str, scope: &str) {
    command.args(["user", "add", "--username", username, "--scope", scope]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"password").unwrap();
    assert!(child.wait().unwrap().success());
}
