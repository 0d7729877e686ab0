//! Routes: the requests that they match, and their requirements.

use super::cors::Cors;
use super::ip_rules::IpRules;
use super::issuer::Issuer;
use super::limit::Limit;
use super::path::Pattern;
use crate::url::BaseUrl;
use serde_json::Value;

/// A route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The name in logs and in the keys of its limit.
    pub name: String,
    /// Who may use it.
    pub access: Access,
    /// Whether the route refuses requests. If not, it logs what it would refuse, and forwards those
    /// requests without an identity.
    pub enforce: bool,
    /// The methods of the route; empty for all.
    pub methods: Vec<String>,
    /// The paths of the route.
    pub pattern: Pattern,
    /// How its paths with a suffix are treated, if the configuration says so.
    pub suffixes: Option<Suffixes>,
    /// The scopes that a token must have, all of them (RFC 6749 section 3.3).
    pub scopes: Vec<String>,
    /// The scopes of which a token must have at least one; empty for no requirement.
    pub scopes_any: Vec<String>,
    /// The places of the claims that a token must have, each with its allowed values.
    pub claims: Vec<(String, Vec<Value>)>,
    /// The classes of logins (`acr`) that are accepted, in order of preference; empty for all (RFC
    /// 9470 section 3).
    pub acr_values: Vec<String>,
    /// The longest time since the subject's login (`auth_time`), 1 to 31,536,000 s; `None` for no
    /// bound (RFC 9470 section 3).
    pub max_age_seconds: Option<u32>,
    /// The issuers whose tokens are accepted; empty for all.
    pub issuers: Vec<String>,
    /// The place in the policy of the resource that tokens must be for; `None` for the audience of
    /// their issuer.
    pub resource: Option<usize>,
    /// What the store must confirm about a token.
    pub require: TokenRequirement,
    /// The rate limits; on an optional route, those of requests with a token.
    pub limits: Vec<Limit>,
    /// The rate limits of requests without a token, on an optional route.
    pub anonymous_limits: Vec<Limit>,
    /// How much of each limit a request takes, 1 to 1,000,000.
    pub cost: u32,
    /// What applies to tokens while the store is unavailable.
    pub on_store_outage: StoreOutage,
    /// The route's address rules; `None` for the policy's.
    pub ip_rules: Option<IpRules>,
    /// The timeout until the upstream's or the auth service's response begins, in milliseconds;
    /// `None` for the policy's.
    pub timeout_ms: Option<u32>,
    /// The longest time that a stream or WebSocket goes on, 1 to 86,400 s. It ends no later than
    /// its token. `None` for no bound.
    pub stream_seconds_max: Option<u32>,
    /// The interval at which the store is queried whether the token of a stream or WebSocket was
    /// revoked, 1 to 86,400 s. `None` for never.
    pub stream_recheck_seconds: Option<u32>,
    /// The OAuth endpoint at its path, if any.
    pub endpoint: Option<Endpoint>,
    /// The route's upstream; `None` for the policy's.
    pub upstream: Option<BaseUrl>,
    /// The cookie that may hold the token.
    pub cookie: Option<String>,
    /// The header field that may hold an API key, in lower case.
    pub api_key_header: Option<String>,
    /// Whether the token is forwarded to the upstream.
    pub forward_token: bool,
    /// Whether the upstream receives a signed assertion of the caller's identity.
    pub assertion: bool,
    /// The audience of the assertion; `None` for the policy's.
    pub assertion_audience: Option<String>,
    /// The CORS policy.
    pub cors: Option<Cors>,
}

/// The callers that may use a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Everyone; requests go to the auth service: login, refresh, logout, metadata.
    Auth,
    /// No caller.
    Deny,
    /// Issuers that push events, which the edge answers itself.
    Events,
    /// Callers with a valid token, and those without one, who are anonymous; requests go to the
    /// upstream.
    Optional,
    /// Callers with a valid token; requests go to the upstream.
    Protected,
    /// Everyone; requests go to the upstream.
    Public,
}

impl Access {
    pub(crate) const NAMES: [(&str, Self); 6] = [
        ("auth", Self::Auth),
        ("deny", Self::Deny),
        ("events", Self::Events),
        ("optional", Self::Optional),
        ("protected", Self::Protected),
        ("public", Self::Public),
    ];

    /// Returns whether routes of this access check the token of a request that has one.
    pub fn checks_tokens(self) -> bool {
        matches!(self, Self::Optional | Self::Protected)
    }
}

/// How the upstream of the route `/x` treats `/x.json` and `/x.`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Suffixes {
    /// As other paths.
    Distinct,
    /// As the same path.
    Same,
}

impl Suffixes {
    pub(crate) const NAMES: [(&str, Self); 2] =
        [("distinct", Self::Distinct), ("same", Self::Same)];
}

/// An OAuth 2.0 endpoint for which the edge coordinates requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// Revocation (RFC 7009) and logout. Afterwards no response is replayed.
    Revocation,
    /// Tokens (RFC 6749 section 3.2) and JSON refreshes. Identical refreshes get the same response.
    Token,
}

impl Endpoint {
    pub(crate) const NAMES: [(&str, Self); 2] =
        [("revocation", Self::Revocation), ("token", Self::Token)];
}

/// What the store must confirm about a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenRequirement {
    /// An allow list: the token has a record, and is not revoked.
    Record,
    /// A deny list: neither the token nor its session or subject is revoked.
    NotRevoked,
}

impl TokenRequirement {
    pub(crate) const NAMES: [(&str, Self); 2] =
        [("not_revoked", Self::NotRevoked), ("record", Self::Record)];
}

/// What applies to tokens while the store is unavailable.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StoreOutage {
    /// All tokens are refused.
    #[default]
    Deny,
    /// The issuer's introspection decides, within a rate.
    Introspect,
    /// A valid signature suffices: revoked tokens work again until they expire.
    Signature,
}

impl StoreOutage {
    pub(crate) const NAMES: [(&str, Self); 3] =
        [("deny", Self::Deny), ("introspect", Self::Introspect), ("signature", Self::Signature)];
}

/// The claim with the class of the subject's login (OpenID Connect Core section 2).
pub(crate) const ACR: &str = "acr";
/// The claim with the time of the subject's login (OpenID Connect Core section 2).
pub(crate) const AUTH_TIME: &str = "auth_time";

impl Route {
    /// Returns the scope that a challenge asks a client to request (RFC 6750 section 3): each of
    /// `scopes`, and each of `scopes_any` unless one of those is among `scopes`. There is no word
    /// for "one of these", and an issuer grants those that the client may have.
    pub(crate) fn challenge_scope(&self) -> String {
        let mut scopes = self.scopes.clone();
        if !self.scopes_any.iter().any(|scope| scopes.contains(scope)) {
            scopes.extend(self.scopes_any.iter().cloned());
        }
        scopes.join(" ")
    }

    /// Returns whether the upstream receives the token. On a route that does not enforce, it does,
    /// so that the upstream can still check the token itself.
    pub(crate) fn keeps_token(&self) -> bool {
        self.forward_token || !self.enforce
    }

    /// Returns whether the route accepts `method`. A route for GET also accepts HEAD, because
    /// servers serve both by the same code (RFC 9110 section 9.3.2).
    pub(crate) fn is_for(&self, method: &str) -> bool {
        self.methods.is_empty() || self.lists(method)
    }

    /// Returns whether the route names `method`, or GET for HEAD.
    pub fn lists(&self, method: &str) -> bool {
        let listed = |wanted: &str| self.methods.iter().any(|own| own == wanted);
        listed(method) || (method == "HEAD" && listed("GET"))
    }

    /// Returns whether the route accepts tokens of an issuer.
    pub(crate) fn accepts_issuer(&self, issuer: &Issuer) -> bool {
        self.issuers.is_empty() || self.issuers.contains(&issuer.issuer)
    }

    /// Returns whether later routes get its paths only for the methods that they name.
    pub(crate) fn is_guarded(&self) -> bool {
        self.access == Access::Protected
    }

    /// Returns whether some method is accepted by both routes.
    pub(crate) fn shares_a_method(&self, other: &Self) -> bool {
        self.methods.is_empty()
            || other.methods.is_empty()
            || other.methods.iter().any(|method| self.is_for(method))
    }

    /// Returns the members in which this route requires less than `other`.
    pub fn asks_less_than(&self, other: &Self) -> Vec<&'static str> {
        let strictness = |access| match access {
            Access::Auth | Access::Events | Access::Public => 0,
            Access::Optional => 1,
            Access::Protected => 2,
            Access::Deny => 3,
        };
        let (own, others) = (strictness(self.access), strictness(other.access));
        let as_few = other.ip_rules.is_none() || self.ip_rules == other.ip_rules;
        let may_refuse = others > 0 || other.ip_rules.is_some();
        let mut less = Vec::new();
        if own < others {
            less.push("access");
        }
        let has_all = |needed: &[String]| needed.iter().all(|scope| self.scopes.contains(scope));
        let within = |own: &[String], allowed: &[String]| {
            allowed.is_empty() || (!own.is_empty() && own.iter().all(|name| allowed.contains(name)))
        };
        let any_scope = within(&self.scopes_any, &other.scopes_any)
            || other.scopes_any.iter().any(|scope| self.scopes.contains(scope));
        let has_claim = |(name, allowed): &(String, Vec<Value>)| {
            self.claims.iter().any(|(own, values)| {
                own == name && values.iter().all(|value| allowed.contains(value))
            })
        };
        let as_strict =
            self.require == TokenRequirement::Record || other.require != TokenRequirement::Record;
        let as_recent = other
            .max_age_seconds
            .is_none_or(|theirs| self.max_age_seconds.is_some_and(|own| own <= theirs));
        let checks = [
            ("scopes", has_all(&other.scopes)),
            ("scopes_any", any_scope),
            ("claims", other.claims.iter().all(has_claim)),
            ("acr_values", within(&self.acr_values, &other.acr_values)),
            ("max_age_seconds", as_recent),
            ("issuers", within(&self.issuers, &other.issuers)),
            ("resource", self.resource == other.resource),
            ("require", as_strict),
        ];
        // An optional route checks the tokens that it gets as a protected one does.
        if self.access.checks_tokens() && other.access.checks_tokens() {
            less.extend(checks.into_iter().filter(|(_, as_much)| !as_much).map(|(name, _)| name));
        }
        if !as_few && self.access != Access::Deny {
            less.push("ip_rules");
        }
        if may_refuse && other.enforce && !self.enforce {
            less.push("enforce");
        }
        less
    }

    /// Returns whether a limit of `other` is missing here or more permissive. A route that does not
    /// enforce has no limits.
    pub(crate) fn limits_less_than(&self, other: &Self) -> bool {
        let less = |own: &[Limit], others: &[Limit]| {
            others.iter().filter(|limit| other.enforce && !limit.shadow).any(|theirs| {
                !own.iter().any(|own| {
                    self.enforce
                        && !own.shadow
                        && own.by == theirs.by
                        && !own.has_higher_rate_than(theirs)
                })
            })
        };
        less(&self.limits, &other.limits)
            || (self.access == Access::Optional
                && less(&self.anonymous_limits, &other.anonymous_limits))
    }

    /// Returns whether requests without a token reach this optional route, although `later`
    /// requires a token for the same ones.
    pub fn admits_anonymous_before(&self, later: &Self) -> bool {
        self.access == Access::Optional
            && later.access == Access::Protected
            && self.shares_a_method(later)
            && self.pattern.overlaps(&later.pattern)
    }

    /// Returns whether this route matches every request that `other` matches.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let every_method = self.methods.is_empty()
            || (!other.methods.is_empty() && other.methods.iter().all(|m| self.is_for(m)));
        every_method && self.pattern.covers(&other.pattern)
    }
}
