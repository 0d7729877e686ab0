//! Errors in the configuration of tokens. None of them contains a secret.

use std::fmt;

/// An error in GATEWAY_TOKENS or in the file of GATEWAY_TOKENS_FILE. Its text does not name the
/// setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenError {
    /// GATEWAY_TOKENS has an entry other than `name=token` or `name:role=token`, at this position.
    EntryFormat(usize),
    /// The file is not the expected TOML; the text says where and what is expected.
    FileFormat(String),
    /// There is no token at all.
    Missing,
    NameFormat,
    /// An error in the token of this name.
    Token(String, TokenErrorKind),
}

/// An error in one token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenErrorKind {
    AlsoNever,
    AlsoUnused,
    HashFormat,
    NameTwice,
    RoleUnknown,
    /// An error in the rule at this position, counted from 1.
    Rule {
        position: usize,
        kind: RuleErrorKind,
    },
    RulesMissing,
    RulesUnused,
    SecretAndHash,
    SecretMissing,
    SecretShort,
    SecretTwice,
}

/// An error in one rule of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RuleErrorKind {
    CommandNever,
    CommandUnbounded,
    CommandsMissing,
    PrefixEmpty,
    ScriptFormat,
    ScriptsMissing,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntryFormat(position) => write!(
                f,
                "entry {position} must be name=token or name:read=token, the name of 1 to 64 letters, \
                 digits, '-', '_' or '.'",
            ),
            Self::FileFormat(why) => f.write_str(why),
            Self::Missing => f.write_str(
                "neither it nor GATEWAY_TOKENS_FILE nor tokens.file has a token; give name=token",
            ),
            Self::NameFormat => {
                f.write_str("a name must be 1 to 64 letters, digits, '-', '_' or '.'")
            }
            Self::Token(name, kind) => write!(f, "token {name}: {kind}"),
        }
    }
}

impl fmt::Display for TokenErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlsoNever => {
                "`also` names a command that would change or block a shared connection; remove it"
            }
            Self::AlsoUnused => "`also` is for role \"full\"; remove it, or change the role",
            Self::HashFormat => "`sha256` must be 64 hexadecimal digits",
            Self::NameTwice => "another token has the same name; rename one",
            Self::RoleUnknown => "the role must be full or read, or custom (in the file only)",
            Self::Rule { position, kind } => return write!(f, "rule {position}: {kind}"),
            Self::RulesMissing => {
                "role \"custom\" needs `rules`, such as [{ commands = [\"GET\"], key_prefixes = \
                 [\"app:\"] }]"
            }
            Self::RulesUnused => "`rules` are for role \"custom\"; remove them, or change the role",
            Self::SecretAndHash => "both `secret` and `sha256` are given; remove one",
            Self::SecretMissing => "neither `secret` nor `sha256` is given; give one",
            Self::SecretShort => "the secret must be at least 32 characters",
            Self::SecretTwice => "another token has the same secret; generate one for each",
        })
    }
}

impl fmt::Display for RuleErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandNever => {
                "`commands` names one that would change or block a shared connection; remove it"
            }
            Self::CommandUnbounded => {
                "`commands` names one that reaches keys outside `key_prefixes`; remove it"
            }
            Self::CommandsMissing => "`commands` is empty; name at least one",
            Self::PrefixEmpty => {
                "`key_prefixes` is empty, or has an empty prefix; remove it to allow all keys"
            }
            Self::ScriptFormat => {
                "`scripts` must hold SHA-1s, 40 hexadecimal digits each, or be [\"*\"] for all"
            }
            Self::ScriptsMissing => {
                "`commands` runs scripts, so `scripts` must list their SHA-1s, or be [\"*\"]"
            }
        })
    }
}
