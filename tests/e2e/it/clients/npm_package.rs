//! The npm package in an empty folder, as people without Rust use it: installed from its archive,
//! `init`, `dev`, the printed lines, and a dry run of a deployment.

use crate::support::process::{Folder, Process, free_ports};
use std::path::Path;
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A folder in which the packages are installed.
struct Project {
    folder: Folder,
}

impl Project {
    fn new() -> Self {
        let folder = Folder::new();
        let project = Self { folder };
        let archives = ["portcullis", "portcullis-linux-x64"].map(|name| {
            let packed = project.run("npm", &["pack", "--silent", &format!("{ROOT}/target/npm/{name}")]);
            format!("./{}", text(&packed).trim())
        });
        let [package, programs] = &archives;
        project.run("npm", &["install", "--offline", "--no-audit", "--no-fund", package, programs]);
        // A person installs wrangler from the registry.
        for (name, target) in [("wrangler", "wrangler"), (".bin/wrangler", "wrangler/bin/wrangler.js")] {
            let target = format!("{ROOT}/node_modules/{target}");
            std::os::unix::fs::symlink(target, project.path("node_modules").join(name)).unwrap();
        }
        project
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.file(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Returns a command that finds no cargo.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path("")).env("PATH", path_without_cargo());
        command.env("WRANGLER_SEND_METRICS", "false").env("CLOUDFLARE_CF_FETCH_ENABLED", "false");
        command
    }

    /// Runs a command that must succeed.
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.command(program, arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", both(&output));
        output
    }

    fn portcullis(&self, arguments: &[&str]) -> Output {
        self.command("npx", &[&["--offline", "portcullis"], arguments].concat()).output().unwrap()
    }

    fn init(&self, arguments: &[&str]) {
        let output = self.portcullis(&[&["init", "--name", "gate"], arguments].concat());
        assert!(output.status.success(), "{}", both(&output));
        assert!(text(&output).contains("0 errors"), "{}", both(&output));
    }
}

/// Returns the folders of Node and of the system, if cargo is in none of them.
fn path_without_cargo() -> String {
    let npm = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .find(|folder| folder.join("npm").exists() && !folder.join("cargo").exists())
        .unwrap();
    let path = format!("{ROOT}/node_modules/.bin:{}:/usr/bin:/bin", npm.display());
    assert!(!path.split(':').any(|folder| Path::new(folder).join("cargo").exists()), "{path}");
    path
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn both(output: &Output) -> String {
    format!("{}{}", text(output), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn project_runs_and_deploys_without_cargo() {
    let project = Project::new();
    project.init(&["--upstream", "https://api.internal.example"]);
    for name in [".dev.vars.example", ".gitignore", "package.json", "portcullis.toml", "wrangler.jsonc"] {
        assert!(project.path(name).exists(), "{name}");
    }
    let flags = [
        "port", "auth-port", "auth-admin-port", "upstream-port", "gateway-port", "gateway-admin-port",
        "redis-port",
    ];
    let ports = free_ports::<7>();
    let mut dev = project.command("npx", &["--offline", "portcullis", "dev"]);
    dev.args(flags.iter().zip(ports).map(|(flag, port)| format!("--{flag}={port}")));
    let process = Process::start(&mut dev, project.path("dev.log"));
    let log = process.says_within("Paste, in another terminal:", 60).await;
    let lines = log.split_once("Paste, in another terminal:").unwrap().1;

    // A person pastes the lines that are printed.
    let pasted = project.run("bash", &["-ec", lines]);
    let responses: Vec<String> = text(&pasted)
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3).map(str::to_owned))
        .collect();
    assert_eq!(responses, ["401", "200", "204", "401"], "{}", both(&pasted));
    assert!(text(&pasted).contains("token_missing") && text(&pasted).contains("token_revoked"));

    // wrangler reads what init wrote, in each environment.
    for environment in [&[][..], &["--env", "staging"]] {
        let words = [&["--offline", "wrangler", "deploy", "--dry-run"], environment].concat();
        let deployed = project.run("npx", &words);
        assert!(both(&deployed).contains("UPSTREAM_URL"), "{}", both(&deployed));
    }
    project.run("npx", &["--offline", "wrangler", "types"]);
    let types = project.read("worker-configuration.d.ts");
    assert!(types.contains("STORE_TOKEN: string"), "{types}");
    project.folder.write("env.ts", "export const urls = (env: Env) => [env.UPSTREAM_URL, env.STORE_TOKEN];\n");
    let tsc = format!("{ROOT}/tests/e2e/clients/node_modules/.bin/tsc");
    project.run(&tsc, &["--noEmit", "--strict", "--skipLibCheck", "env.ts", "worker-configuration.d.ts"]);

    // dev stops all that it started.
    let mut process = process;
    let group = format!("-{}", process.pid());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    process.ended(20);
    for port in ports {
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "port {port} is taken");
    }
}

#[test]
fn projects_of_all_stores_and_providers_are_valid() {
    let project = Project::new();
    for store in ["upstash", "redis", "memcached"] {
        for provider in ["bundled", "jwt", "opaque"] {
            let folder = format!("{store}-{provider}");
            project.init(&[&folder, "--store", store, "--provider", provider]);
            let words = ["build", "--project", &folder];
            let built = project.portcullis(&words);
            assert!(built.status.success(), "{}", both(&built));
            assert!(project.read(&format!("{folder}/build/policy.js")).contains("public"));
        }
    }
}

#[test]
fn faults_are_reported_together_and_nothing_is_replaced() {
    let project = Project::new();
    let words = ["init", "--upstream", "nowhere", "--store", "disk", "--name", "A B"];
    let output = project.portcullis(&words);
    assert_eq!(output.status.code(), Some(2));
    for fault in ["--name: A B", "--upstream: nowhere", "--store: disk"] {
        assert!(both(&output).contains(fault), "{fault}: {}", both(&output));
    }
    assert!(!project.path("portcullis.toml").exists());

    project.init(&[]);
    let policy = project.read("portcullis.toml");
    let again = project.portcullis(&["init"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(both(&again).contains("already"), "{}", both(&again));

    // The version that npm installed stays, and init's script is added.
    let package = project.read("package.json");
    assert!(package.contains("file:portcullis-") && package.contains("\"deploy\""), "{package}");

    project.folder.write("portcullis.toml", &policy.replace("path = \"/api/*\"", "pat = \"/api/*\""));
    let built = project.portcullis(&["build"]);
    assert_eq!(built.status.code(), Some(1));
    assert!(both(&built).contains("did you mean path?"), "{}", both(&built));
    assert!(!project.path("build/policy.js").exists());

    project.folder.write("portcullis.toml", &policy);
    project.folder.write(".dev.vars", "MY_OWN=1\n");
    let dev = project.portcullis(&["dev"]);
    assert_eq!(dev.status.code(), Some(2), "{}", both(&dev));
    assert_eq!(project.read(".dev.vars"), "MY_OWN=1\n");
    let unknown = project.portcullis(&["deploy"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(both(&unknown).contains("unknown command deploy"), "{}", both(&unknown));
}
