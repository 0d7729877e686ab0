//! `ROUTES`: what is open, what needs what, and where it goes.

use super::error::ConfigErrorKind;
use super::members::ObjectReader;
use super::reader::SettingsReader;
use super::is_safe_name;
use crate::request::syntax::{is_cookie_name, is_method, is_scope};
use crate::url::BaseUrl;
use crate::address::Addresses;
use crate::cors::Cors;
use crate::limit::{Limit, LimitBy};
use crate::route::{Access, Endpoint, Pattern, Route, StoreOutage, TokenRequirement};
use serde_json::Value;

impl SettingsReader<'_> {
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
                given.read.report(place, ConfigErrorKind::Shadowed);
            }
            routes.push(route);
        }
        routes
    }
}

impl ObjectReader<'_, '_> {
    /// A route. `names` are those of the routes before it, and then also its own.
    fn route(&mut self, signs: bool, shared: &[Limit], names: &mut Vec<String>) -> Option<Route> {
        self.need(&["name", "path", "access"]);
        let name = self.text("name");
        if name.as_ref().is_some_and(|name| !is_safe_name(name)) {
            self.report("name", ConfigErrorKind::UnsafeName);
        }
        if name.as_ref().is_some_and(|name| names.contains(name)) {
            self.report("name", ConfigErrorKind::Duplicate);
        }
        names.extend(name.clone());
        let methods = self.texts("methods").unwrap_or_default();
        if !methods.iter().all(|method| is_method(method)) {
            self.report("methods", ConfigErrorKind::NotAMethod);
        }
        let (scopes, scopes_any) = (self.scopes("scopes"), self.scopes("scopes_any"));
        let claims = self.claims();
        let require = self.word("require", &TokenRequirement::WORDS);
        let on_store_outage = self.word("on_store_outage", &StoreOutage::WORDS);
        let cookie = self.text("cookie");
        if cookie.as_ref().is_some_and(|name| !is_cookie_name(name)) {
            self.report("cookie", ConfigErrorKind::NotACookie);
        }
        let forward_token = self.optional_flag("forward_token");
        let assertion = self.flag("assertion");
        if assertion && !signs {
            self.report("assertion", ConfigErrorKind::AssertionUnset);
        }
        let access = self.word("access", &Access::WORDS);
        if access.is_some_and(|access| access != Access::Protected) {
            for (member, given) in [
                ("scopes", !scopes.is_empty()),
                ("scopes_any", !scopes_any.is_empty()),
                ("claims", !claims.is_empty()),
                ("require", require.is_some()),
                ("on_store_outage", on_store_outage.is_some()),
                ("cookie", cookie.is_some()),
                ("forward_token", forward_token.is_some()),
                ("assertion", assertion),
            ] {
                if given {
                    self.report(member, ConfigErrorKind::NotForAccess);
                }
            }
        }
        let cost = self.number("cost", 1, 1_000_000).unwrap_or(1);
        let limits = self.route_limits(name.as_deref().unwrap_or_default(), shared);
        for limit in &limits {
            let token = limit.by.iter().any(LimitBy::needs_token) || limit.plans.is_some();
            if token && access.is_some_and(|access| access != Access::Protected) {
                let place = format!("{}: limit {}", self.place(), limit.name);
                self.read.report(place, ConfigErrorKind::NotForAccess);
            }
            // What can't be read of a limit has been told.
            let sound = !self.read.has_error(&self.at("limit")) && !self.read.has_error("LIMITS");
            if sound && (1..cost).contains(&limit.least()) {
                self.report(&format!("cost: limit {}", limit.name), ConfigErrorKind::AboveQuota);
            }
        }
        let most = if access == Some(Access::Auth) { 60_000 } else { 300_000 };
        let deadline_ms = self.number("deadline_ms", 1, most);
        let endpoint: Option<Endpoint> = self.word("endpoint", &Endpoint::WORDS);
        if endpoint.is_some() && access.is_some_and(|access| access != Access::Auth) {
            self.report("endpoint", ConfigErrorKind::NotForAccess);
        }
        let addresses = self.members("addresses").map(Addresses::read);
        let cors = self.members("cors").map(Cors::read);
        let upstream = self.text("upstream").map(|text| BaseUrl::parse(&text));
        match upstream {
            Some(None) => self.report("upstream", ConfigErrorKind::NotAUrl),
            Some(Some(_)) if access == Some(Access::Auth) => {
                self.report("upstream", ConfigErrorKind::NotForAccess);
            }
            _ => {}
        }
        let pattern = self.text("path").map(|path| Pattern::parse(&path));
        if let Some(None) = pattern {
            self.report("path", ConfigErrorKind::UnreachablePath);
        }
        Some(Route {
            name: name?,
            access: access?,
            methods,
            pattern: pattern??,
            scopes,
            scopes_any,
            claims,
            require: require.unwrap_or(TokenRequirement::Record),
            limits,
            cost,
            on_store_outage: on_store_outage.unwrap_or_default(),
            addresses,
            deadline_ms,
            endpoint,
            upstream: upstream.flatten(),
            cookie,
            forward_token: forward_token.unwrap_or_default(),
            assertion,
            cors,
        })
    }

    fn scopes(&mut self, name: &str) -> Vec<String> {
        let scopes = self.texts(name).unwrap_or_default();
        if !scopes.iter().all(|scope| is_scope(scope)) {
            self.report(name, ConfigErrorKind::NotAScope);
        }
        scopes
    }

    /// A route's own limit, which has its name, and those that it shares.
    fn route_limits(&mut self, route: &str, shared: &[Limit]) -> Vec<Limit> {
        let own = self.members("limit").map(|mut given| {
            if given.value("name").is_some() {
                given.report("name", ConfigErrorKind::NamedByRoute);
            }
            given.limit(route.to_owned())
        });
        if own.is_some() && shared.iter().any(|other| other.name == route) {
            self.report("name", ConfigErrorKind::Duplicate);
        }
        let mut limits = Vec::from_iter(own);
        for (at, name) in self.texts("limits").unwrap_or_default().iter().enumerate() {
            match shared.iter().find(|limit| limit.name == *name) {
                Some(limit) if limits.contains(limit) => {
                    self.report(&format!("limits[{at}]"), ConfigErrorKind::Duplicate);
                }
                Some(limit) => limits.push(limit.clone()),
                // One that can't be read has been told already.
                None if self.read.has_error("LIMITS") => {}
                None => self.report(&format!("limits[{at}]"), ConfigErrorKind::NoSuchLimit),
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
                self.report("claims", ConfigErrorKind::NotA("an object"));
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
                self.report(&format!("claims.{name}"), ConfigErrorKind::NotAClaim);
            }
            claims.push((name, allowed));
        }
        claims
    }
}
