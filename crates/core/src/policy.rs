//! The configuration: strings in, types out, once, with all faults reported together.

use crate::denial::Denial;
use crate::head::Head;
use crate::jwks::Algorithm;
use crate::key::Keys;
use crate::limit::{Limit, LimitBy};
use crate::route::{self, Access, Mode, Pattern, Route};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;

/// Everything that the edge was told, checked.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The issuers whose tokens are accepted, side by side.
    pub issuers: Vec<Issuer>,
    /// The routes; the first that matches wins.
    pub routes: Vec<Route>,
    /// Where requests go whose route names no upstream of its own.
    pub upstream: BaseUrl,
    /// The auth service.
    pub origin: BaseUrl,
    /// The store, by the Upstash REST protocol.
    pub store: BaseUrl,
    /// The bearer token of the store.
    pub store_token: Secret,
    /// The store's keys.
    pub keys: Keys,
    /// How long one round trip to the store may take.
    pub store_deadline_ms: u32,
    /// How long the origin may take to answer.
    pub origin_deadline_ms: u32,
    /// How long an upstream may take to begin its answer.
    pub upstream_deadline_ms: u32,
    /// How long an issuer may take to send its key set.
    pub keys_deadline_ms: u32,
    /// Longest request body that goes to the origin.
    pub auth_body_bytes_max: u32,
    /// Which requests are logged.
    pub log: LogPolicy,
}

/// An issuer of tokens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Its name, as `iss` must have it to the letter.
    pub issuer: String,
    /// What `aud` must contain.
    pub audience: String,
    /// The algorithms that its keys may have.
    pub algorithms: Vec<Algorithm>,
    /// Where its key set is.
    pub jwks_url: String,
    /// What `typ` must be.
    #[serde(default)]
    pub token_type: TokenType,
    /// How far its clock and ours may differ.
    #[serde(default = "leeway_seconds")]
    pub leeway_seconds: u64,
}

/// What the `typ` of an issuer's access tokens must be (RFC 9068 section 2.1, RFC 8725 section 3.11).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub enum TokenType {
    /// `at+jwt`: no ID or logout token passes as an access token.
    #[default]
    #[serde(rename = "at+jwt")]
    AtJwt,
    /// `at+jwt`, `JWT` or none, for issuers that do not mark access tokens.
    #[serde(rename = "jwt")]
    Jwt,
    /// Anything.
    #[serde(rename = "off")]
    Off,
}

/// Which requests are logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogPolicy {
    /// Each one.
    All,
    /// Those that were not forwarded.
    Refused,
}

/// An absolute `http` or `https` URL without query, fragment and trailing slash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The URL, if `text` is one.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let host = rest.split('/').next().unwrap_or_default();
        let plain = text.bytes().all(|b| b.is_ascii_graphic());
        if host.is_empty() || !plain || text.contains(['?', '#', '@', '\\', '"']) {
            return None;
        }
        Some(Self(text.trim_end_matches('/').to_owned()))
    }

    /// The URL of `target`, which begins with a slash, below this one.
    pub fn join(&self, target: &str) -> String {
        format!("{}{target}", self.0)
    }
}

/// A credential of the gate's own.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The text, to be sent to whom it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(REDACTED)")
    }
}

/// A setting that can't be used: its name, and the fault with its fix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The variable, and the place within it: `ROUTES[2].limit`.
    pub name: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// It is an empty list.
    Empty,
    /// It stands twice.
    Duplicate,
    /// It is not set.
    Missing,
    /// It means nothing on a route of this access.
    NotForAccess,
    /// It is not an absolute URL.
    NotAUrl,
    /// It is not in capitals, as HTTP's methods are.
    NotAMethod,
    /// It is not a scope-token of RFC 6749 section 3.3.
    NotAScope,
    /// It is no whole number from the first bound to the second.
    NotInRange(u32, u32),
    /// It is not one of the words that it may be.
    NotOneOf(&'static str),
    /// Every request that it is for takes an earlier route.
    Shadowed,
    /// It is not the JSON that it should be; the parser's words.
    Shape(String),
    /// It is a path that no request can have, or a `*` elsewhere than at the end.
    UnreachablePath,
    /// It has characters other than letters, digits, `-` and `_`.
    UnsafeName,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match &self.fault {
            Fault::Empty => f.write_str("is empty; give at least one entry"),
            Fault::Duplicate => f.write_str("stands twice; give each its own"),
            Fault::Missing => f.write_str("is not set; see docs/configuration.md"),
            Fault::NotForAccess => f.write_str(
                "has no meaning on a route of this access; leave it out, or change access",
            ),
            Fault::NotAUrl => f.write_str(
                "is not a URL; give http:// or https:// with a host, no query and no user",
            ),
            Fault::NotAMethod => f.write_str("methods are words in capitals, such as GET"),
            Fault::NotAScope => f.write_str(
                "a scope is visible ASCII without quote, backslash and space, one an entry",
            ),
            Fault::NotInRange(least, most) => {
                write!(f, "must be a whole number, {least} to {most}")
            }
            Fault::NotOneOf(words) => write!(f, "must be one of: {words}"),
            Fault::Shadowed => f.write_str(
                "an earlier route takes every request of this one; put this one before it",
            ),
            Fault::Shape(words) => write!(f, "can't be read: {words}"),
            Fault::UnreachablePath => f.write_str(
                "no request can have this path; give /path or /path/*, unencoded and plain",
            ),
            Fault::UnsafeName => f.write_str("may have letters, digits, - and _, 1 to 64 of them"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Policy {
    /// Reads the configuration through `lookup`, which returns a variable's text.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<ConfigError>> {
        let mut read = Reader { lookup, faults: Vec::new() };
        let policy = (
            read.issuers(),
            read.routes(),
            read.url("UPSTREAM_URL"),
            read.url("ORIGIN_URL"),
            read.url("STORE_URL"),
            read.required("STORE_TOKEN").map(Secret),
        );
        let keys = read.prefix();
        let store_deadline_ms = read.number("STORE_DEADLINE_MS", 250, 1, 60_000);
        let origin_deadline_ms = read.number("ORIGIN_DEADLINE_MS", 5_000, 1, 60_000);
        let upstream_deadline_ms = read.number("UPSTREAM_DEADLINE_MS", 30_000, 1, 300_000);
        let keys_deadline_ms = read.number("KEYS_DEADLINE_MS", 2_000, 1, 60_000);
        let auth_body_bytes_max = read.number("AUTH_BODY_BYTES_MAX", 16_384, 1, 1_048_576);
        let log = read.log();
        match policy {
            (issuers, routes, Some(upstream), Some(origin), Some(store), Some(store_token))
                if read.faults.is_empty() =>
            {
                Ok(Self {
                    issuers,
                    routes,
                    upstream,
                    origin,
                    store,
                    store_token,
                    keys,
                    store_deadline_ms,
                    origin_deadline_ms,
                    upstream_deadline_ms,
                    keys_deadline_ms,
                    auth_body_bytes_max,
                    log,
                })
            }
            _ => Err(read.faults),
        }
    }

    /// The route that a request takes.
    pub fn route(&self, head: &Head<'_>) -> Result<&Route, Denial> {
        route::find(&self.routes, head)
    }
}

struct Reader<L> {
    lookup: L,
    faults: Vec<ConfigError>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    fn fault(&mut self, name: impl Into<String>, fault: Fault) {
        self.faults.push(ConfigError { name: name.into(), fault });
    }

    fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|text| !text.trim().is_empty())
    }

    fn required(&mut self, name: &str) -> Option<String> {
        let text = self.optional(name);
        if text.is_none() {
            self.fault(name, Fault::Missing);
        }
        text
    }

    fn url(&mut self, name: &str) -> Option<BaseUrl> {
        let text = self.required(name)?;
        let url = BaseUrl::parse(&text);
        if url.is_none() {
            self.fault(name, Fault::NotAUrl);
        }
        url
    }

    fn number(&mut self, name: &str, default: u32, least: u32, most: u32) -> u32 {
        let Some(text) = self.optional(name) else {
            return default;
        };
        match text.trim().parse() {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                self.fault(name, Fault::NotInRange(least, most));
                default
            }
        }
    }

    fn prefix(&mut self) -> Keys {
        let prefix = self.optional("KEY_PREFIX");
        let prefix = prefix.as_deref().unwrap_or(Keys::PREFIX);
        if !is_safe_name(prefix) {
            self.fault("KEY_PREFIX", Fault::UnsafeName);
        }
        Keys::new(prefix)
    }

    fn log(&mut self) -> LogPolicy {
        match self.optional("LOG").as_deref() {
            None | Some("all") => LogPolicy::All,
            Some("refused") => LogPolicy::Refused,
            Some(_) => {
                self.fault("LOG", Fault::NotOneOf("all, refused"));
                LogPolicy::All
            }
        }
    }

    /// The entries of a JSON list that can be read, each with its place; the faults of the others.
    fn list<T: DeserializeOwned>(&mut self, name: &str) -> Vec<(String, T)> {
        let Some(text) = self.required(name) else {
            return Vec::new();
        };
        let values: Vec<Value> = match serde_json::from_str(&text) {
            Ok(values) => values,
            Err(error) => {
                self.fault(name, Fault::Shape(error.to_string()));
                return Vec::new();
            }
        };
        if values.is_empty() {
            self.fault(name, Fault::Empty);
        }
        let mut entries = Vec::new();
        for (place, value) in values.into_iter().enumerate() {
            let place = format!("{name}[{place}]");
            match serde_json::from_value(value) {
                Ok(entry) => entries.push((place, entry)),
                Err(error) => self.fault(place, Fault::Shape(error.to_string())),
            }
        }
        entries
    }

    fn issuers(&mut self) -> Vec<Issuer> {
        let mut issuers: Vec<Issuer> = Vec::new();
        for (place, issuer) in self.list::<Issuer>("ISSUERS") {
            if issuer.issuer.is_empty() {
                self.fault(format!("{place}.issuer"), Fault::Empty);
            }
            if issuer.audience.is_empty() {
                self.fault(format!("{place}.audience"), Fault::Empty);
            }
            if issuer.algorithms.is_empty() {
                self.fault(format!("{place}.algorithms"), Fault::Empty);
            }
            let jwks_base = issuer.jwks_url.split('?').next().unwrap_or_default();
            if BaseUrl::parse(jwks_base).is_none() {
                self.fault(format!("{place}.jwks_url"), Fault::NotAUrl);
            }
            if issuer.leeway_seconds > LEEWAY_SECONDS_MAX.into() {
                self.fault(
                    format!("{place}.leeway_seconds"),
                    Fault::NotInRange(0, LEEWAY_SECONDS_MAX),
                );
            }
            if issuers.iter().any(|other| other.issuer == issuer.issuer) {
                self.fault(format!("{place}.issuer"), Fault::Duplicate);
            }
            issuers.push(issuer);
        }
        issuers
    }

    fn routes(&mut self) -> Vec<Route> {
        let mut routes: Vec<Route> = Vec::new();
        for (place, raw) in self.list::<RawRoute>("ROUTES") {
            if !is_safe_name(&raw.name) {
                self.fault(format!("{place}.name"), Fault::UnsafeName);
            }
            if routes.iter().any(|other| other.name == raw.name) {
                self.fault(format!("{place}.name"), Fault::Duplicate);
            }
            if !raw.methods.iter().all(|method| is_method(method)) {
                self.fault(format!("{place}.methods"), Fault::NotAMethod);
            }
            if !raw.scopes.iter().all(|scope| is_scope(scope)) {
                self.fault(format!("{place}.scopes"), Fault::NotAScope);
            }
            if raw.access != Access::Protected {
                for (name, given) in [
                    ("scopes", !raw.scopes.is_empty()),
                    ("mode", raw.mode.is_some()),
                    ("limit.by", raw.limit.is_some_and(|limit| limit.by == LimitBy::Subject)),
                ] {
                    if given {
                        self.fault(format!("{place}.{name}"), Fault::NotForAccess);
                    }
                }
            }
            if let Some(limit) = raw.limit {
                if !(1..=1_000_000).contains(&limit.quota) {
                    self.fault(format!("{place}.limit.quota"), Fault::NotInRange(1, 1_000_000));
                }
                if !(1..=86_400).contains(&limit.window_seconds) {
                    self.fault(
                        format!("{place}.limit.window_seconds"),
                        Fault::NotInRange(1, 86_400),
                    );
                }
            }
            let upstream = raw.upstream.as_deref().map(BaseUrl::parse);
            match upstream {
                Some(None) => self.fault(format!("{place}.upstream"), Fault::NotAUrl),
                Some(Some(_)) if raw.access == Access::Auth => {
                    self.fault(format!("{place}.upstream"), Fault::NotForAccess);
                }
                _ => {}
            }
            let Some(pattern) = Pattern::parse(&raw.path) else {
                self.fault(format!("{place}.path"), Fault::UnreachablePath);
                continue;
            };
            let route = Route {
                name: raw.name,
                access: raw.access,
                methods: raw.methods,
                pattern,
                scopes: raw.scopes,
                mode: raw.mode.unwrap_or(Mode::Registered),
                limit: raw.limit,
                upstream: upstream.flatten(),
            };
            if routes.iter().any(|earlier| earlier.covers(&route)) {
                self.fault(place, Fault::Shadowed);
            }
            routes.push(route);
        }
        routes
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    name: String,
    path: String,
    access: Access,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    mode: Option<Mode>,
    limit: Option<Limit>,
    upstream: Option<String>,
}

/// Whether a name can stand in a key of the store and in a log line as it is.
fn is_safe_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_method(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}

fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

fn leeway_seconds() -> u64 {
    30
}

const LEEWAY_SECONDS_MAX: u32 = 300;

#[cfg(test)]
pub(crate) mod tests;
