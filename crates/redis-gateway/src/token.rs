//! Who may ask, and for what. A token is kept as its SHA-256 alone.

use crate::command::{self, Access, Facts};
use redis_rest::Command;
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use subtle::ConstantTimeEq as _;

/// All tokens that are good at this moment.
pub struct Tokens(Vec<Token>);

/// One of them.
pub struct Token {
    /// For logs and metrics.
    pub name: String,
    hash: [u8; 32],
    grant: Grant,
}

/// What a token may do.
enum Grant {
    /// These commands, on these keys.
    Custom(Custom),
    /// All but what is dangerous or unknown; of that, what is named.
    Full { also: BTreeSet<String> },
    /// Reading single keys: no writes, and nothing that shows which keys there are.
    Read,
}

struct Custom {
    commands: BTreeSet<String>,
    /// None: all keys.
    key_prefixes: Option<Vec<String>>,
    /// The SHA-1 of each script that may run; none: all.
    scripts: Option<BTreeSet<String>>,
}

/// What is wrong with the tokens. Nothing of a secret is in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenFault {
    /// GATEWAY_TOKENS has an entry that is not `name=token` or `name:role=token`.
    EntryFormat(usize),
    /// The file is not the TOML that it should be; where, and what is expected.
    FileFormat(String),
    FileUnreadable,
    /// There is no token at all.
    Missing,
    NameFormat,
    /// Of the token with this name.
    Of(String, Flaw),
}

/// What is wrong with one token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    AlsoUnused,
    CommandNever,
    CommandUnbounded,
    CommandsMissing,
    CommandsUnused,
    HashFormat,
    NameTwice,
    PrefixEmpty,
    RoleUnknown,
    ScriptFormat,
    ScriptsMissing,
    SecretAndHash,
    SecretMissing,
    SecretShort,
    SecretTwice,
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntryFormat(place) => write!(
                f,
                "GATEWAY_TOKENS: entry {place} must be name=token or name:read=token, the name of 1 to \
                 64 letters, digits, '-', '_' or '.'",
            ),
            Self::FileFormat(why) => write!(f, "GATEWAY_TOKENS_FILE: {why}"),
            Self::FileUnreadable => f.write_str("GATEWAY_TOKENS_FILE: can't be read"),
            Self::Missing => f.write_str(
                "GATEWAY_TOKENS: neither it nor GATEWAY_TOKENS_FILE has a token; give name=token",
            ),
            Self::NameFormat => f.write_str(
                "GATEWAY_TOKENS_FILE: a name must be 1 to 64 letters, digits, '-', '_' or '.'",
            ),
            Self::Of(name, flaw) => write!(f, "token {name}: {flaw}"),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlsoUnused => "`also` is for role \"full\"",
            Self::CommandNever => {
                "`commands` or `also` names a command that would change or hold up a shared \
                 connection; take it out"
            }
            Self::CommandUnbounded => {
                "it has `key_prefixes`, but `commands` names one that reaches every key; take it out"
            }
            Self::CommandsMissing => "role \"custom\" needs `commands`",
            Self::CommandsUnused => {
                "`commands`, `key_prefixes` and `scripts` are for role \"custom\""
            }
            Self::HashFormat => "`sha256` must be 64 hexadecimal digits",
            Self::NameTwice => "the name is there twice",
            Self::PrefixEmpty => {
                "`key_prefixes` holds nothing, or an empty one; leave it out to allow all keys"
            }
            Self::RoleUnknown => "the role must be full, read, or in the file also custom",
            Self::ScriptFormat => {
                "`scripts` must hold SHA-1s, 40 hexadecimal digits each, or be [\"*\"] for all"
            }
            Self::ScriptsMissing => {
                "it may run scripts, which reach all keys: name them by SHA-1 in `scripts`, or [\"*\"]"
            }
            Self::SecretAndHash => "give `secret` or `sha256`, not both",
            Self::SecretMissing => "give `secret`, or its `sha256`",
            Self::SecretShort => "the secret must be at least 32 characters",
            Self::SecretTwice => "another token has the same secret",
        })
    }
}

impl Tokens {
    /// Reads what GATEWAY_TOKENS and the file of GATEWAY_TOKENS_FILE hold, with all faults at once.
    pub fn parse(variable: Option<&str>, file: Option<&str>) -> Result<Self, Vec<TokenFault>> {
        let mut faults = Vec::new();
        let mut entries = from_variable(variable.unwrap_or_default(), &mut faults);
        match file.map(toml::from_str::<File>) {
            Some(Ok(file)) => entries.extend(file.token),
            Some(Err(error)) => faults.push(TokenFault::FileFormat(why(&error, file))),
            None => {}
        }
        if entries.is_empty() && faults.is_empty() {
            faults.push(TokenFault::Missing);
        }
        let mut tokens: Vec<Token> = Vec::new();
        for entry in entries {
            let name = entry.name.clone();
            if !is_name(&name) {
                faults.push(TokenFault::NameFormat);
                continue;
            }
            let mut flaws = Vec::new();
            let token = entry.check(&mut flaws);
            if let Some(token) = token {
                if tokens.iter().any(|other| other.name == token.name) {
                    flaws.push(Flaw::NameTwice);
                }
                if tokens.iter().any(|other| other.hash == token.hash) {
                    flaws.push(Flaw::SecretTwice);
                }
                tokens.push(token);
            }
            faults.extend(flaws.into_iter().map(|flaw| TokenFault::Of(name.clone(), flaw)));
        }
        if faults.is_empty() { Ok(Self(tokens)) } else { Err(faults) }
    }

    /// The token of this secret. All are compared, each in constant time.
    pub fn find(&self, secret: &[u8]) -> Option<&Token> {
        let hash = Sha256::digest(secret);
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.hash.ct_eq(hash.as_slice())) {
                found = Some(token);
            }
        }
        found
    }

    /// Whether the token of this hash is still good, and may do what `may` asks.
    pub fn still(&self, hash: &[u8; 32], may: impl Fn(&Token) -> bool) -> bool {
        self.0.iter().any(|token| token.hash == *hash && may(token))
    }

    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|token| token.name.as_str())
    }
}

impl Token {
    /// The SHA-256 of its secret.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Why this token may not send a command, in an error's words; none if it may.
    pub fn refusal(&self, command: &Command, facts: Option<&Facts>) -> Option<String> {
        let denied = |why: &str| {
            Some(format!("NOPERM this token may not send '{}'{why}", command::shown(command)))
        };
        match &self.grant {
            Grant::Full { also } => match facts.map(|facts| facts.access) {
                Some(Access::Any | Access::Full | Access::Never | Access::Read) => None,
                Some(Access::Dangerous) if names(also, command) => None,
                Some(Access::Dangerous) => denied(": dangerous, and not named in its `also`"),
                None if names(also, command) || is_of_a_module(command) => None,
                None => Some(format!(
                    "ERR unknown command '{}' (a token's `also` can name one that is new)",
                    command::shown(command)
                )),
            },
            Grant::Read => match facts.map(|facts| facts.access) {
                // A negative count multiplies what is there, without end.
                Some(Access::Read) if is_random(command) && !is_small(command.text(2)) => {
                    denied(" with so large a count")
                }
                Some(Access::Any | Access::Read) => None,
                Some(Access::Dangerous | Access::Full | Access::Never) | None => {
                    denied(": it may only read")
                }
            },
            Grant::Custom(custom) => {
                if !names(&custom.commands, command) {
                    return denied("");
                }
                if let Some(prefixes) = &custom.key_prefixes {
                    let Some(keys) = command::keys(command) else {
                        return denied(": its keys can't be told");
                    };
                    let ours = |key: &[u8]| {
                        prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes()))
                    };
                    if !keys.into_iter().all(ours) {
                        return denied(" for this key");
                    }
                }
                match &custom.scripts {
                    Some(scripts) if !may_run(scripts, command) => denied(" with this script"),
                    Some(_) | None => None,
                }
            }
        }
    }

    /// Whether it may follow these channels or patterns.
    pub fn may_subscribe(&self, endpoint: &str, channels: &[Vec<u8>]) -> bool {
        match &self.grant {
            Grant::Full { .. } => true,
            Grant::Read => false,
            Grant::Custom(custom) => {
                custom.commands.contains(endpoint)
                    && custom.key_prefixes.as_ref().is_none_or(|prefixes| {
                        // A pattern that begins so matches nothing that begins otherwise.
                        let is_plain = |prefix: &str| {
                            endpoint == "SUBSCRIBE" || !prefix.contains(['*', '?', '[', '\\'])
                        };
                        channels.iter().all(|channel| {
                            prefixes.iter().any(|prefix| {
                                is_plain(prefix) && channel.starts_with(prefix.as_bytes())
                            })
                        })
                    })
            }
        }
    }

    /// Whether it may see what everybody sends, values and all.
    pub fn may_monitor(&self) -> bool {
        match &self.grant {
            Grant::Full { also } => also.contains("MONITOR"),
            Grant::Read => false,
            Grant::Custom(custom) => {
                custom.commands.contains("MONITOR") && custom.key_prefixes.is_none()
            }
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.name)
    }
}

/// The SHA-1 of a script as Redis names it.
pub fn script_name(script: &[u8]) -> String {
    Sha1::digest(script).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    secret: Option<String>,
    sha256: Option<String>,
    role: String,
    also: Option<Vec<String>>,
    commands: Option<Vec<String>>,
    key_prefixes: Option<Vec<String>>,
    scripts: Option<Vec<String>>,
}

impl Entry {
    fn check(self, flaws: &mut Vec<Flaw>) -> Option<Token> {
        let hash = self.hash(flaws);
        let custom =
            self.commands.is_some() || self.key_prefixes.is_some() || self.scripts.is_some();
        if self.role != "custom" && custom {
            flaws.push(Flaw::CommandsUnused);
        }
        if self.role != "full" && self.also.is_some() {
            flaws.push(Flaw::AlsoUnused);
        }
        let grant = match self.role.as_str() {
            "full" => Grant::Full { also: command_names(self.also, flaws) },
            "read" => Grant::Read,
            "custom" => {
                Grant::Custom(Self::custom(self.commands, self.key_prefixes, self.scripts, flaws))
            }
            _ => {
                flaws.push(Flaw::RoleUnknown);
                return None;
            }
        };
        Some(Token { name: self.name, hash: hash?, grant })
    }

    fn hash(&self, flaws: &mut Vec<Flaw>) -> Option<[u8; 32]> {
        match (&self.secret, &self.sha256) {
            (Some(secret), None) if secret.chars().count() >= SECRET_CHARS_MIN => {
                Some(Sha256::digest(secret).into())
            }
            (Some(_), None) => {
                flaws.push(Flaw::SecretShort);
                None
            }
            (None, Some(text)) => {
                let hash = unhex(text);
                if hash.is_none() {
                    flaws.push(Flaw::HashFormat);
                }
                hash
            }
            (Some(_), Some(_)) => {
                flaws.push(Flaw::SecretAndHash);
                None
            }
            (None, None) => {
                flaws.push(Flaw::SecretMissing);
                None
            }
        }
    }

    fn custom(
        commands: Option<Vec<String>>,
        key_prefixes: Option<Vec<String>>,
        scripts: Option<Vec<String>>,
        flaws: &mut Vec<Flaw>,
    ) -> Custom {
        let commands = command_names(commands, flaws);
        if commands.is_empty() {
            flaws.push(Flaw::CommandsMissing);
        }
        if key_prefixes
            .as_ref()
            .is_some_and(|prefixes| prefixes.is_empty() || prefixes.iter().any(String::is_empty))
        {
            flaws.push(Flaw::PrefixEmpty);
        }
        let is_bounded = |name: &String| !UNBOUNDED.contains(&name.as_str());
        if key_prefixes.is_some() && !commands.iter().all(is_bounded) {
            flaws.push(Flaw::CommandUnbounded);
        }
        let runs_scripts = commands.iter().any(|name| SCRIPT_COMMANDS.contains(&name.as_str()));
        let scripts = match scripts {
            None if runs_scripts => {
                flaws.push(Flaw::ScriptsMissing);
                None
            }
            None => None,
            Some(names) if names == ["*"] => None,
            Some(names) => {
                let names: BTreeSet<String> =
                    names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
                if !names.iter().all(|name| is_hex(name, 40)) {
                    flaws.push(Flaw::ScriptFormat);
                }
                Some(names)
            }
        };
        Custom { commands, key_prefixes, scripts }
    }
}

/// An entry that is not understood may be a token itself, so it is known by its place.
fn from_variable(text: &str, faults: &mut Vec<TokenFault>) -> Vec<Entry> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .enumerate()
        .filter_map(|(place, entry)| {
            let parts = entry.split_once('=').and_then(|(name, secret)| {
                let (name, role) = name.split_once(':').unwrap_or((name, "full"));
                // What else a token may do is said in the file.
                let is_role = matches!(role, "full" | "read");
                let is_secret = !secret.trim_matches('=').is_empty();
                (is_name(name) && is_role && is_secret).then_some((name, role, secret))
            });
            let Some((name, role, secret)) = parts else {
                faults.push(TokenFault::EntryFormat(place + 1));
                return None;
            };
            Some(Entry {
                name: name.to_owned(),
                secret: Some(secret.to_owned()),
                role: role.to_owned(),
                ..Entry::default()
            })
        })
        .collect()
}

/// What the reader of TOML says, without the line that it quotes: a secret may stand there.
fn why(error: &toml::de::Error, text: Option<&str>) -> String {
    let before = error.span().and_then(|span| text?.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    let expected =
        ["token", "secret", "sha256", "role", "also", "commands", "key_prefixes", "scripts"];
    format!("line {line} is not understood; a [[token]] has {}", expected.join(", "))
}

fn command_names(names: Option<Vec<String>>, flaws: &mut Vec<Flaw>) -> BTreeSet<String> {
    let names: BTreeSet<String> =
        names.into_iter().flatten().map(|name| name.to_ascii_uppercase()).collect();
    let is_endpoint = |name: &str| matches!(name, "MONITOR" | "PSUBSCRIBE" | "SUBSCRIBE");
    let never = |name: &String| {
        command::facts(name).is_some_and(|facts| facts.access == Access::Never)
            && !is_endpoint(name)
    };
    if names.iter().any(never) {
        flaws.push(Flaw::CommandNever);
    }
    names
}

fn names(names: &BTreeSet<String>, command: &Command) -> bool {
    names.contains(&command::shown(command))
}

/// Modules' commands have a dot in their names, and none of them is known to change a connection.
fn is_of_a_module(command: &Command) -> bool {
    command.name().contains('.')
}

fn is_random(command: &Command) -> bool {
    let names = ["HRANDFIELD", "SRANDMEMBER", "VRANDMEMBER", "ZRANDMEMBER"];
    names.iter().any(|name| command::is(command, 0, name))
}

fn is_small(count: Option<&str>) -> bool {
    count.is_none_or(|count| count.parse::<i64>().is_ok_and(|count| count >= -COUNT_MAX))
}

fn may_run(scripts: &BTreeSet<String>, command: &Command) -> bool {
    let is = |name: &str| command::is(command, 0, name);
    if is("EVAL") || is("EVAL_RO") {
        command.words().get(1).is_some_and(|script| scripts.contains(&script_name(script)))
    } else if is("EVALSHA") || is("EVALSHA_RO") {
        command.text(1).is_some_and(|name| scripts.contains(&name.to_ascii_lowercase()))
    } else if is("SCRIPT") {
        let loads = command::is(command, 1, "LOAD")
            && command.words().get(2).is_some_and(|script| scripts.contains(&script_name(script)));
        loads || command::is(command, 1, "EXISTS")
    } else {
        // A function is not known by its text.
        !is("FCALL") && !is("FCALL_RO")
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if !is_hex(text, 64) {
        return None;
    }
    let mut hash = [0; 32];
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// Commands whose scripts a custom token must name.
const SCRIPT_COMMANDS: [&str; 7] =
    ["EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO", "SCRIPT"];
/// Commands that name no key, or more than they name.
const UNBOUNDED: [&str; 21] = [
    "ACL",
    "CLUSTER",
    "CONFIG",
    "DBSIZE",
    "DEBUG",
    "FAILOVER",
    "FLUSHALL",
    "FLUSHDB",
    "FUNCTION",
    "KEYS",
    "MIGRATE",
    "MODULE",
    "MONITOR",
    "MOVE",
    "PUBSUB",
    "RANDOMKEY",
    "REPLICAOF",
    "SCAN",
    "SLAVEOF",
    "SLOWLOG",
    "SWAPDB",
];
/// How many times over a read token may have what is drawn at random.
const COUNT_MAX: i64 = 1000;
const SECRET_CHARS_MIN: usize = 32;

#[cfg(test)]
mod tests;
