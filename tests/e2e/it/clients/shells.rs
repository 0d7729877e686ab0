//! The command lines of both servers: their completions in bash, and their help.

use crate::support::process::Folder;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 2] = ["portcullis-auth", "portcullis-redis-gateway"];

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug").join(name)
}

fn output(command: &mut Command) -> String {
    let output = command.env_clear().env("PATH", "/usr/bin:/bin").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && error.is_empty(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Completes as bash does: it calls the function that `complete` registered, with the words so far.
const COMPLETE: &str = r#"
    # The builtin works in a completion by bash itself alone.
    compopt() { :; }
    . "$1"; shift
    function=$(complete -p "$1" | sed 's/.* -F \([^ ]*\).*/\1/')
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    "$function" "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
fn bash_completes_commands_flags_and_files() {
    let folder = Folder::new();
    folder.write("auth.toml", "");
    let check = |name: &str, words: &[&str], expect: &[&str]| {
        let script = output(Command::new(program(name)).args(["completions", "bash"]));
        let script = folder.write(name, &script);
        output(Command::new("bash").arg("-n").arg(&script));
        let mut bash = Command::new("bash");
        bash.args(["-c", COMPLETE, "complete"]).arg(&script).arg(name).args(words);
        let reply = output(bash.current_dir(folder.file("")));
        assert_eq!(reply.lines().collect::<Vec<_>>(), expect, "{name} {words:?}");
    };
    let [auth, gateway] = PROGRAMS;
    check(auth, &["ke"], &["key", "keys"]);
    check(auth, &["keys", "ro"], &["rotate"]);
    check(auth, &["keys", "rotate", "--comp"], &["--compromised"]);
    check(auth, &["serve", "--access-token"], &["--access-token-format", "--access-token-seconds"]);
    check(auth, &["serve", "--config", "au"], &["auth.toml"]);
    check(auth, &["completions", "f"], &["fish"]);
    check(gateway, &["h"], &["health", "help"]);
    check(gateway, &["--redis-se"], &["--redis-sentinel-username"]);
    check(gateway, &["health", "--r"], &["--ready"]);
}

#[test]
fn other_shells_have_a_script_too() {
    for name in PROGRAMS {
        for (shell, begin) in [("zsh", "#compdef "), ("fish", "# Print ")] {
            let script = output(Command::new(program(name)).args(["completions", shell]));
            assert!(script.contains("health"), "{shell}");
            assert!(script.starts_with(begin), "{shell}: {script}");
        }
    }
}

#[test]
fn help_fits_a_terminal_and_has_every_part() {
    for name in PROGRAMS {
        let help = output(Command::new(program(name)).arg("--help"));
        for part in ["Usage:", "Commands:", "Options:", "Secrets:", "Exit status:", "Examples:"] {
            assert!(help.contains(&format!("\n{part}")), "{name} lacks {part}: {help}");
        }
        let long = help.lines().find(|line| line.chars().count() > 100);
        assert_eq!(long, None, "{name}");
        // Every command of the examples is valid as far as its help.
        let examples = help.split("\nExamples:\n").nth(1).unwrap();
        for line in examples.lines() {
            let line = line.split(['<', '>']).next().unwrap().replace('"', "");
            output(Command::new(program(name)).args(line.split_whitespace().skip(1)).arg("--help"));
        }
    }
}
