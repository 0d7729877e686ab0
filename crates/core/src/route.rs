//! Which route a request takes: by method and path, the first that matches, none by default.

use crate::denial::Denial;
use crate::head::Head;
use crate::limit::Limit;
use crate::policy::BaseUrl;
use serde::Deserialize;

/// One line of the policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The name in logs and in the keys of its limit.
    pub name: String,
    /// Who may pass.
    pub access: Access,
    /// The methods it is for; empty: all.
    pub methods: Vec<String>,
    /// The paths it is for.
    pub pattern: Pattern,
    /// The scopes that a token must carry, all of them.
    pub scopes: Vec<String>,
    /// What the store must say of a token.
    pub mode: Mode,
    /// The limit, if there is one.
    pub limit: Option<Limit>,
    /// Where requests go, if not to the policy's upstream.
    pub upstream: Option<BaseUrl>,
}

/// Who may pass a route.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everybody, to the origin: login, refresh, logout, metadata.
    Auth,
    /// Whoever has a good token, to the upstream.
    Protected,
    /// Everybody, to the upstream.
    Public,
}

/// What the store must say of a token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A guest list: the token's record must be there, and no revocation.
    Registered,
    /// A deny list: no revocation of the token, its session or its subject.
    Unrevoked,
}

/// The paths of a route: one path, or everything below one. Kept in the form of [`Spelling`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pattern {
    /// `/x/*`: `/x` itself and what lies below it. Holds `/x`; for `/*` it is empty.
    Below(String),
    /// `/x`: this path alone, with or without a slash at its end.
    Exactly(String),
}

impl Pattern {
    /// Reads `/x` or `/x/*`; a `*` elsewhere is refused, as is a path that no request can have.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text, false),
        };
        if path.contains(['*', '?', '#', '%']) || (below && path.ends_with('/')) {
            return None;
        }
        let Spelling(path) = match path {
            "" if below => Spelling(String::new()),
            path => Spelling::of(path).ok()?,
        };
        Some(if below { Self::Below(path) } else { Self::Exactly(path) })
    }

    /// Whether `path` is one of them.
    fn matches(&self, path: &Spelling) -> bool {
        match self {
            Self::Below(base) => is_below(&path.0, base),
            Self::Exactly(exact) => path.0 == *exact || path.0.strip_suffix('/') == Some(exact),
        }
    }

    /// Whether every path of `other` is one of these.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Below(base), Self::Below(path) | Self::Exactly(path)) => is_below(path, base),
            (Self::Exactly(exact), Self::Exactly(path)) => exact == path,
            (Self::Exactly(_), Self::Below(_)) => false,
        }
    }
}

fn is_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path as routes are compared: percent-decoded once, in lower case. Servers differ in whether
/// `/Admin`, `/%61dmin` and `/admin` are one; for the gate they are, so that no spelling of a path
/// escapes the route that is meant for it.
struct Spelling(String);

impl Spelling {
    /// Refuses a path that no one spelling stands for: dot and empty segments, path parameters, and
    /// encoded characters that would have changed its segments.
    fn of(path: &str) -> Result<Self, Denial> {
        let plain = path.starts_with('/')
            && path.len() <= PATH_BYTES_MAX
            && !path.contains("//")
            && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\' && b != b';');
        if !plain || path.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(Denial::PathAmbiguous);
        }
        let mut spelling = String::with_capacity(path.len());
        let mut parts = path.split('%');
        spelling.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let hex = part.get(..2).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                None | Some(0..=0x1f | 0x7f | b'.' | b'/' | b';' | b'\\' | b'%') => {
                    return Err(Denial::PathAmbiguous);
                }
                Some(octet) if octet.is_ascii() => {
                    spelling.push(char::from(octet));
                    spelling.push_str(part.get(2..).unwrap_or_default());
                }
                Some(_) => {
                    spelling.push('%');
                    spelling.push_str(part);
                }
            }
        }
        spelling.make_ascii_lowercase();
        Ok(Self(spelling))
    }
}

impl Route {
    /// Whether the route is for `method` and `path`.
    fn matches(&self, method: &str, path: &Spelling) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|m| m == method))
            && self.pattern.matches(path)
    }

    /// Whether no request that `other` is for would come past this route.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let every_method = self.methods.is_empty()
            || (!other.methods.is_empty()
                && other.methods.iter().all(|m| self.methods.contains(m)));
        every_method && self.pattern.covers(&other.pattern)
    }
}

/// The first route that matches. A path that could be read in two ways matches none; nor does a
/// request whose head is larger than any that a client needs.
pub(crate) fn find<'r>(routes: &'r [Route], head: &Head<'_>) -> Result<&'r Route, Denial> {
    if head.headers().len() > FIELDS_MAX {
        return Err(Denial::HeadTooLarge);
    }
    if matches!(head.method(), "GET" | "HEAD") && head.announces_body() {
        return Err(Denial::BodyUnexpected);
    }
    let path = Spelling::of(head.path())?;
    routes.iter().find(|route| route.matches(head.method(), &path)).ok_or(Denial::RouteUnknown)
}

/// Most header fields that are looked at.
const FIELDS_MAX: usize = 128;

/// Longest path that is looked at.
const PATH_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests;
