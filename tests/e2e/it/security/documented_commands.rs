//! The documented commands that generate secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs each documented command that generates a secret in a shell in a clone, as a user with the
/// usual umask. No command may leave a file in the clone, or a file that others can read.
#[test]
fn documented_commands_keep_secrets_out_of_the_clone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documented-commands");
    let _ = fs::remove_dir_all(&work);
    let (clone, home, bin) = (work.join("clone"), work.join("home"), work.join("bin"));
    for folder in [&clone, &home, &bin] {
        fs::create_dir_all(folder).unwrap();
    }
    let program = "#!/bin/sh\ncat > /dev/null\n";
    fs::write(bin.join("npx"), program).unwrap();
    fs::set_permissions(bin.join("npx"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(clone.join("docs")).unwrap();
    for file in [".gitignore", "docs/redis-gateway-tokens.toml"] {
        fs::copy(root.join(file), clone.join(file)).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let shell = |script: &str| {
        let mut bash = Command::new("bash");
        bash.args(["-c", script]).current_dir(&clone).env("HOME", &home).env("PATH", &path);
        let output = bash.output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    shell("git init --quiet && git add --all");
    let examples = [
        "browser-session",
        "memcached",
        "opaque-tokens",
        "own-redis",
        "service-binding",
        "upstash",
    ];
    let examples = examples.map(|name| format!("examples/{name}/README.md"));
    let pages = ["README.md", "docs/redis-gateway.md"].map(str::to_owned);
    for page in pages.iter().chain(&examples) {
        let page_text = fs::read_to_string(root.join(page)).unwrap();
        let commands = secret_commands(&page_text);
        assert!(commands.len() >= 3, "{page}: {commands:?}");
        shell(&format!("set -e\numask 022\n{}", commands.join("\n")));
    }
    assert_eq!(shell("git ls-files --others"), "", "new files in the clone");
    let made = files(&home);
    assert!(made.len() >= 3, "{made:?}");
    for file in made {
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{}: others may read it, {mode:o}", file.display());
    }
}

/// Returns the commands that make a secret or write one to a file.
fn secret_commands(page: &str) -> Vec<&str> {
    let commands = page.lines().filter_map(|line| line.strip_prefix("    "));
    let makes =
        |line: &&str| ["openssl rand", "umask", "sed \"s/"].iter().any(|w| line.contains(w));
    commands.filter(makes).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
