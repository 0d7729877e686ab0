//! Routing: a request goes to the first matching route, unless the edge answers it itself.

mod challenge;
pub(crate) mod index;
pub(crate) mod operator;
pub(crate) mod preflight;
pub(crate) mod well_known;

use crate::policy::Policy;
use crate::policy::path::{Case, NormalizedPath};
use crate::policy::route::{Access, Route};
use crate::refusal::Denial;
use crate::request::head::RequestHead;
use crate::request::syntax::is_host;
use preflight::Fields;

/// The destination of a request.
#[derive(Clone, Debug)]
pub enum Destination<'p> {
    /// The edge itself, with this response.
    Edge(Answer),
    /// A route.
    Route(&'p Route),
}

/// A response of the edge itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub fields: Fields,
    /// The body, as JSON; empty for none.
    pub body: String,
}

impl Policy {
    /// Returns the methods that the routes of a request's path name, for `Allow` (RFC 9110
    /// section 10.2.1).
    pub fn allowed_methods(&self, head: &RequestHead<'_>) -> Vec<&str> {
        let mut methods = Vec::new();
        let Ok(path) = NormalizedPath::of(head.path()) else {
            return methods;
        };
        let matching = |route: &&Route| route.pattern.matches(&path, Case::Exact);
        for method in self.routes.iter().filter(matching).flat_map(|route| &route.methods) {
            let with_head = (method == "GET").then_some("HEAD");
            for method in [method.as_str()].into_iter().chain(with_head) {
                let taken = first(self.routes.iter(), &path, Case::Exact, method);
                let is_taken = taken.is_ok_and(|route| route.access != Access::Deny);
                if is_taken && !methods.contains(&method) {
                    methods.push(method);
                }
            }
        }
        methods
    }

    /// Returns the routes before the route that takes a request, each with the reason why it does
    /// not.
    pub fn mismatches(&self, head: &RequestHead<'_>) -> Vec<(&str, &'static str)> {
        let Ok(path) = NormalizedPath::of(head.path()) else {
            return Vec::new();
        };
        let method = preflight::requested_method(head).unwrap_or(head.method());
        let taken = first(self.routes.iter(), &path, Case::Exact, method).ok();
        let is_before = |route: &&Route| !taken.is_some_and(|taken| std::ptr::eq(taken, *route));
        let reason = |route: &Route| match route.pattern.matches(&path, Case::Exact) {
            false => "its path does not match",
            true if route.is_for(method) => "it must name the method, because of an earlier route",
            true => "it is for other methods",
        };
        let before = self.routes.iter().take_while(is_before);
        before.map(|route| (route.name.as_str(), reason(route))).collect()
    }

    /// Returns the destination of a request.
    ///
    /// # Errors
    ///
    /// The reason why it has none: among others [`Denial::RouteNotFound`],
    /// [`Denial::MethodNotAllowed`], [`Denial::PathAmbiguous`] for a path that has two readings or
    /// over 4,096 bytes, and [`Denial::HeadersTooLarge`] for over 128 fields.
    pub fn destination(&self, head: &RequestHead<'_>) -> Result<Destination<'_>, Denial> {
        self.destination_among(self.routes.iter(), head)
    }

    /// Returns the destination of a request, which no routes but these match.
    fn destination_among<'p>(
        &'p self,
        routes: impl Iterator<Item = &'p Route> + Clone,
        head: &RequestHead<'_>,
    ) -> Result<Destination<'p>, Denial> {
        if let Some(body) = well_known::document(self, head) {
            let fields = vec![
                ("content-type", "application/json".to_owned()),
                ("cache-control", "public, max-age=300".to_owned()),
                // RFC 9728 section 3.2: clients of every origin need it, and it is public.
                ("access-control-allow-origin", "*".to_owned()),
            ];
            return Ok(Destination::Edge(Answer { status: 200, fields, body }));
        }
        let Some(method) = preflight::requested_method(head) else {
            return find(routes, head, head.method()).map(Destination::Route);
        };
        let cors = match find(routes, head, method) {
            // The server behind an open route may have CORS rules of its own.
            Ok(route) if route.cors.is_none() && !route.access.checks_tokens() => {
                return Ok(Destination::Route(route));
            }
            Ok(route) => route.cors.as_ref(),
            Err(Denial::RouteNotFound) if self.cors.is_some() => self.cors.as_ref(),
            Err(denial) => return Err(denial),
        };
        let fields = cors.map(|cors| cors.preflight(head)).unwrap_or_default();
        Ok(Destination::Edge(Answer { status: 204, fields, body: String::new() }))
    }
}

/// Returns the first route that matches the path and `method`, which a preflight requests for
/// later. Rejects a path with more than one reading, a malformed host, a GET or HEAD with a body,
/// and a head that is larger than any client needs.
fn find<'r>(
    routes: impl Iterator<Item = &'r Route> + Clone,
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
    let path = NormalizedPath::of(head.path())?;
    // Some servers treat `/Admin` and `/admin` as one path. If case decides which route matches,
    // the path is ambiguous.
    let exact = first(routes.clone(), &path, Case::Exact, method);
    match (exact, first(routes, &path, Case::Folded, method)) {
        (Ok(exact), Ok(folded)) if std::ptr::eq(exact, folded) => Ok(exact),
        (Err(exact), Err(folded)) if exact == folded => Err(exact),
        (Ok(_) | Err(_), _) => Err(Denial::PathAmbiguous),
    }
}

/// Returns the first route that matches `path` and takes `method`. After a guarded route of the
/// path, a later one takes only the methods that it names: what the first one asks for is not lost
/// by another method.
fn first<'r>(
    routes: impl Iterator<Item = &'r Route>,
    path: &NormalizedPath,
    case: Case,
    method: &str,
) -> Result<&'r Route, Denial> {
    let (mut matched, mut guarded) = (false, false);
    for route in routes.filter(|route| route.pattern.matches(path, case)) {
        if route.lists(method) || (!guarded && route.is_for(method)) {
            return Ok(route);
        }
        // A later and weaker route must not get requests that this route would deny or check more
        // strictly.
        if route.is_for(method) && (route.access.checks_tokens() || route.access == Access::Deny) {
            break;
        }
        matched = true;
        guarded = guarded || route.is_guarded();
    }
    Err(if matched { Denial::MethodNotAllowed } else { Denial::RouteNotFound })
}

/// A number above that of the header fields that clients send.
const FIELDS_MAX: usize = 128;

#[cfg(test)]
mod tests;
