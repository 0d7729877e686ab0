//! The permissions of a token.

use crate::command::{self, Access, CommandSpec, argument_is};
use crate::script::script_sha1;
use redis_rest::Command;
use std::collections::BTreeSet;

/// The permissions of a token.
pub enum Role {
    /// The commands that one of its rules permits.
    Custom(CustomRole),
    /// All commands except dangerous and unknown ones, which `also` must name.
    Full { also: BTreeSet<String> },
    /// Reads of single keys: no writes, and no listing of keys.
    Read,
    /// All known commands, dangerous ones included.
    Unrestricted,
}

/// The permissions of a token with role "custom".
pub struct CustomRole {
    /// A command needs one rule that permits it.
    pub rules: Vec<Rule>,
}

/// Commands, and the keys and scripts that they may name.
pub struct Rule {
    /// Their names in capitals.
    pub commands: BTreeSet<String>,
    /// `None` permits all keys.
    pub key_prefixes: Option<Vec<String>>,
    /// The SHA-1 of each script that may run. `None` permits all scripts.
    pub scripts: Option<BTreeSet<String>>,
}

impl Role {
    /// Returns the error for a command that this role does not permit; `None` if it does.
    pub fn refusal(&self, command: &Command, spec: Option<&CommandSpec>) -> Option<String> {
        let access = spec.map(|spec| spec.access);
        match self {
            Self::Full { also } => match access {
                Some(Access::Any | Access::Full | Access::Never | Access::Read) => None,
                Some(Access::Dangerous) if contains(also, command) => None,
                Some(Access::Dangerous) => Some(denied(
                    command,
                    ": it is dangerous, and the token's `also` does not name it",
                )),
                None if contains(also, command) || is_module_command(command) => None,
                None => Some(format!(
                    "ERR unknown command '{}' (a token's `also` can name one that is new)",
                    command::display_name(command)
                )),
            },
            Self::Read => match access {
                Some(Access::Any | Access::Read) => excess(command),
                Some(Access::Dangerous | Access::Full | Access::Never) | None => {
                    Some(denied(command, ": the token may only read"))
                }
            },
            Self::Custom(custom) => custom.refusal(command).or_else(|| excess(command)),
            Self::Unrestricted if access.is_some() || is_module_command(command) => None,
            Self::Unrestricted => {
                Some(format!("ERR unknown command '{}'", command::display_name(command)))
            }
        }
    }

    /// Returns whether this role permits SUBSCRIBE or PSUBSCRIBE to these channels or patterns.
    pub fn may_subscribe(&self, command: &str, channels: &[Vec<u8>]) -> bool {
        match self {
            Self::Full { .. } | Self::Unrestricted => true,
            Self::Read => false,
            Self::Custom(custom) => custom.may_subscribe(command, channels),
        }
    }

    /// Returns whether this role permits MONITOR.
    pub fn may_monitor(&self) -> bool {
        match self {
            Self::Full { also } => also.contains("MONITOR"),
            Self::Read => false,
            Self::Unrestricted => true,
            Self::Custom(custom) => custom.may_monitor(),
        }
    }

    /// Returns the error for commands that this role does not permit in one transaction.
    ///
    /// Redis holds the replies of a whole transaction at once.
    pub fn transaction_refusal(&self, commands: &[Command]) -> Option<String> {
        let values = || commands.iter().map(command::values).sum::<usize>();
        let is_bounded = matches!(self, Self::Custom(_) | Self::Read);
        let is_too_large = is_bounded && values() > VALUES_MAX;
        is_too_large.then(|| {
            let advice = "send a pipeline instead";
            format!(
                "NOPERM this token may name at most {VALUES_MAX} values a transaction; {advice}"
            )
        })
    }
}

impl CustomRole {
    /// Returns the error for a command unless its rules permit it for each of its keys.
    ///
    /// The keys may be covered by several rules together. Each of these must list the command, and
    /// its script.
    fn refusal(&self, command: &Command) -> Option<String> {
        let name = command::display_name(command);
        let mut rules: Vec<&Rule> =
            self.rules.iter().filter(|rule| rule.commands.contains(&name)).collect();
        if rules.is_empty() {
            return Some(denied(command, ""));
        }
        rules.retain(|rule| rule.permits_script(command));
        if rules.is_empty() {
            return Some(denied(command, " with this script"));
        }
        if rules.iter().any(|rule| rule.key_prefixes.is_none()) {
            return None;
        }
        if command::leaves_database(command) {
            return Some(denied(command, " into another database"));
        }
        let Some(keys) = command::keys(command) else {
            return Some(denied(command, ": its keys can't be determined"));
        };
        let is_permitted = |key: &[u8]| rules.iter().any(|rule| rule.has_prefix_of(key));
        (!keys.into_iter().all(is_permitted)).then(|| denied(command, " for this key"))
    }

    fn may_subscribe(&self, command: &str, channels: &[Vec<u8>]) -> bool {
        let rules: Vec<&Rule> =
            self.rules.iter().filter(|rule| rule.commands.contains(command)).collect();
        !rules.is_empty()
            && channels
                .iter()
                .all(|channel| rules.iter().any(|rule| rule.permits_channel(command, channel)))
    }

    fn may_monitor(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.commands.contains("MONITOR") && rule.key_prefixes.is_none())
    }
}

impl Rule {
    fn permits_script(&self, command: &Command) -> bool {
        self.scripts.as_ref().is_none_or(|scripts| may_run(scripts, command))
    }

    fn has_prefix_of(&self, key: &[u8]) -> bool {
        let has_prefix = |prefix: &String| key.starts_with(prefix.as_bytes());
        self.key_prefixes.as_ref().is_none_or(|prefixes| prefixes.iter().any(has_prefix))
    }

    fn permits_channel(&self, command: &str, channel: &[u8]) -> bool {
        let Some(prefixes) = &self.key_prefixes else { return true };
        // A pattern that starts with a prefix matches only channels with that prefix, unless the
        // prefix itself contains wildcards.
        let is_literal =
            |prefix: &str| command == "SUBSCRIBE" || !prefix.contains(['*', '?', '[', '\\']);
        prefixes.iter().any(|prefix| is_literal(prefix) && channel.starts_with(prefix.as_bytes()))
    }
}

fn denied(command: &Command, why: &str) -> String {
    format!("NOPERM this token may not send '{}'{why}", command::display_name(command))
}

/// Returns the error for a command whose reply may be far larger than the data that it reads.
fn excess(command: &Command) -> Option<String> {
    if is_random(command) && !is_small(command.text(2)) {
        return Some(denied(command, " with so large a count"));
    }
    let is_too_large = command::values(command) > VALUES_MAX;
    is_too_large.then(|| denied(command, &format!(" for more than {VALUES_MAX} values")))
}

fn contains(names: &BTreeSet<String>, command: &Command) -> bool {
    names.contains(&command::display_name(command))
}

/// Returns whether a command belongs to a module, that is, its name has a dot.
///
/// No known module has a command that changes the state of a connection.
fn is_module_command(command: &Command) -> bool {
    command.name().contains('.')
}

/// Returns whether a command draws random members. A negative count returns members repeatedly.
fn is_random(command: &Command) -> bool {
    let names = ["HRANDFIELD", "SRANDMEMBER", "VRANDMEMBER", "ZRANDMEMBER"];
    names.iter().any(|name| argument_is(command, 0, name))
}

fn is_small(count: Option<&str>) -> bool {
    count.is_none_or(|count| count.parse::<i64>().is_ok_and(|count| count >= -RANDOM_COUNT_MAX))
}

fn may_run(scripts: &BTreeSet<String>, command: &Command) -> bool {
    let is = |name: &str| argument_is(command, 0, name);
    let is_permitted = |index: usize| {
        command.words().get(index).is_some_and(|script| scripts.contains(&script_sha1(script)))
    };
    if is("EVAL") || is("EVAL_RO") {
        is_permitted(1)
    } else if is("EVALSHA") || is("EVALSHA_RO") {
        command.text(1).is_some_and(|name| scripts.contains(&name.to_ascii_lowercase()))
    } else if is("SCRIPT") {
        (argument_is(command, 1, "LOAD") && is_permitted(2)) || argument_is(command, 1, "EXISTS")
    } else {
        // A function is called by its name, not by its SHA-1.
        !is("FCALL") && !is("FCALL_RO")
    }
}

/// The most repeated random members that a token may draw at once.
const RANDOM_COUNT_MAX: i64 = 1000;
/// The most values that a token may name in one command or transaction, which Redis answers as a
/// whole. A pipeline may name more, because it is sent in steps.
const VALUES_MAX: usize = 128;
