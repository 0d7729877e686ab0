//! The settings of a test run, from environment variables.

use std::process::Command;

/// The workspace's folder.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Returns whether this run uses memcached.
pub fn on_memcached() -> bool {
    std::env::var("PORTCULLIS_STORE").is_ok_and(|store| store == "memcached")
}

/// Returns `cargo xtask`, or the program that runs these tests for it.
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

/// Returns the distance of the database packets at which `resilience::crashes` kills the auth
/// service: 1 for each packet.
pub fn crash_stride() -> usize {
    usize::try_from(number("PORTCULLIS_CRASH_STRIDE", 3)).unwrap().max(1)
}

/// Returns the number of policies that are explained.
pub fn explained_policies() -> u64 {
    number("PORTCULLIS_EXPLAINED_POLICIES", 50)
}

/// Returns how long `resilience::soak` runs.
pub fn soak_seconds() -> u64 {
    number("PORTCULLIS_SOAK_SECONDS", 120)
}

/// Returns how many requests a second `resilience::soak` sends.
pub fn soak_per_second() -> u64 {
    number("PORTCULLIS_SOAK_PER_SECOND", 300)
}

/// Returns the seed of `resilience::soak`: the given one, or a new one for each run.
pub fn soak_seed() -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    number("PORTCULLIS_SOAK_SEED", u64::try_from(now % 1_000_000).unwrap())
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
