//! `ROUTES`: what is open, what needs what, and where it goes.

use super::fault::Fault;
use super::limits::RawLimit;
use super::reader::Reader;
use super::{BaseUrl, is_safe_name};
use crate::address::RawAddresses;
use crate::cors::{self, Cors};
use crate::limit::{Limit, LimitBy};
use crate::route::{Access, Endpoint, Mode, Pattern, Route, StoreOutage, TokenTravel};
use serde::Deserialize;
use serde_json::{Map, Value};

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
    #[serde(default)]
    scopes_any: Vec<String>,
    #[serde(default)]
    claims: Map<String, Value>,
    mode: Option<Mode>,
    limit: Option<RawLimit>,
    #[serde(default)]
    limits: Vec<String>,
    cost: Option<u32>,
    store_outage: Option<StoreOutage>,
    addresses: Option<RawAddresses>,
    deadline_ms: Option<u32>,
    endpoint: Option<Endpoint>,
    upstream: Option<String>,
    cookie: Option<String>,
    token: Option<TokenTravel>,
    #[serde(default)]
    assertion: bool,
    cors: Option<Cors>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    /// The routes. Those that say nothing of CORS have `cors`; limits are by their names in `shared`.
    pub(super) fn routes(
        &mut self,
        cors: Option<&Cors>,
        signs: bool,
        shared: &[Limit],
    ) -> Vec<Route> {
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
            for (name, scopes) in [("scopes", &raw.scopes), ("scopes_any", &raw.scopes_any)] {
                if !scopes.iter().all(|scope| is_scope(scope)) {
                    self.fault(format!("{place}.{name}"), Fault::NotAScope);
                }
            }
            if raw.cookie.as_ref().is_some_and(|name| !is_cookie_name(name)) {
                self.fault(format!("{place}.cookie"), Fault::NotACookie);
            }
            if raw.access != Access::Protected {
                for (name, given) in [
                    ("scopes", !raw.scopes.is_empty()),
                    ("scopes_any", !raw.scopes_any.is_empty()),
                    ("claims", !raw.claims.is_empty()),
                    ("mode", raw.mode.is_some()),
                    ("store_outage", raw.store_outage.is_some()),
                    ("cookie", raw.cookie.is_some()),
                    ("token", raw.token.is_some()),
                    ("assertion", raw.assertion),
                ] {
                    if given {
                        self.fault(format!("{place}.{name}"), Fault::NotForAccess);
                    }
                }
            }
            if raw.assertion && !signs {
                self.fault(format!("{place}.assertion"), Fault::AssertionUnset);
            }
            let cost = raw.cost.unwrap_or(1);
            self.within(format!("{place}.cost"), cost, 1, 1_000_000);
            let mut limits = Vec::new();
            if let Some(limit) = raw.limit {
                let at = format!("{place}.limit");
                if limit.name.is_some() {
                    self.fault(format!("{at}.name"), Fault::NamedByRoute);
                }
                if shared.iter().any(|other| other.name == raw.name) {
                    self.fault(format!("{place}.name"), Fault::Duplicate);
                }
                limits.push(self.limit(&at, raw.name.clone(), limit));
            }
            for (at, name) in raw.limits.iter().enumerate() {
                match shared.iter().find(|limit| limit.name == *name) {
                    Some(limit) if limits.contains(limit) => {
                        self.fault(format!("{place}.limits[{at}]"), Fault::Duplicate);
                    }
                    Some(limit) => limits.push(limit.clone()),
                    // One that can't be read has been told already.
                    None if self.is_faulty("LIMITS") => {}
                    None => self.fault(format!("{place}.limits[{at}]"), Fault::NoSuchLimit),
                }
            }
            for limit in &limits {
                let token = limit.by.iter().any(LimitBy::needs_token) || limit.plans.is_some();
                if token && raw.access != Access::Protected {
                    self.fault(format!("{place}: limit {}", limit.name), Fault::NotForAccess);
                }
                if (1..cost).contains(&limit.least()) {
                    self.fault(format!("{place}.cost: limit {}", limit.name), Fault::AboveQuota);
                }
            }
            if let Some(deadline_ms) = raw.deadline_ms {
                let most = if raw.access == Access::Auth { 60_000 } else { 300_000 };
                self.within(format!("{place}.deadline_ms"), deadline_ms, 1, most);
            }
            if raw.endpoint.is_some() && raw.access != Access::Auth {
                self.fault(format!("{place}.endpoint"), Fault::NotForAccess);
            }
            let addresses =
                raw.addresses.map(|lists| lists.read(&format!("{place}.addresses"), self));
            if let Some(cors) = &raw.cors {
                self.judge_cors(&format!("{place}.cors"), cors);
            }
            let upstream = raw.upstream.as_deref().map(BaseUrl::parse);
            match upstream {
                Some(None) => self.fault(format!("{place}.upstream"), Fault::NotAUrl),
                Some(Some(_)) if raw.access == Access::Auth => {
                    self.fault(format!("{place}.upstream"), Fault::NotForAccess);
                }
                _ => {}
            }
            let claims = self.claims(&place, raw.claims);
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
                scopes_any: raw.scopes_any,
                claims,
                mode: raw.mode.unwrap_or(Mode::Registered),
                limits,
                cost,
                store_outage: raw.store_outage.unwrap_or_default(),
                addresses,
                deadline_ms: raw.deadline_ms,
                endpoint: raw.endpoint,
                upstream: upstream.flatten(),
                cookie: raw.cookie,
                token: raw.token.unwrap_or_default(),
                assertion: raw.assertion,
                cors: raw.cors.or_else(|| cors.cloned()),
            };
            if routes.iter().any(|earlier| earlier.covers(&route)) {
                self.fault(place, Fault::Shadowed);
            }
            routes.push(route);
        }
        routes
    }

    /// Each required claim with the values that it may have.
    fn claims(&mut self, place: &str, raw: Map<String, Value>) -> Vec<(String, Vec<Value>)> {
        let mut claims = Vec::new();
        for (name, value) in raw {
            let allowed = match value {
                Value::Array(values) => values,
                value => vec![value],
            };
            let scalar =
                |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
            if allowed.is_empty() || !allowed.iter().all(scalar) {
                self.fault(format!("{place}.claims.{name}"), Fault::NotAClaim);
            }
            claims.push((name, allowed));
        }
        claims
    }

    /// `CORS`, or the `cors` of a route.
    pub(super) fn judge_cors(&mut self, name: &str, cors: &Cors) {
        if cors.origins.is_empty() {
            self.fault(format!("{name}.origins"), Fault::Empty);
        }
        let named = |origin: &String| cors::is_origin(origin);
        if !(cors.origins == ["*"] || cors.origins.iter().all(named)) {
            self.fault(format!("{name}.origins"), Fault::NotAnOrigin);
        }
        if !cors.methods.iter().all(|method| is_method(method)) {
            self.fault(format!("{name}.methods"), Fault::NotAMethod);
        }
        for (list, names) in [("headers", &cors.headers), ("expose", &cors.expose)] {
            if !names.iter().all(|name| is_token(name) && name != "*") {
                self.fault(format!("{name}.{list}"), Fault::NotAField);
            }
        }
        if cors.credentials && cors.is_for_all() {
            self.fault(format!("{name}.credentials"), Fault::CredentialsForAll);
        }
        self.within(format!("{name}.max_age_seconds"), cors.max_age_seconds, 0, 86_400);
    }
}

fn is_method(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}

fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

fn is_cookie_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// A token of RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
