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

/// The paths of a route: one path, or everything below one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pattern {
    /// `/x/*`: `/x` itself and what lies below it. Holds `/x`; for `/*` it is empty.
    Below(String),
    /// `/x`: this path alone.
    Exactly(String),
}

impl Pattern {
    /// Reads `/x` or `/x/*`; a `*` elsewhere is refused, as is a path that no request can have.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text, false),
        };
        let probe = if path.is_empty() { "/" } else { path };
        if path.contains(['*', '?', '#']) || check_path(probe).is_err() {
            return None;
        }
        if below {
            return (!path.ends_with('/')).then(|| Self::Below(path.to_owned()));
        }
        (!path.is_empty()).then(|| Self::Exactly(path.to_owned()))
    }

    /// Whether `path` is one of them.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Below(base) => path
                .strip_prefix(base.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Exactly(exact) => path == exact,
        }
    }
}

impl Route {
    /// Whether the route is for `method` and `path`.
    fn matches(&self, method: &str, path: &str) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|m| m == method))
            && self.pattern.matches(path)
    }
}

/// The first route that matches; a path that could be read in two ways matches none.
pub(crate) fn find<'r>(routes: &'r [Route], head: &Head<'_>) -> Result<&'r Route, Denial> {
    check_path(head.path())?;
    routes
        .iter()
        .find(|route| route.matches(head.method(), head.path()))
        .ok_or(Denial::RouteUnknown)
}

/// Refuses a path that the policy and an upstream could read differently. It is refused, not mended:
/// what is matched and what is sent on are then the same bytes.
fn check_path(path: &str) -> Result<(), Denial> {
    let plain = path.starts_with('/')
        && path.len() <= PATH_BYTES_MAX
        && !path.contains("//")
        && !path.contains('\\')
        && path.bytes().all(|b| b.is_ascii_graphic());
    if !plain
        || path
            .split('/')
            .any(|segment| segment == "." || segment == "..")
    {
        return Err(Denial::PathAmbiguous);
    }
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        let octet = after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let hex = after.bytes().take(2).all(|b| b.is_ascii_hexdigit());
        match octet {
            // A control, a dot, a slash, a backslash or a percent sign that a second decoding reveals.
            Some(0..=0x1f | 0x7f | b'.' | b'/' | b'\\' | b'%') | None => {
                return Err(Denial::PathAmbiguous);
            }
            Some(_) if !hex => return Err(Denial::PathAmbiguous),
            Some(_) => rest = after,
        }
    }
    Ok(())
}

/// Longest path that is looked at.
const PATH_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn patterns_match_whole_segments() {
        fn check(pattern: &str, path: &str, expect: bool) {
            assert_eq!(
                Pattern::parse(pattern).unwrap().matches(path),
                expect,
                "{pattern} {path}"
            );
        }
        check("/api/*", "/api/hello", true);
        check("/api/*", "/api/", true);
        check("/api/*", "/api", true);
        check("/api/*", "/apis", false);
        check("/api/*", "/API/hello", false);
        check("/api", "/api", true);
        check("/api", "/api/", false);
        check("/*", "/", true);
        check("/*", "/x", true);
        check("/", "/", true);
        check("/", "/x", false);
    }

    #[test]
    fn a_pattern_that_can_not_match_is_refused() {
        for text in [
            "", "api", "*", "/a*", "/*/a", "/a//b", "/a?b", "/a/../b", "/a%2fb", "//*", "/a//*",
        ] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a%20b",
            "/a%C3%A9",
            "/a.b",
            "/.well-known/x",
            "/...",
            "/a;b=c",
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
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
        ] {
            assert_eq!(check_path(path), Err(Denial::PathAmbiguous), "{path}");
        }
        assert_eq!(
            check_path(&format!("/{}", "a".repeat(PATH_BYTES_MAX - 1))),
            Ok(())
        );
        assert!(check_path(&format!("/{}", "a".repeat(PATH_BYTES_MAX))).is_err());
    }
}
