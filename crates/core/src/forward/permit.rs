//! The permit to forward a request.

use crate::policy::Policy;
use crate::policy::limit::LimitOutage;
use crate::policy::route::{Access, Endpoint, Route, StoreOutage, TokenRequirement};
use crate::token::verified::VerifiedToken;
use crate::token_hash::TokenHash;
use crate::url::BaseUrl;
use std::rc::Rc;

/// The permit to forward one request. Only [`crate::Check::decide`] creates one, and
/// [`Permit::unenforced`] for routes that do not enforce.
#[derive(Debug)]
pub struct Permit<'p> {
    pub(crate) route: &'p Route,
    pub(crate) target: Target<'p>,
    pub(crate) policy: &'p Policy,
    /// The caller's token, if the route checks tokens and the request has one.
    pub(crate) verified: Option<Rc<VerifiedToken>>,
    /// Whether the store or the token's provider has just cleared the token, and that may be
    /// cached.
    pub(crate) cacheable: bool,
    pub(crate) degraded: Degraded,
}

/// The decisions that were taken without the store, because it was unavailable.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Degraded {
    /// The rule that decided on the token; `None` if the store did.
    pub token: Option<StoreOutage>,
    /// The rule that applied to a limit; `None` if all were counted.
    pub limit: Option<LimitOutage>,
}

impl Degraded {
    /// Returns the text for a header field and the log; `None` if the store decided everything.
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
    /// The auth service. The body is bounded, the auth service's timeout applies, and no identity
    /// is sent.
    Auth(&'p BaseUrl),
    /// None: the edge answers the request itself.
    Edge,
    /// The API. The body is a stream, and the upstream's timeout applies.
    Upstream(&'p BaseUrl),
}

impl<'p> Permit<'p> {
    /// Returns a permit without an identity for a request that a route would refuse; `None` if the
    /// route enforces its refusals.
    pub fn unenforced(route: &'p Route, policy: &'p Policy) -> Option<Self> {
        let goes_upstream = route.access.checks_tokens() || route.access == Access::Public;
        let may_pass = !route.enforce && goes_upstream;
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
            Target::Edge | Target::Upstream(_) => {
                self.route.timeout_ms.unwrap_or(self.policy.timeouts.upstream_ms)
            }
        }
    }

    /// Returns the name of the route.
    pub fn route(&self) -> &'p str {
        &self.route.name
    }

    /// Returns the OAuth endpoint that the request is for; `None` if the edge does not handle it
    /// specially.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.route.endpoint.filter(|_| self.policy.refresh_replay_seconds > 0)
    }

    /// Returns the server that the request is forwarded to.
    pub fn target(&self) -> Target<'p> {
        self.target
    }

    /// Returns whether the response is for this caller only. The platform's cache can't see that,
    /// because `Authorization` is not forwarded.
    pub fn is_personal(&self) -> bool {
        self.route.access != Access::Public
    }

    /// Returns the token that the store or its provider cleared for this request, and for which
    /// requirement, if that may be cached.
    pub fn cleared(&self) -> Option<(TokenHash, TokenRequirement)> {
        let verified = self.verified.as_ref().filter(|_| self.cacheable)?;
        let requirement = match verified.is_api_key() {
            true => TokenRequirement::Record,
            false => self.route.require,
        };
        Some((verified.hash(), requirement))
    }
}
