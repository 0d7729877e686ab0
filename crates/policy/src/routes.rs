//! The routes of a policy document, for people.

use portcullis_core::{Access, Policy, TokenRequirement};
use serde_json::Value;

/// A route in short.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteSummary {
    /// The name.
    pub name: String,
    /// The path as the policy file has it.
    pub path: String,
    /// The methods; empty for all.
    pub methods: Vec<String>,
    /// Who may use it, as the policy file says it.
    pub access: &'static str,
    /// What the store must confirm; `None` if the route checks no tokens.
    pub require: Option<&'static str>,
    /// The names of its limits.
    pub limits: Vec<String>,
    /// The scopes that a token must have.
    pub scopes: Vec<String>,
    /// The scopes of which a token must have one.
    pub scopes_any: Vec<String>,
    /// Where its requests go; `None` if the edge answers them.
    pub upstream: Option<String>,
}

/// Returns the routes of a policy document, which is JSON, in their order. Returns `None` if the
/// document is not a valid policy of this version.
pub fn routes(document: &str) -> Option<Vec<RouteSummary>> {
    let policy = Policy::assume(document, |_| None).ok()?;
    let written: Value = serde_json::from_str(document).ok()?;
    let written = written.get("routes").and_then(Value::as_array);
    let path = |place: usize| {
        let route = written.and_then(|routes| routes.get(place));
        route.and_then(|route| route.get("path")).and_then(Value::as_str).unwrap_or_default()
    };
    let routes = policy.routes.iter().enumerate().map(|(place, route)| {
        let limits = route.limits.iter().chain(&route.anonymous_limits);
        let upstream = match route.access {
            Access::Auth => policy.auth.as_ref(),
            Access::Deny | Access::Events => None,
            Access::Optional | Access::Protected | Access::Public => {
                Some(route.upstream.as_ref().unwrap_or(&policy.upstream))
            }
        };
        RouteSummary {
            name: route.name.clone(),
            path: path(place).to_owned(),
            methods: route.methods.clone(),
            access: access(route.access),
            require: route.access.checks_tokens().then_some(match route.require {
                TokenRequirement::NotRevoked => "not_revoked",
                TokenRequirement::Record => "record",
            }),
            limits: limits.map(|limit| limit.name.clone()).collect(),
            scopes: route.scopes.clone(),
            scopes_any: route.scopes_any.clone(),
            upstream: upstream.map(|url| url.as_str().to_owned()),
        }
    });
    Some(routes.collect())
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Auth => "auth",
        Access::Deny => "deny",
        Access::Events => "events",
        Access::Optional => "optional",
        Access::Protected => "protected",
        Access::Public => "public",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::PolicyFile;
    use crate::testing::POLICY;

    #[test]
    fn routes_have_their_paths_limits_and_targets() {
        let document = PolicyFile::parse(POLICY.to_owned()).ok().unwrap().document();
        let routes = routes(&document).unwrap();
        let names: Vec<(&str, &str, &str)> = routes
            .iter()
            .map(|route| (route.name.as_str(), route.path.as_str(), route.access))
            .collect();
        assert_eq!(
            names,
            [
                ("login", "/auth/login", "auth"),
                ("admin", "/api/admin/*", "protected"),
                ("api", "/api/*", "protected"),
                ("public", "/public/*", "public"),
            ]
        );
        assert_eq!(routes[0].upstream.as_deref(), Some("https://auth.example"));
        assert_eq!(routes[0].require, None);
        assert_eq!(routes[1].scopes, ["admin"]);
        assert_eq!(routes[2].limits, ["api"]);
        assert_eq!(routes[3].methods, ["GET"]);
        assert_eq!(routes[3].upstream.as_deref(), Some("https://upstream.example"));
        assert_eq!(super::routes("{}"), None);
    }
}
