//! Parses GATEWAY_TOKENS and the TOML file of GATEWAY_TOKENS_FILE.

use super::error::{RuleErrorKind, TokenError, TokenErrorKind};
use super::role::{CustomRole, Role, Rule};
use super::set::{Token, Tokens};
use crate::command::{self, Access, KeyPositions};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

impl Tokens {
    /// Parses the tokens of the variable `GATEWAY_TOKENS` and of the file, which is TOML. A secret
    /// has at least 32 characters.
    ///
    /// # Errors
    ///
    /// All errors at once, or that there is no token.
    pub fn parse(variable: Option<&str>, file: Option<&str>) -> Result<Self, Vec<TokenError>> {
        let mut errors = Vec::new();
        let mut entries = parse_variable(variable.unwrap_or_default(), &mut errors);
        match file.map(toml::from_str::<File>) {
            Some(Ok(file)) => entries.extend(file.token),
            Some(Err(error)) => errors.push(TokenError::FileFormat(describe(&error, file))),
            None => {}
        }
        if entries.is_empty() && errors.is_empty() {
            errors.push(TokenError::Missing);
        }
        let mut tokens: Vec<Token> = Vec::new();
        for entry in entries {
            let name = entry.name.clone();
            if !is_name(&name) {
                errors.push(TokenError::NameFormat);
                continue;
            }
            let mut kinds = Vec::new();
            let token = entry.check(&mut kinds);
            if let Some(token) = token {
                if tokens.iter().any(|other| other.name == token.name) {
                    kinds.push(TokenErrorKind::NameTwice);
                }
                if tokens.iter().any(|other| other.hash == token.hash) {
                    kinds.push(TokenErrorKind::SecretTwice);
                }
                tokens.push(token);
            }
            errors.extend(kinds.into_iter().map(|kind| TokenError::Token(name.clone(), kind)));
        }
        if errors.is_empty() { Ok(Self::new(tokens)) } else { Err(errors) }
    }

    /// Returns tokens that may send every known command, except for those that no token may send.
    /// Each has a name, a secret, and the number of its server.
    pub fn unrestricted<'e>(entries: impl Iterator<Item = (&'e str, &'e str, usize)>) -> Self {
        let token = |(name, secret, server): (&str, &str, usize)| Token {
            name: name.to_owned(),
            hash: Sha256::digest(secret).into(),
            server,
            role: Role::Unrestricted,
        };
        Self::new(entries.map(token).collect())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

/// A token as it is configured.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    secret: Option<String>,
    sha256: Option<String>,
    role: String,
    also: Option<Vec<String>>,
    rules: Option<Vec<RuleEntry>>,
}

/// A rule as it is configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    #[serde(default)]
    commands: Vec<String>,
    key_prefixes: Option<Vec<String>>,
    scripts: Option<Vec<String>>,
}

impl Entry {
    fn check(self, errors: &mut Vec<TokenErrorKind>) -> Option<Token> {
        let hash = self.hash(errors);
        if self.role != "custom" && self.rules.is_some() {
            errors.push(TokenErrorKind::RulesUnused);
        }
        if self.role != "full" && self.also.is_some() {
            errors.push(TokenErrorKind::AlsoUnused);
        }
        let role = match self.role.as_str() {
            "full" => {
                let also = in_capitals(self.also.unwrap_or_default());
                if also.iter().any(|name| is_never(name)) {
                    errors.push(TokenErrorKind::AlsoNever);
                }
                Role::Full { also }
            }
            "read" => Role::Read,
            "custom" => Role::Custom(parse_rules(self.rules.unwrap_or_default(), errors)),
            _ => {
                errors.push(TokenErrorKind::RoleUnknown);
                return None;
            }
        };
        Some(Token { name: self.name, hash: hash?, server: 0, role })
    }

    fn hash(&self, errors: &mut Vec<TokenErrorKind>) -> Option<[u8; 32]> {
        match (&self.secret, &self.sha256) {
            (Some(secret), None) if secret.chars().count() >= SECRET_CHARS_MIN => {
                Some(Sha256::digest(secret).into())
            }
            (Some(_), None) => {
                errors.push(TokenErrorKind::SecretShort);
                None
            }
            (None, Some(text)) => {
                let hash = parse_sha256(text);
                if hash.is_none() {
                    errors.push(TokenErrorKind::HashFormat);
                }
                hash
            }
            (Some(_), Some(_)) => {
                errors.push(TokenErrorKind::SecretAndHash);
                None
            }
            (None, None) => {
                errors.push(TokenErrorKind::SecretMissing);
                None
            }
        }
    }
}

fn parse_rules(entries: Vec<RuleEntry>, errors: &mut Vec<TokenErrorKind>) -> CustomRole {
    if entries.is_empty() {
        errors.push(TokenErrorKind::RulesMissing);
    }
    let rules = entries.into_iter().enumerate().map(|(index, entry)| {
        let mut kinds = Vec::new();
        let rule = entry.check(&mut kinds);
        let position = index + 1;
        errors.extend(kinds.into_iter().map(|kind| TokenErrorKind::Rule { position, kind }));
        rule
    });
    CustomRole { rules: rules.collect() }
}

impl RuleEntry {
    fn check(self, errors: &mut Vec<RuleErrorKind>) -> Rule {
        let commands = in_capitals(self.commands);
        if commands.is_empty() {
            errors.push(RuleErrorKind::CommandsMissing);
        }
        if commands.iter().any(|name| is_never(name)) {
            errors.push(RuleErrorKind::CommandNever);
        }
        if let Some(prefixes) = &self.key_prefixes {
            if prefixes.is_empty() || prefixes.iter().any(String::is_empty) {
                errors.push(RuleErrorKind::PrefixEmpty);
            }
            if !commands.iter().all(|name| is_bounded(name)) {
                errors.push(RuleErrorKind::CommandUnbounded);
            }
        }
        let runs_scripts = commands.iter().any(|name| SCRIPT_COMMANDS.contains(&name.as_str()));
        let scripts = match self.scripts {
            None if runs_scripts => {
                errors.push(RuleErrorKind::ScriptsMissing);
                None
            }
            None => None,
            Some(names) if names == ["*"] => None,
            Some(names) => {
                let names: BTreeSet<String> =
                    names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
                if !names.iter().all(|name| is_hex(name, 40)) {
                    errors.push(RuleErrorKind::ScriptFormat);
                }
                Some(names)
            }
        };
        Rule { commands, key_prefixes: self.key_prefixes, scripts }
    }
}

fn in_capitals(names: Vec<String>) -> BTreeSet<String> {
    names.into_iter().map(|name| name.to_ascii_uppercase()).collect()
}

/// Returns whether no token may send a command, because it would change or block a shared
/// connection.
fn is_never(name: &str) -> bool {
    // These are served as event streams, each over its own connection.
    let is_stream = matches!(name, "MONITOR" | "PSUBSCRIBE" | "SUBSCRIBE");
    !is_stream && command::find(name).is_some_and(|spec| spec.access == Access::Never)
}

/// Returns whether key prefixes can bound a command: it names all keys that it reaches, or reaches
/// none, or its scripts are listed.
fn is_bounded(name: &str) -> bool {
    let names_no_key = |keys: KeyPositions| {
        matches!(keys, KeyPositions::Span { first: 0, .. } | KeyPositions::Unknown)
    };
    match name {
        // Its destination is another database.
        "MOVE" => false,
        "PSUBSCRIBE" | "SUBSCRIBE" => true,
        _ if SCRIPT_COMMANDS.contains(&name) => true,
        _ => command::find(name)
            .is_none_or(|spec| spec.access == Access::Any || !names_no_key(spec.keys)),
    }
}

/// Parses GATEWAY_TOKENS.
///
/// A malformed entry may be a token itself, so an error names its position instead of its text.
fn parse_variable(text: &str, errors: &mut Vec<TokenError>) -> Vec<Entry> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .enumerate()
        .filter_map(|(index, entry)| {
            let parts = entry.split_once('=').and_then(|(name, secret)| {
                let (name, role) = name.split_once(':').unwrap_or((name, "full"));
                // The other roles need the file.
                let is_role = matches!(role, "full" | "read");
                let is_secret = !secret.trim_matches('=').is_empty();
                (is_name(name) && is_role && is_secret).then_some((name, role, secret))
            });
            let Some((name, role, secret)) = parts else {
                errors.push(TokenError::EntryFormat(index + 1));
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

/// Describes a TOML error without the line that the parser quotes, which may contain a secret.
fn describe(error: &toml::de::Error, text: Option<&str>) -> String {
    let before = error.span().and_then(|span| text?.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    format!(
        "line {line} is not understood; a [[token]] has name, secret or sha256, role, and also or \
         rules; a rule has commands, key_prefixes, scripts"
    )
}

/// Returns whether a text can name a token.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    if !is_hex(text, 64) {
        return None;
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// Commands for which a custom token must list its scripts.
const SCRIPT_COMMANDS: [&str; 7] =
    ["EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO", "SCRIPT"];
const SECRET_CHARS_MIN: usize = 32;
