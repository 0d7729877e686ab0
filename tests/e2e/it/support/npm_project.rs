//! A folder in which the npm packages are installed, as people have them who do not have Rust.

use crate::support::process::Folder;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A folder in which the packages are installed.
pub struct Project {
    pub folder: Folder,
}

impl Project {
    /// Installs what a project needs that runs.
    pub fn new() -> Self {
        Self::with(&["portcullis", "portcullis-linux-x64"])
    }

    /// Installs packages from their archives in target/npm.
    pub fn with(names: &[&str]) -> Self {
        let folder = Folder::new();
        // Without it, npm would install into the workspace around the folder.
        folder.write("package.json", "{}\n");
        let project = Self { folder };
        let archives: Vec<String> = names.iter().map(|name| archive(name)).collect();
        let mut install = vec!["install", "--offline", "--no-audit", "--no-fund"];
        install.extend(archives.iter().map(String::as_str));
        project.run("npm", &install);
        // A person installs wrangler from the registry.
        for (name, target) in
            [("wrangler", "wrangler"), (".bin/wrangler", "wrangler/bin/wrangler.js")]
        {
            let target = format!("{ROOT}/node_modules/{target}");
            std::os::unix::fs::symlink(target, project.path("node_modules").join(name)).unwrap();
        }
        project
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.file(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Returns a command that finds no cargo.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path("")).env("PATH", path_without_cargo());
        command.env("WRANGLER_SEND_METRICS", "false").env("CLOUDFLARE_CF_FETCH_ENABLED", "false");
        command
    }

    /// Runs a command that must succeed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.command(program, arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", both(&output));
        output
    }

    pub fn portcullis(&self, arguments: &[&str]) -> Output {
        self.command("npx", &[&["--offline", "portcullis"], arguments].concat()).output().unwrap()
    }

    pub fn init(&self, arguments: &[&str]) {
        let output = self.portcullis(&[&["init", "--name", "gate"], arguments].concat());
        assert!(output.status.success(), "{}", both(&output));
        assert!(text(&output).contains("0 errors"), "{}", both(&output));
    }
}

/// Returns the archive of a package.
fn archive(name: &str) -> String {
    let folder = format!("{ROOT}/target/npm");
    let package = std::fs::read_to_string(format!("{folder}/{name}/package.json")).unwrap();
    let package: Value = serde_json::from_str(&package).unwrap();
    format!("{folder}/{name}-{}.tgz", package["version"].as_str().unwrap())
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

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn both(output: &Output) -> String {
    format!("{}{}", text(output), String::from_utf8_lossy(&output.stderr))
}
