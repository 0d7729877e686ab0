//! What a valid policy allows that an operator may not want. Each risk has a name, by which the
//! policy can accept it.

use portcullis_core::{
    Access, AudienceClaim, Endpoint, Issuer, Policy, Route, StoreOutage, TokenType,
};

/// A risk of a valid policy.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Risk {
    /// The name, `signature_outage:api`.
    pub(crate) name: String,
    /// The place in the policy.
    pub(crate) place: String,
    /// What can happen, and what to change.
    pub(crate) reason: String,
}

/// Returns the risks of a policy, accepted or not.
pub(crate) fn of(policy: &Policy) -> Vec<Risk> {
    let mut risks = Vec::new();
    for (at, route) in policy.routes.iter().enumerate() {
        risks.extend(of_route(at, route));
    }
    for (at, route) in policy.routes.iter().enumerate() {
        let later = policy.routes.iter().skip(at + 1);
        let protected = later.filter(|later| route.admits_anonymous_before(later));
        risks.extend(protected.map(|later| anonymous_passes(at, route, later)));
    }
    for (at, resource) in policy.resources.iter().enumerate() {
        if !policy.routes.iter().any(|route| route.resource == Some(at)) {
            let name = &resource.name;
            risks.push(Risk {
                name: format!("resource_unused:{name}"),
                place: format!("resources[{at}]"),
                reason: format!(
                    "no route requires tokens for resource {name}; set resource = \"{name}\" on its \
                     routes, or remove it"
                ),
            });
        }
    }
    for (at, issuer) in policy.issuers.iter().enumerate() {
        risks.extend(of_issuer(at, issuer));
    }
    for warning in &policy.warnings {
        let about = |route: &Route| warning.route() == Some(&route.name);
        let route = policy.routes.iter().position(about);
        risks.push(Risk {
            name: warning.name(),
            place: route.map_or("routes".to_owned(), |at| format!("routes[{at}]")),
            reason: warning.to_string(),
        });
    }
    risks
}

fn of_route(at: usize, route: &Route) -> Vec<Risk> {
    let name = &route.name;
    let risk = |kind: &str, member: &str, reason: String| Risk {
        name: format!("{kind}:{name}"),
        place: format!("routes[{at}]{member}"),
        reason,
    };
    let mut risks = Vec::new();
    if route.on_store_outage == StoreOutage::Signature {
        risks.push(risk(
            "signature_outage",
            ".on_store_outage",
            format!(
                "while the store is unavailable, route {name} accepts revoked tokens until they \
                 expire; use deny or introspect"
            ),
        ));
    }
    if !route.enforce {
        risks.push(risk(
            "not_enforced",
            ".enforce",
            format!("route {name} refuses no request, and logs only what it would refuse"),
        ));
    }
    if route.access == Access::Optional && route.anonymous_limits.iter().all(|limit| limit.shadow) {
        risks.push(risk(
            "anonymous_unlimited",
            "",
            format!(
                "route {name} has no limit for requests without a token; name one by address in \
                 anonymous_limits"
            ),
        ));
    }
    let takes_passwords = route.access == Access::Auth
        && route.endpoint != Some(Endpoint::Revocation)
        && (route.methods.is_empty() || route.methods.iter().any(|method| method == "POST"));
    if takes_passwords && route.limits.iter().all(|limit| limit.shadow) {
        risks.push(risk(
            "login_unlimited",
            "",
            format!(
                "route {name} leads to the auth service without a limit, so that one client can \
                 try as many passwords as that admits; give it a limit by address"
            ),
        ));
    }
    risks
}

fn anonymous_passes(at: usize, route: &Route, later: &Route) -> Risk {
    let (name, later) = (&route.name, &later.name);
    Risk {
        name: format!("anonymous_passes:{name}:{later}"),
        place: format!("routes[{at}]"),
        reason: format!(
            "route {name} takes requests without a token for which route {later}, after it, \
             requires one; name other methods on one of them, or move {later} before {name}"
        ),
    }
}

fn of_issuer(at: usize, issuer: &Issuer) -> Vec<Risk> {
    let name = &issuer.issuer;
    let risk = |kind: &str, member: &str, reason: String| Risk {
        name: format!("{kind}:{name}"),
        place: format!("issuers[{at}].{member}"),
        reason,
    };
    let mut risks = Vec::new();
    if issuer.keys.is_some() && issuer.token_type == TokenType::Off {
        risks.push(risk(
            "type_unchecked",
            "token_type",
            format!(
                "any JWT that {name} signs for this audience passes as an access token, an ID token \
                 as well; use at+jwt or jwt"
            ),
        ));
    }
    if issuer.audience_claim == AudienceClaim::Iss {
        risks.push(risk(
            "audience_unchecked",
            "audience_claim",
            format!(
                "a token of {name} without aud is accepted, whichever API it is meant for; use it \
                 only if the issuer is this application's alone"
            ),
        ));
    }
    if issuer.tenants.as_ref().is_some_and(Vec::is_empty) {
        risks.push(risk(
            "tenants_unlisted",
            "issuer",
            format!(
                "every tenant of {name} is accepted, and anyone may open one; list them in tenants"
            ),
        ));
    }
    risks
}
