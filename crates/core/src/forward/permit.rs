//! The permit to forward a request.

use crate::policy::Policy;
use crate::policy::limit::LimitOutage;
use crate::policy::route::{Access, Endpoint, Route, StoreOutage, TokenRequirement};
use crate::token::verified::VerifiedToken;
use crate::token_hash::TokenHash;
use crate::url::BaseUrl;
use std::rc::Rc;

/// The permit to forward one request. [`crate::Check::decide`] creates one, and
/// [`Permit::unenforced`] for routes that do not enforce.
#[derive(Debug)]
pub struct Permit<'p> {
    pub(crate) route: &'p Route,
    pub(crate) target: Target<'p>,
    pub(crate) policy: &'p Policy,
    /// The caller's token, if the route requires one.
    pub(crate) verified: Option<Rc<VerifiedToken>>,
    /// Whether the store or the token's provider has just cleared the token, and that may be
    /// cached.
    pub(crate) cacheable: bool,
    pub(crate) degraded: Degraded,
}

/// What was decided without the store, because it was unavailable.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Degraded {
    /// What decided on the token instead.
    pub token: Option<StoreOutage>,
    /// What applied to a limit instead.
    pub limit: Option<LimitOutage>,
}

impl Degraded {
    /// Returns the text for a header field and the log, or `None` if the store decided everything.
    pub fn text(self) -> Option<&'static str> {
        use LimitOutage::{Allow, Local};
        use StoreOutage::{Introspect, Signature};
        let token = self.token.filter(|token| *token != StoreOutage::Deny);
        let limit = self.limit.filter(|limit| *limit != LimitOutage::Deny);
        Some(match (token, limit) {
            (Some(Introspect), Some(Local)) => "token=introspect, limit=local",
            (Some(Introspect), Some(Allow)) => "token=introspect, limit=allow",
            (Some(Introspect), _) => "token=introspect",
            (Some(Signature), Some(Local)) => "token=signature, limit=local",
            (Some(Signature), Some(Allow)) => "token=signature, limit=allow",
            (Some(Signature), _) => "token=signature",
            (_, Some(Local)) => "limit=local",
            (_, Some(Allow)) => "limit=allow",
            (_, _) => return None,
        })
    }
}

/// The server that a request is forwarded to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target<'p> {
    /// The auth service: with a bounded body, the auth service's timeout, and no identity.
    Auth(&'p BaseUrl),
    /// The API: with the body as a stream, and the upstream's timeout.
    Upstream(&'p BaseUrl),
}

impl<'p> Permit<'p> {
    /// Returns the permit for a request that a route would refuse, if the route does not enforce
    /// that. It carries no identity.
    pub fn unenforced(route: &'p Route, policy: &'p Policy) -> Option<Self> {
        let may_pass = !route.enforce && matches!(route.access, Access::Protected | Access::Public);
        may_pass.then(|| Self {
            route,
            target: Target::Upstream(route.upstream.as_ref().unwrap_or(&policy.upstream)),
            policy,
            verified: None,
            cacheable: false,
            degraded: Degraded::default(),
        })
    }

    /// Returns what was decided without the store.
    pub fn degraded(&self) -> Degraded {
        self.degraded
    }

    /// Returns the timeout until the response begins, in milliseconds.
    pub fn deadline_ms(&self) -> u32 {
        match self.target {
            Target::Auth(_) => self.route.timeout_ms.unwrap_or(self.policy.timeouts.auth_ms),
            Target::Upstream(_) => {
                self.route.timeout_ms.unwrap_or(self.policy.timeouts.upstream_ms)
            }
        }
    }

    /// Returns the name of the route.
    pub fn route(&self) -> &'p str {
        &self.route.name
    }

    /// Returns the OAuth endpoint that the request is for, if the edge takes part in it.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.route.endpoint.filter(|_| self.policy.refresh_replay_seconds > 0)
    }

    /// Returns the server that the request is forwarded to.
    pub fn target(&self) -> Target<'p> {
        self.target
    }

    /// Returns whether the response is for this caller alone. The platform's cache does not notice
    /// it, because `Authorization` is not forwarded.
    pub fn is_personal(&self) -> bool {
        self.route.access != Access::Public
    }

    /// Returns the token that the store or its provider cleared for this request, and for which
    /// requirement, if that may be cached.
    pub fn cleared(&self) -> Option<(TokenHash, TokenRequirement)> {
        let verified = self.verified.as_ref().filter(|_| self.cacheable)?;
        Some((verified.hash(), self.route.require))
    }
}
