//! `ROUTES`: what is open, what needs what, and where it goes.

use super::fault::Fault;
use super::members::Members;
use super::reader::Reader;
use super::{BaseUrl, is_safe_name};
use crate::address::Addresses;
use crate::cors::Cors;
use crate::limit::{Limit, LimitBy};
use crate::route::{Access, Endpoint, Mode, Pattern, Route, StoreOutage, TokenTravel};
use serde_json::Value;

impl Reader<'_> {
    /// The routes. Those that say nothing of CORS have `cors`; limits are by their names in `shared`.
    pub(super) fn routes(
        &mut self,
        cors: Option<&Cors>,
        signs: bool,
        shared: &[Limit],
    ) -> Vec<Route> {
        let (mut routes, mut names) = (Vec::<Route>::new(), Vec::new());
        for entry in self.required_list("ROUTES") {
            let Some(mut given) = self.entry(entry) else {
                continue;
            };
            let Some(mut route) = given.route(signs, shared, &mut names) else {
                continue;
            };
            route.cors = route.cors.or_else(|| cors.cloned());
            if routes.iter().any(|earlier| earlier.covers(&route)) {
                let place = given.place().to_owned();
                given.read.fault(place, Fault::Shadowed);
            }
            routes.push(route);
        }
        routes
    }
}

impl Members<'_, '_> {
    /// A route. `names` are those of the routes before it, and then also its own.
    fn route(&mut self, signs: bool, shared: &[Limit], names: &mut Vec<String>) -> Option<Route> {
        self.need(&["name", "path", "access"]);
        let name = self.text("name");
        if name.as_ref().is_some_and(|name| !is_safe_name(name)) {
            self.fault("name", Fault::UnsafeName);
        }
        if name.as_ref().is_some_and(|name| names.contains(name)) {
            self.fault("name", Fault::Duplicate);
        }
        names.extend(name.clone());
        let methods = self.texts("methods").unwrap_or_default();
        if !methods.iter().all(|method| is_method(method)) {
            self.fault("methods", Fault::NotAMethod);
        }
        let (scopes, scopes_any) = (self.scopes("scopes"), self.scopes("scopes_any"));
        let claims = self.claims();
        let mode = self.word("mode", &Mode::WORDS);
        let store_outage = self.word("store_outage", &StoreOutage::WORDS);
        let cookie = self.text("cookie");
        if cookie.as_ref().is_some_and(|name| !is_cookie_name(name)) {
            self.fault("cookie", Fault::NotACookie);
        }
        let token = self.word("token", &TokenTravel::WORDS);
        let assertion = self.flag("assertion");
        if assertion && !signs {
            self.fault("assertion", Fault::AssertionUnset);
        }
        let access = self.word("access", &Access::WORDS);
        if access.is_some_and(|access| access != Access::Protected) {
            for (member, given) in [
                ("scopes", !scopes.is_empty()),
                ("scopes_any", !scopes_any.is_empty()),
                ("claims", !claims.is_empty()),
                ("mode", mode.is_some()),
                ("store_outage", store_outage.is_some()),
                ("cookie", cookie.is_some()),
                ("token", token.is_some()),
                ("assertion", assertion),
            ] {
                if given {
                    self.fault(member, Fault::NotForAccess);
                }
            }
        }
        let cost = self.number("cost", 1, 1_000_000).unwrap_or(1);
        let limits = self.route_limits(name.as_deref().unwrap_or_default(), shared);
        for limit in &limits {
            let token = limit.by.iter().any(LimitBy::needs_token) || limit.plans.is_some();
            if token && access.is_some_and(|access| access != Access::Protected) {
                let place = format!("{}: limit {}", self.place(), limit.name);
                self.read.fault(place, Fault::NotForAccess);
            }
            // What can't be read of a limit has been told.
            let sound = !self.read.is_faulty(&self.at("limit")) && !self.read.is_faulty("LIMITS");
            if sound && (1..cost).contains(&limit.least()) {
                self.fault(&format!("cost: limit {}", limit.name), Fault::AboveQuota);
            }
        }
        let most = if access == Some(Access::Auth) { 60_000 } else { 300_000 };
        let deadline_ms = self.number("deadline_ms", 1, most);
        let endpoint: Option<Endpoint> = self.word("endpoint", &Endpoint::WORDS);
        if endpoint.is_some() && access.is_some_and(|access| access != Access::Auth) {
            self.fault("endpoint", Fault::NotForAccess);
        }
        let addresses = self.members("addresses").map(Addresses::read);
        let cors = self.members("cors").map(Cors::read);
        let upstream = self.text("upstream").map(|text| BaseUrl::parse(&text));
        match upstream {
            Some(None) => self.fault("upstream", Fault::NotAUrl),
            Some(Some(_)) if access == Some(Access::Auth) => {
                self.fault("upstream", Fault::NotForAccess);
            }
            _ => {}
        }
        let pattern = self.text("path").map(|path| Pattern::parse(&path));
        if let Some(None) = pattern {
            self.fault("path", Fault::UnreachablePath);
        }
        Some(Route {
            name: name?,
            access: access?,
            methods,
            pattern: pattern??,
            scopes,
            scopes_any,
            claims,
            mode: mode.unwrap_or(Mode::Registered),
            limits,
            cost,
            store_outage: store_outage.unwrap_or_default(),
            addresses,
            deadline_ms,
            endpoint,
            upstream: upstream.flatten(),
            cookie,
            token: token.unwrap_or_default(),
            assertion,
            cors,
        })
    }

    fn scopes(&mut self, name: &str) -> Vec<String> {
        let scopes = self.texts(name).unwrap_or_default();
        if !scopes.iter().all(|scope| is_scope(scope)) {
            self.fault(name, Fault::NotAScope);
        }
        scopes
    }

    /// A route's own limit, which has its name, and those that it shares.
    fn route_limits(&mut self, route: &str, shared: &[Limit]) -> Vec<Limit> {
        let own = self.members("limit").map(|mut given| {
            if given.value("name").is_some() {
                given.fault("name", Fault::NamedByRoute);
            }
            given.limit(route.to_owned())
        });
        if own.is_some() && shared.iter().any(|other| other.name == route) {
            self.fault("name", Fault::Duplicate);
        }
        let mut limits = Vec::from_iter(own);
        for (at, name) in self.texts("limits").unwrap_or_default().iter().enumerate() {
            match shared.iter().find(|limit| limit.name == *name) {
                Some(limit) if limits.contains(limit) => {
                    self.fault(&format!("limits[{at}]"), Fault::Duplicate);
                }
                Some(limit) => limits.push(limit.clone()),
                // One that can't be read has been told already.
                None if self.read.is_faulty("LIMITS") => {}
                None => self.fault(&format!("limits[{at}]"), Fault::NoSuchLimit),
            }
        }
        limits
    }

    /// Each required claim with the values that it may have.
    fn claims(&mut self) -> Vec<(String, Vec<Value>)> {
        let mut claims = Vec::new();
        let raw = match self.value("claims") {
            None => return claims,
            Some(Value::Object(raw)) => raw,
            Some(_) => {
                self.fault("claims", Fault::NotA("an object"));
                return claims;
            }
        };
        for (name, value) in raw {
            let allowed = match value {
                Value::Array(values) => values,
                value => vec![value],
            };
            let scalar =
                |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
            if allowed.is_empty() || !allowed.iter().all(scalar) {
                self.fault(&format!("claims.{name}"), Fault::NotAClaim);
            }
            claims.push((name, allowed));
        }
        claims
    }
}

pub(crate) fn is_method(text: &str) -> bool {
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
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
