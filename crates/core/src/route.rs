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
        Some(if below {
            Self::Below(path)
        } else {
            Self::Exactly(path)
        })
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
    path.strip_prefix(base)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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
            && path
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'\\' && b != b';');
        if !plain
            || path
                .split('/')
                .any(|segment| segment == "." || segment == "..")
        {
            return Err(Denial::PathAmbiguous);
        }
        let mut spelling = String::with_capacity(path.len());
        let mut parts = path.split('%');
        spelling.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let hex = part
                .get(..2)
                .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
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
    routes
        .iter()
        .find(|route| route.matches(head.method(), &path))
        .ok_or(Denial::RouteUnknown)
}

/// Most header fields that are looked at.
const FIELDS_MAX: usize = 128;

/// Longest path that is looked at.
const PATH_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn patterns_match_whole_segments_in_every_spelling() {
        fn check(pattern: &str, path: &str, expect: bool) {
            let pattern = Pattern::parse(pattern).unwrap();
            let path = Spelling::of(path).unwrap();
            assert_eq!(pattern.matches(&path), expect, "{pattern:?} {}", path.0);
        }
        check("/api/*", "/api/hello", true);
        check("/api/*", "/api/", true);
        check("/api/*", "/api", true);
        check("/api/*", "/apis", false);
        check("/api/*", "/API/hello", true);
        check("/api/*", "/%61pi/hello", true);
        check("/api/*", "/a%50I/hello", true);
        check("/@me", "/%40Me", true);
        check("/Api", "/api", true);
        check("/api", "/api/", true);
        check("/api", "/api/x", false);
        check("/*", "/", true);
        check("/*", "/x", true);
        check("/", "/", true);
        check("/", "/x", false);
    }

    #[test]
    fn a_pattern_that_can_not_match_is_refused() {
        for text in [
            "", "api", "*", "/a*", "/*/a", "/a//b", "/a?b", "/a/../b", "/a%62", "//*", "/a//*",
            "/a;b",
        ] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_pattern_covers_what_lies_below_it() {
        fn check(pattern: &str, other: &str, expect: bool) {
            let (pattern, other) = (
                Pattern::parse(pattern).unwrap(),
                Pattern::parse(other).unwrap(),
            );
            assert_eq!(pattern.covers(&other), expect, "{pattern:?} {other:?}");
        }
        check("/*", "/a", true);
        check("/a/*", "/a/b/*", true);
        check("/a/*", "/A", true);
        check("/a/b/*", "/a/*", false);
        check("/a", "/a/*", false);
        check("/a/*", "/ab", false);
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        fn check(path: &str, expect: Result<(), Denial>) {
            assert_eq!(Spelling::of(path).map(|_| ()), expect, "{path}");
        }
        for path in [
            "/",
            "/a",
            "/a/",
            "/a%20b",
            "/a%C3%A9",
            "/a.b",
            "/.well-known/x",
            "/...",
            "/a%40b",
            "/a,b=c",
        ] {
            check(path, Ok(()));
        }
        for path in [
            "",
            "a",
            "//",
            "/a//b",
            "/a/../b",
            "/..",
            "/./a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/%2e%2e/b",
            "/%2E",
            "/a%252fb",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+2f",
            "/a b",
            "/a\u{e9}",
            "/a%0d%0a",
            "/a%7f",
            "/a/..;/b",
            "/a;b/c",
            "/a%3bb",
        ] {
            check(path, Err(Denial::PathAmbiguous));
        }
        check(&format!("/{}", "a".repeat(PATH_BYTES_MAX - 1)), Ok(()));
        check(
            &format!("/{}", "a".repeat(PATH_BYTES_MAX)),
            Err(Denial::PathAmbiguous),
        );
    }

    #[test]
    fn a_head_is_bounded() {
        fn check(method: &str, headers: Vec<(&str, &str)>, expect: Denial) {
            let head = Head::new(method, "https://a.example/", headers);
            assert_eq!(find(&[], &head).err(), Some(expect));
        }
        check("GET", vec![("x", "y"); FIELDS_MAX], Denial::RouteUnknown);
        check(
            "GET",
            vec![("x", "y"); FIELDS_MAX + 1],
            Denial::HeadTooLarge,
        );
        check("GET", vec![("content-length", "1")], Denial::BodyUnexpected);
        check(
            "HEAD",
            vec![("transfer-encoding", "chunked")],
            Denial::BodyUnexpected,
        );
        check("GET", vec![("content-length", "0")], Denial::RouteUnknown);
        check(
            "DELETE",
            vec![("content-length", "1")],
            Denial::RouteUnknown,
        );
    }

    #[cfg(not(target_arch = "wasm32"))]
    proptest::proptest! {
        #[test]
        fn no_path_panics(path in "/[ -~\u{80}-\u{ff}]{0,40}") {
            let _ = Spelling::of(&path);
            let _ = Pattern::parse(&path);
        }
    }
}
