//! Scripts with key locking, a flag that Upstash supports and Redis does not.
//!
//! The flag is removed before Redis receives the script. This changes the script's SHA-1, so the
//! gateway maps the client's SHA-1 to Redis's.

use crate::command::argument_is;
use redis_rest::{Command, Reply};
use sha1::{Digest as _, Sha1};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// The clients' SHA-1s, each with Redis's SHA-1 of the same script.
#[derive(Default)]
pub struct Scripts(Mutex<Names>);

#[derive(Default)]
struct Names {
    by_client_name: HashMap<String, String>,
    /// The client's names, oldest first. The oldest is dropped first.
    order: VecDeque<String>,
}

impl Scripts {
    /// Rewrites a client's command for Redis.
    ///
    /// Pass the reply to [`Renamed::restore`] if this returns `Some`.
    pub fn rewrite(&self, command: &mut Command) -> Option<Renamed> {
        if argument_is(command, 0, "EVAL") || argument_is(command, 0, "EVAL_RO") {
            self.remove_flag(command, 1);
        } else if argument_is(command, 0, "EVALSHA") || argument_is(command, 0, "EVALSHA_RO") {
            self.replace_name(command, 1);
        } else if argument_is(command, 0, "SCRIPT") && argument_is(command, 1, "LOAD") {
            return self.remove_flag(command, 2).map(Renamed);
        } else if argument_is(command, 0, "SCRIPT") && argument_is(command, 1, "EXISTS") {
            (2..command.words().len()).for_each(|index| self.replace_name(command, index));
        }
        None
    }

    /// Removes the flag from the script in an argument. Returns the client's name for the script.
    fn remove_flag(&self, command: &mut Command, index: usize) -> Option<String> {
        let script = command.words().get(index)?;
        let plain = without_key_locking(script)?;
        let (client_name, redis_name) = (script_sha1(script), script_sha1(&plain));
        command.replace(index, plain);
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.by_client_name.insert(client_name.clone(), redis_name).is_none() {
            names.order.push_back(client_name.clone());
            if names.order.len() > NAMES_MAX
                && let Some(oldest) = names.order.pop_front()
            {
                names.by_client_name.remove(&oldest);
            }
        }
        Some(client_name)
    }

    fn replace_name(&self, command: &mut Command, index: usize) {
        let redis_name = command.text(index).and_then(|name| {
            let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            names.by_client_name.get(&name.to_ascii_lowercase()).cloned()
        });
        if let Some(redis_name) = redis_name {
            command.replace(index, redis_name.into_bytes());
        }
    }
}

/// The client's name for a script that Redis loads under another name.
pub struct Renamed(String);

impl Renamed {
    /// Replaces Redis's name for the script by the client's.
    pub fn restore(self, reply: &mut Reply) {
        if matches!(reply, Reply::Bulk(_)) {
            *reply = Reply::text(&self.0);
        }
    }
}

/// Returns a script's SHA-1 in hexadecimal, which is Redis's name for it.
pub fn script_sha1(script: &[u8]) -> String {
    Sha1::digest(script).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the script without the flag `allow-key-locking`; `None` if it does not have the flag.
///
/// A shebang line without other options is emptied, because Redis before version 7 rejects it. Its
/// line break stays, so that errors show the right line numbers.
fn without_key_locking(script: &[u8]) -> Option<Vec<u8>> {
    let (line, rest) = script.split_at(script.iter().position(|byte| *byte == b'\n')?);
    let line = std::str::from_utf8(line).ok()?;
    let options = line.strip_prefix("#!lua")?;
    let mut found = false;
    let mut remaining: Vec<String> = Vec::new();
    for option in options.split_ascii_whitespace() {
        match option.strip_prefix("flags=") {
            Some(flags) => {
                let flags: Vec<&str> = flags.split(',').map(str::trim).collect();
                let others: Vec<&str> =
                    flags.iter().copied().filter(|flag| *flag != FLAG).collect();
                found |= others.len() < flags.len();
                if !others.is_empty() {
                    remaining.push(format!("flags={}", others.join(",")));
                }
            }
            None => remaining.push(option.to_owned()),
        }
    }
    found.then(|| {
        let line = if remaining.is_empty() {
            String::new()
        } else {
            format!("#!lua {}", remaining.join(" "))
        };
        [line.as_bytes(), rest].concat()
    })
}

const FLAG: &str = "allow-key-locking";
/// The most scripts with the flag that the gateway remembers at once.
const NAMES_MAX: usize = 1000;

#[cfg(test)]
mod tests;
