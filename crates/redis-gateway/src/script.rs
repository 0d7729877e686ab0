//! Scripts that ask for key locking, which Upstash has and Redis has not. The flag is taken out, which
//! gives a script another SHA-1; the name that its client knows is kept for it.

use crate::command::is;
use crate::token::script_name;
use redis_rest::{Command, Reply};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// The names that clients know, each with the name that Redis knows.
#[derive(Default)]
pub struct Scripts(Mutex<Names>);

#[derive(Default)]
struct Names {
    known: HashMap<String, String>,
    /// The oldest first; it is forgotten first.
    order: VecDeque<String>,
}

impl Scripts {
    /// Makes of a client's command the one that Redis understands. What is returned must be said of
    /// the reply by [`Renamed::mend`].
    pub fn translate(&self, command: &mut Command) -> Option<Renamed> {
        if is(command, 0, "EVAL") || is(command, 0, "EVAL_RO") {
            self.take_out(command, 1);
        } else if is(command, 0, "EVALSHA") || is(command, 0, "EVALSHA_RO") {
            self.rename(command, 1);
        } else if is(command, 0, "SCRIPT") && is(command, 1, "LOAD") {
            return self.take_out(command, 2).map(Renamed);
        } else if is(command, 0, "SCRIPT") && is(command, 1, "EXISTS") {
            (2..command.words().len()).for_each(|place| self.rename(command, place));
        }
        None
    }

    /// Takes the flag out of the script at a place; returns the client's name for it.
    fn take_out(&self, command: &mut Command, place: usize) -> Option<String> {
        let script = command.words().get(place)?;
        let plain = without_key_locking(script)?;
        let (theirs, ours) = (script_name(script), script_name(&plain));
        command.replace(place, plain);
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.known.insert(theirs.clone(), ours).is_none() {
            names.order.push_back(theirs.clone());
            if names.order.len() > NAMES_MAX
                && let Some(oldest) = names.order.pop_front()
            {
                names.known.remove(&oldest);
            }
        }
        Some(theirs)
    }

    fn rename(&self, command: &mut Command, place: usize) {
        let ours = command.text(place).and_then(|name| {
            let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            names.known.get(&name.to_ascii_lowercase()).cloned()
        });
        if let Some(ours) = ours {
            command.replace(place, ours.into_bytes());
        }
    }
}

/// The client's name for a script that was loaded under another one.
pub struct Renamed(String);

impl Renamed {
    /// Puts the client's name where Redis answered with its own.
    pub fn mend(self, reply: &mut Reply) {
        if matches!(reply, Reply::Bulk(_)) {
            *reply = Reply::text(&self.0);
        }
    }
}

/// The script without the flag `allow-key-locking`; none if it has no such flag. A first line that
/// would be left without flags goes as a whole, so that a Redis before 7, which knows none, takes the
/// script too; its line break stays, for the line numbers in errors.
fn without_key_locking(script: &[u8]) -> Option<Vec<u8>> {
    let (line, rest) = script.split_at(script.iter().position(|byte| *byte == b'\n')?);
    let line = std::str::from_utf8(line).ok()?;
    let words = line.strip_prefix("#!lua")?;
    let mut found = false;
    let mut kept: Vec<String> = Vec::new();
    for word in words.split_ascii_whitespace() {
        match word.strip_prefix("flags=") {
            Some(flags) => {
                let flags: Vec<&str> = flags.split(',').map(str::trim).collect();
                let others: Vec<&str> =
                    flags.iter().copied().filter(|flag| *flag != FLAG).collect();
                found |= others.len() < flags.len();
                if !others.is_empty() {
                    kept.push(format!("flags={}", others.join(",")));
                }
            }
            None => kept.push(word.to_owned()),
        }
    }
    found.then(|| {
        let line =
            if kept.is_empty() { String::new() } else { format!("#!lua {}", kept.join(" ")) };
        [line.as_bytes(), rest].concat()
    })
}

const FLAG: &str = "allow-key-locking";
/// Most names that are kept.
const NAMES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_taken_out() {
        fn check(script: &str, expect: Option<&str>) {
            let got = without_key_locking(script.as_bytes());
            assert_eq!(got.as_deref(), expect.map(str::as_bytes), "{script:?}");
        }
        check("#!lua flags=allow-key-locking\nreturn 1", Some("\nreturn 1"));
        check("#!lua flags=allow-key-locking\r\nreturn 1", Some("\nreturn 1"));
        check("#!lua flags=no-writes,allow-key-locking\nx", Some("#!lua flags=no-writes\nx"));
        check("#!lua  flags=allow-key-locking,no-writes \nx", Some("#!lua flags=no-writes\nx"));
        check("#!lua name=a flags=allow-key-locking\nx", Some("#!lua name=a\nx"));
        check("#!lua flags=no-writes\nx", None);
        check("#!lua\nx", None);
        check("return 1 -- flags=allow-key-locking\n", None);
        check("#!lua flags=allow-key-locking", None);
        check("", None);
    }

    #[test]
    fn a_clients_name_leads_to_the_altered_script() {
        let scripts = Scripts::default();
        let script = "#!lua flags=allow-key-locking\nreturn 1";
        let (theirs, ours) = (script_name(script.as_bytes()), script_name(b"\nreturn 1"));
        let translated = |command: Command| {
            let mut command = command;
            let renamed = scripts.translate(&mut command);
            (command, renamed)
        };
        let by_name = |name: &str| Command::new("evalsha").arg(name).arg(0);
        assert_eq!(translated(by_name(&theirs)).0, by_name(&theirs), "not met yet");
        let (command, _) = translated(Command::new("EVAL").arg(script).arg(0));
        assert_eq!(command, Command::new("EVAL").arg("\nreturn 1").arg(0));
        assert_eq!(translated(by_name(&theirs.to_uppercase())).0, by_name(&ours));
        let exists = |name: &str| Command::new("SCRIPT").arg("exists").arg("00").arg(name);
        assert_eq!(translated(exists(&theirs)).0, exists(&ours));
        let (command, renamed) = translated(Command::new("SCRIPT").arg("LOAD").arg(script));
        assert_eq!(command, Command::new("SCRIPT").arg("LOAD").arg("\nreturn 1"));
        let mut reply = Reply::text(&ours);
        renamed.unwrap().mend(&mut reply);
        assert_eq!(reply, Reply::text(&theirs));
    }

    #[test]
    fn the_names_are_bounded() {
        let scripts = Scripts::default();
        let script = |n: usize| format!("#!lua flags=allow-key-locking\nreturn {n}");
        for n in 0..=NAMES_MAX {
            scripts.translate(&mut Command::new("EVAL").arg(script(n)).arg(0));
        }
        let is_known = |n: usize| {
            let name = script_name(script(n).as_bytes());
            let mut command = Command::new("EVALSHA").arg(&name).arg(0);
            scripts.translate(&mut command);
            command.text(1) != Some(&name)
        };
        assert!(!is_known(0) && is_known(1) && is_known(NAMES_MAX));
    }
}
