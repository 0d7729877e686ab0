//! What the caller of the tests chose by environment variables.

use std::process::Command;

/// The workspace's folder.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Whether this run is the one on memcached.
pub fn on_memcached() -> bool {
    std::env::var("PORTCULLIS_STORE").is_ok_and(|store| store == "memcached")
}

/// `cargo xtask`, or the program that runs these tests for it.
pub fn xtask() -> Command {
    let mut command = match std::env::var_os("PORTCULLIS_XTASK") {
        Some(program) => Command::new(program),
        None => {
            let mut cargo = Command::new("cargo");
            cargo.arg("xtask");
            cargo
        }
    };
    command.current_dir(ROOT);
    command
}

/// Returns how long each fault lasts: 2 s next to other tests, longer for the tables of the
/// documentation.
pub fn fault_seconds() -> u64 {
    number("PORTCULLIS_FAULT_SECONDS", 2)
}

/// Returns whether faults are short: the run shares the machine with other tests and prints no
/// table.
pub fn is_short() -> bool {
    fault_seconds() < 10
}

/// Returns how long the random clients of `resilience::storm` run.
pub fn storm_seconds() -> u64 {
    number("PORTCULLIS_STORM_SECONDS", 15)
}

/// Returns how many times `resilience::crashes` kills the auth service at arbitrary moments.
pub fn crash_rounds() -> u64 {
    number("PORTCULLIS_CRASH_ROUNDS", 40)
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
