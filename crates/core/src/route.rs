//! Which route a request takes: by method and path, the first that matches, none by default.

use crate::address::Addresses;
use crate::cors::Cors;
use crate::refusal::Denial;
use crate::limit::Limit;
use crate::request::syntax::is_host;
use crate::url::BaseUrl;
use crate::request::head::RequestHead;
use serde_json::Value;

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
    /// Scopes of which a token must carry one; empty: none is asked for.
    pub scopes_any: Vec<String>,
    /// Claims that a token must carry, each with the values of which it must have one.
    pub claims: Vec<(String, Vec<Value>)>,
    /// What the store must say of a token.
    pub require: TokenRequirement,
    /// What is counted.
    pub limits: Vec<Limit>,
    /// How much of each limit a request takes.
    pub cost: u32,
    /// What holds for tokens while the store can't be asked.
    pub on_store_outage: StoreOutage,
    /// Whence requests may come, if that is not the policy's to say.
    pub addresses: Option<Addresses>,
    /// How long the upstream may take to begin its answer, if not as long as the policy says.
    pub deadline_ms: Option<u32>,
    /// Which endpoint of OAuth it is.
    pub endpoint: Option<Endpoint>,
    /// Where requests go, if not to the policy's upstream.
    pub upstream: Option<BaseUrl>,
    /// The cookie that may hold the token.
    pub cookie: Option<String>,
    /// Whether the token goes on to the upstream.
    pub forward_token: bool,
    /// Whether the upstream is told who asks in a signed form, too.
    pub assertion: bool,
    /// Which pages may call.
    pub cors: Option<Cors>,
}

/// Who may pass a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Everybody, to the auth service: login, refresh, logout, metadata.
    Auth,
    /// Whoever has a good token, to the upstream.
    Protected,
    /// Everybody, to the upstream.
    Public,
}

impl Access {
    pub(crate) const WORDS: [(&str, Self); 3] =
        [("auth", Self::Auth), ("protected", Self::Protected), ("public", Self::Public)];
}

/// An endpoint of OAuth 2.0 in whose requests the edge has a part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// RFC 7009, and logouts: after that nothing is given again.
    Revocation,
    /// RFC 6749 section 3.2, and refreshes in JSON: those that ask the same get the same answer.
    Token,
}

impl Endpoint {
    pub(crate) const WORDS: [(&str, Self); 2] =
        [("revocation", Self::Revocation), ("token", Self::Token)];
}

/// What the store must say of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenRequirement {
    /// A guest list: the token's record must be there, and no revocation.
    Record,
    /// A deny list: no revocation of the token, its session or its subject.
    NotRevoked,
}

impl TokenRequirement {
    pub(crate) const WORDS: [(&str, Self); 2] =
        [("not_revoked", Self::NotRevoked), ("record", Self::Record)];
}

/// What holds for tokens while the store can't be asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StoreOutage {
    /// None passes.
    #[default]
    Deny,
    /// Their provider's introspection says which are good, within a rate.
    Introspect,
    /// A good signature is enough: what was revoked works again until it expires.
    Signature,
}

impl StoreOutage {
    pub(crate) const WORDS: [(&str, Self); 3] =
        [("deny", Self::Deny), ("introspect", Self::Introspect), ("signature", Self::Signature)];
}

/// The paths of a route, by their segments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// Whether what lies below is meant as well.
    below: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    /// `{name}`: any one segment.
    Any,
    Literal(String),
}

impl Pattern {
    /// Reads `/x`, with or without a slash at its end in requests; `/x/*` for `/x` and everything below
    /// it; `/x/{name}/y` for any one segment in that place. Refuses a `*` elsewhere, and a path that no
    /// request can have.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text, false),
        };
        if path.contains(['*', '?', '#', '%']) || (below && path.ends_with('/')) {
            return None;
        }
        if !matches!((path, below), ("", true)) {
            Spelling::of(path).ok()?;
        }
        let mut segments = Vec::new();
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            segments.push(match name {
                Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Segment::Any,
                None if !segment.contains(['{', '}']) => Segment::Literal(segment.to_owned()),
                Some(_) | None => return None,
            });
        }
        Some(Self { segments, below })
    }

    /// Whether the path is one of them, to the letter or but for its case.
    fn matches(&self, path: &Spelling, case: Case) -> bool {
        let path = match case {
            Case::Exact => &path.exact,
            Case::Folded => &path.folded,
        };
        let mut rest = path.strip_prefix('/').unwrap_or(path);
        for segment in &self.segments {
            let (held, after) = rest.split_once('/').unwrap_or((rest, ""));
            let fits = match (segment, case) {
                (Segment::Any, _) => !held.is_empty(),
                (Segment::Literal(literal), Case::Exact) => held == literal,
                (Segment::Literal(literal), Case::Folded) => held.eq_ignore_ascii_case(literal),
            };
            if !fits {
                return false;
            }
            rest = after;
        }
        self.below || rest.is_empty()
    }

    /// Whether every path of `other` is one of these, but for its case.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let deeper = other.segments.len() > self.segments.len() || other.below;
        self.segments.len() <= other.segments.len()
            && (self.below || !deeper)
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Any, _) => true,
                (Segment::Literal(own), Segment::Literal(other)) => own.eq_ignore_ascii_case(other),
                (Segment::Literal(_), Segment::Any) => false,
            })
    }
}

/// How a path is compared.
#[derive(Clone, Copy)]
enum Case {
    Exact,
    Folded,
}

/// A path as routes are compared: percent-decoded once (RFC 3986 section 6.2.2.2); and the same as servers
/// read it that care for neither case nor width.
struct Spelling {
    exact: String,
    folded: String,
}

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
        let mut octets = Vec::with_capacity(path.len());
        let mut parts = path.split('%');
        octets.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
        for part in parts {
            let hex = part.get(..2).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                None | Some(0..=0x1f | 0x7f | b'.' | b'/' | b';' | b'\\' | b'%') => {
                    return Err(Denial::PathAmbiguous);
                }
                Some(octet) => octets.push(octet),
            }
            octets.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
        }
        // What is no UTF-8 is read in another way by each server, overlong forms of dot and slash first.
        let exact = String::from_utf8(octets).map_err(|_| Denial::PathAmbiguous)?;
        if exact.contains(LOOKALIKES) {
            return Err(Denial::PathAmbiguous);
        }
        let folded = exact.chars().map(fold).collect();
        Ok(Self { exact, folded })
    }
}

/// The small ASCII letter that some server may take a character for.
fn fold(character: char) -> char {
    let plain = match character {
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(character) - 0xff01 + 0x21).unwrap_or(character)
        }
        other => other,
    };
    plain.to_ascii_lowercase()
}

impl Route {
    /// Whether the route is for `method`. What is for GET is for HEAD, which servers serve by the same code
    /// (RFC 9110 section 9.3.2).
    fn is_for(&self, method: &str) -> bool {
        let named = |wanted: &str| self.methods.iter().any(|own| own == wanted);
        self.methods.is_empty() || named(method) || (method == "HEAD" && named("GET"))
    }

    /// Whether no request that `other` is for would come past this route.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let every_method = self.methods.is_empty()
            || (!other.methods.is_empty() && other.methods.iter().all(|m| self.is_for(m)));
        every_method && self.pattern.covers(&other.pattern)
    }
}

/// The first route that matches, for a request that is made or asked for with `method`. A path that could be read in two ways matches none; nor does a
/// request whose head is larger than any that a client needs.
pub(crate) fn find<'r>(
    routes: &'r [Route],
    head: &RequestHead<'_>,
    method: &str,
) -> Result<&'r Route, Denial> {
    if head.headers().len() > FIELDS_MAX {
        return Err(Denial::HeadersTooLarge);
    }
    if !is_host(head.host()) {
        return Err(Denial::HostMalformed);
    }
    if matches!(head.method(), "GET" | "HEAD") && head.announces_body() {
        return Err(Denial::BodyUnexpected);
    }
    let path = Spelling::of(head.path())?;
    let first = |case| {
        let fits = |route: &&Route| route.is_for(method) && route.pattern.matches(&path, case);
        routes.iter().find(fits)
    };
    // Servers differ in whether `/Admin` and `/admin` are one. Where that would decide which route a path
    // takes, it takes none.
    match (first(Case::Exact), first(Case::Folded)) {
        (Some(exact), Some(folded)) if std::ptr::eq(exact, folded) => Ok(exact),
        (None, None) => Err(Denial::RouteNotFound),
        (Some(_), _) | (None, Some(_)) => Err(Denial::PathAmbiguous),
    }
}

/// What Unicode's compatibility forms (NFKC) make dot, slash, backslash, semicolon and percent sign of.
const LOOKALIKES: [char; 20] = [
    '\u{37e}', '\u{2024}', '\u{2025}', '\u{2026}', '\u{2100}', '\u{2101}', '\u{2105}', '\u{2106}',
    '\u{fe14}', '\u{fe19}', '\u{fe30}', '\u{fe52}', '\u{fe54}', '\u{fe68}', '\u{fe6a}', '\u{ff05}',
    '\u{ff0e}', '\u{ff0f}', '\u{ff1b}', '\u{ff3c}',
];

/// Most header fields that are looked at.
const FIELDS_MAX: usize = 128;

/// Longest path that is looked at.
const PATH_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests;
