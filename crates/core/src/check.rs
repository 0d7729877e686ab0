//! The checks of one request, step by step. The crate's front page lists their order.

pub(crate) mod authenticated;
mod blocks;
mod completion;
mod record_state;
pub(crate) mod renewal;
pub(crate) mod store_result;
mod verdict;

use crate::limits::check::LimitCheck;
use crate::limits::key::LimitInput;
use crate::policy::Policy;
use crate::policy::issuer::Issuer;
use crate::policy::route::{ACR, AUTH_TIME, Access, Route, StoreOutage, TokenRequirement};
use crate::refusal::{Denial, Outage};
use crate::request::client_address::{address_group, client_address};
use crate::request::head::RequestHead;
use crate::store::keys::StoreKeys;
use crate::time::UnixSeconds;
use crate::token::bearer::Token;
use crate::token::claims::Claims;
use crate::token::jwt::UnverifiedJwt;
use crate::token::received::ReceivedClaims;
use crate::token::record::TokenRecord;
use crate::token::unverified::UnverifiedToken;
use crate::token::verified::VerifiedToken;
use crate::token_hash::TokenHash;
use authenticated::AuthenticatedRequest;
use redis_rest::{Command, Reply};
use std::net::IpAddr;
use std::rc::Rc;
use store_result::StoreResult;

/// A request with its route, and with its token if the route checks one.
#[derive(Debug)]
pub struct Check<'h, 'p: 'h> {
    policy: &'p Policy,
    route: &'p Route,
    head: RequestHead<'h>,
    credential: Option<(Token<'h>, TokenHash)>,
    client: Option<IpAddr>,
    address: String,
    limited: bool,
}

impl<'h, 'p: 'h> Check<'h, 'p> {
    /// Checks the client's address, and reads the request's token if its route checks tokens.
    ///
    /// # Errors
    ///
    /// [`Denial::RouteDenied`], [`Denial::AddressRefused`], or, on a protected or optional route,
    /// what [`Token::from_head`] or [`Token::if_present`] returns.
    pub fn new(
        head: &RequestHead<'h>,
        route: &'p Route,
        policy: &'p Policy,
    ) -> Result<Self, Denial> {
        if route.access == Access::Deny {
            return Err(Denial::RouteDenied);
        }
        let client = client_address(head, policy.trusted_proxy_hops);
        let ip_rules = route.ip_rules.as_ref().unwrap_or(&policy.ip_rules);
        ip_rules.check(client, head.location())?;
        let token = match route.access {
            Access::Auth | Access::Deny | Access::Events | Access::Public => None,
            Access::Optional => Token::if_present(head, route)?,
            Access::Protected => Some(Token::from_head(head, route)?),
        };
        let credential = token.map(|token| (token, token.hash()));
        let limited = ip_rules.is_limited(client);
        let (head, address) = (head.clone(), address_group(client));
        Ok(Self { policy, route, head, credential, client, address, limited })
    }

    /// Returns the key for counting invalid tokens: the client's IPv4 address or IPv6 /64.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns what the route does with tokens while the store is unavailable.
    pub fn on_store_outage(&self) -> StoreOutage {
        self.route.on_store_outage
    }

    /// Returns whether limits count the request.
    pub fn is_limited(&self) -> bool {
        self.limited
    }

    /// Returns the hash of the request's token. Returns `None` if the route checks none, or if the
    /// request is anonymous.
    pub fn token_hash(&self) -> Option<TokenHash> {
        self.credential.map(|(_, hash)| hash)
    }

    /// Returns the token's claims about its issuer and audience, verified or not, for the log.
    pub fn received_claims(&self) -> Option<ReceivedClaims> {
        self.credential.and_then(|(token, _)| ReceivedClaims::of(token, &self.policy.issuers))
    }

    /// Checks everything about the token that needs no I/O: form (RFC 7515 section 3.1), header,
    /// claims (RFC 9068 section 4) and times (RFC 7519 section 4.1).
    ///
    /// # Errors
    ///
    /// [`Denial::TokenMissing`] on a route that requires no token, [`Denial::IssuerRefused`] if the
    /// route does not accept the issuer, [`Denial::AudienceMismatch`] if the token is not for the
    /// route's resource, or the first thing that is wrong with the token.
    pub fn unverified_token(&self, now: UnixSeconds) -> Result<UnverifiedToken<'h>, Denial> {
        let (token, _) = self.credential.ok_or(Denial::TokenMissing)?;
        let (issuers, others) = (&self.policy.issuers, &self.policy.other_claims);
        let token = UnverifiedToken::parse(token, issuers, others, now)?;
        self.check_issuer(token.issuer())?;
        if let UnverifiedToken::Jwt(jwt) = &token {
            self.check_audience(&jwt.claims)?;
        }
        Ok(token)
    }

    /// Checks whether the route accepts tokens of the issuer at `place`.
    fn check_issuer(&self, place: usize) -> Result<(), Denial> {
        match self.issuer(place) {
            Some(issuer) if self.route.accepts_issuer(issuer) => Ok(()),
            _ => Err(Denial::IssuerRefused),
        }
    }

    /// Checks whether a token is for the route's resource. A verified token may be cached, and was
    /// accepted for another resource then.
    fn check_audience(&self, claims: &Claims) -> Result<(), Denial> {
        match claims.audiences.include(self.route.resource) {
            true => Ok(()),
            false => Err(Denial::AudienceMismatch),
        }
    }

    /// Accepts a JWT if the host found its signature `valid`.
    ///
    /// # Errors
    ///
    /// [`Denial::SignatureInvalid`] if it is not.
    pub fn accept_signature(
        &self,
        jwt: UnverifiedJwt<'h>,
        valid: bool,
    ) -> Result<Rc<VerifiedToken>, Denial> {
        let hash = self.token_hash().filter(|_| valid).ok_or(Denial::SignatureInvalid)?;
        Ok(Rc::new(VerifiedToken::new(&self.policy.keys, hash, jwt.issuer, jwt.claims)))
    }

    /// Accepts an opaque token by its record, from the store or from a provider's response (RFC
    /// 7662).
    ///
    /// # Errors
    ///
    /// [`Denial::TokenInactive`] if the record is not for the `issuer` at that place in the policy,
    /// or is that of an API key, and [`Denial::TokenMissing`] on a route that requires no token.
    pub fn accept_record(
        &self,
        issuer: usize,
        record: TokenRecord,
    ) -> Result<Rc<VerifiedToken>, Denial> {
        let hash = self.token_hash().ok_or(Denial::TokenMissing)?;
        let claims = self.claims_of(issuer, record).filter(|claims| claims.key.is_none());
        let claims = claims.ok_or(Denial::TokenInactive)?;
        Ok(Rc::new(VerifiedToken::new(&self.policy.keys, hash, issuer, claims)))
    }

    /// Accepts an API key by its record, with the text that the store has for it. The text is empty
    /// if the record is a response of the key's issuer.
    ///
    /// # Errors
    ///
    /// Those of [`Check::accept_record`]. [`Denial::TokenInactive`], too, if the record is not that
    /// of an API key.
    pub fn accept_key(
        &self,
        issuer: usize,
        opened: (String, Rc<TokenRecord>),
    ) -> Result<Rc<VerifiedToken>, Denial> {
        let hash = self.token_hash().ok_or(Denial::TokenMissing)?;
        let claims = self.claims_of(issuer, TokenRecord::clone(&opened.1));
        let claims = claims.filter(|claims| claims.key.is_some()).ok_or(Denial::TokenInactive)?;
        Ok(Rc::new(VerifiedToken::of_key(&self.policy.keys, hash, issuer, claims, opened)))
    }

    /// Returns the claims of a record; `None` if it is not for the issuer.
    fn claims_of(&self, issuer: usize, mut record: TokenRecord) -> Option<Claims> {
        record.place_claims(&self.policy.other_claims);
        record.claims(self.issuer(issuer)?)
    }

    /// Opens the record that the store has of an API key. Returns `None` if it can't be read, or is
    /// not that of an API key.
    pub fn open_key(&self, text: String) -> Option<(String, Rc<TokenRecord>)> {
        let key = self.policy.keys.token(&self.token_hash()?);
        let record = TokenRecord::decode(&text, &key, self.policy.seal.as_ref());
        Some((text, Rc::new(record.filter(TokenRecord::is_of_key)?)))
    }

    /// Authenticates the request by its verified token, whose times are checked again. `cleared` is
    /// the requirement for which the store cleared the token recently enough; `None` if it did not.
    ///
    /// # Errors
    ///
    /// [`Denial::SignatureInvalid`] if the token is another request's, [`Denial::TokenMalformed`]
    /// if it came in a place where its kind is not accepted, [`Denial::IssuerRefused`],
    /// [`Denial::AudienceMismatch`], [`Denial::TokenExpired`], [`Denial::TokenNotYetValid`],
    /// [`Denial::KeyNetworkDenied`] or [`Denial::InsufficientUserAuthentication`].
    pub fn authenticate(
        &self,
        verified: Rc<VerifiedToken>,
        cleared: Option<TokenRequirement>,
        now: UnixSeconds,
    ) -> Result<AuthenticatedRequest<'p>, Denial> {
        if self.token_hash() != Some(verified.hash()) {
            return Err(Denial::SignatureInvalid);
        }
        if !self.credential.is_some_and(|(token, _)| token.may_be(verified.is_api_key())) {
            return Err(Denial::TokenMalformed);
        }
        self.check_issuer(verified.issuer())?;
        self.check_audience(verified.claims())?;
        let issuer = self.issuer(verified.issuer());
        let leeway_seconds = issuer.map_or(0, |issuer| issuer.leeway_seconds);
        verified.claims().check_times(leeway_seconds, now)?;
        verified.claims().check_network(self.client)?;
        self.check_login(verified.claims(), leeway_seconds, now)?;
        let limit_checks = self.limit_checks(Some(verified.claims()));
        let verified = Some(verified);
        Ok(AuthenticatedRequest { verified, cleared, limit_checks, now })
    }

    /// Checks whether the user's login is of a class and a time that the route accepts (RFC 9470).
    /// An API key has no login.
    fn check_login(
        &self,
        claims: &Claims,
        leeway_seconds: u64,
        now: UnixSeconds,
    ) -> Result<(), Denial> {
        let (classes, max_age) = (&self.route.acr_values, self.route.max_age_seconds);
        let has_login = claims.key.is_none();
        let has_class = classes.is_empty() || (has_login && claims.has_acr(classes));
        if !has_class {
            return Err(Denial::InsufficientUserAuthentication(ACR));
        }
        let is_recent =
            |seconds: u32| has_login && claims.is_login_within(seconds.into(), leeway_seconds, now);
        if max_age.is_none_or(is_recent) {
            return Ok(());
        }
        Err(Denial::InsufficientUserAuthentication(AUTH_TIME))
    }

    /// Accepts a request without a token, if its route requires none.
    ///
    /// # Errors
    ///
    /// [`Denial::TokenMissing`] if the request has one.
    pub fn without_token(&self) -> Result<AuthenticatedRequest<'p>, Denial> {
        match self.credential {
            None => Ok(AuthenticatedRequest {
                verified: None,
                cleared: None,
                limit_checks: self.limit_checks(None),
                now: UnixSeconds::default(),
            }),
            Some(_) => Err(Denial::TokenMissing),
        }
    }

    /// Returns the store's commands that the verdict needs. Empty if it needs none. The token's
    /// markers, the address's block and the token's record are one command, because stores bill
    /// each one; [`Check::divide`] divides its result.
    pub fn commands(&self, authenticated: &AuthenticatedRequest<'_>) -> Vec<Command> {
        let mut commands = Vec::with_capacity(1 + authenticated.limit_checks.len());
        if let Some(verified) = self.token_to_query(authenticated) {
            let query = verified.marker_query().arg(self.address_block());
            commands.push(match self.needs_record(verified) {
                true => query.arg(verified.record_key()),
                false => query,
            });
        }
        commands.extend(self.address_query(authenticated));
        commands.extend(authenticated.limit_checks().map(LimitCheck::command));
        commands
    }

    fn limit_checks(&self, claims: Option<&Claims>) -> Vec<LimitCheck<'p>> {
        let input = LimitInput {
            head: &self.head,
            address: &self.address,
            route: &self.route.name,
            claims,
        };
        let limits = match (self.route.access, claims) {
            (Access::Optional, None) => &self.route.anonymous_limits,
            _ => &self.route.limits,
        };
        let limit_checks = limits.iter().filter(|_| self.limited).map(|limit| {
            let key = StoreKeys::limit_hash(&limit.name, &limit.key(&input));
            let (quota, cost) = (limit.quota_for(claims), self.route.cost);
            let is_own = claims.is_some_and(|claims| limit.own_quota(claims).is_some());
            let (keys, terms) = (&self.policy.keys, limit.lease_terms(quota));
            let (ahead, lease, owes_nothing) = (0, None, false);
            LimitCheck { limit, keys, key, quota, is_own, cost, terms, ahead, lease, owes_nothing }
        });
        limit_checks.collect()
    }

    /// Returns the results that [`Check::decide`] takes from those of [`Check::commands`]: the
    /// result about the token becomes one about its markers and, if the route needs it, one about
    /// its record.
    pub fn divide(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        mut results: Vec<StoreResult>,
    ) -> Vec<StoreResult> {
        if !self.queries_record(authenticated) {
            return results;
        }
        let Some(markers) = results.first_mut() else {
            return results;
        };
        let record = match markers {
            StoreResult::Reply(Reply::Array(values)) => match values.pop() {
                Some(record) => StoreResult::Reply(record),
                None => StoreResult::Out(Outage::StoreBadResponse),
            },
            other => other.clone(),
        };
        results.insert(1, record);
        results
    }

    /// Returns whether the store is queried for the token's record.
    pub fn queries_record(&self, authenticated: &AuthenticatedRequest<'_>) -> bool {
        let queried = self.token_to_query(authenticated);
        queried.is_some_and(|verified| self.needs_record(verified))
    }

    /// Returns how many of the results are about the token, or about the address of a request
    /// without one. Those of the limits follow them.
    fn token_results(&self, authenticated: &AuthenticatedRequest<'_>) -> usize {
        match self.token_to_query(authenticated) {
            Some(verified) => 1 + usize::from(self.needs_record(verified)),
            None => usize::from(self.queries_address(authenticated)),
        }
    }

    /// Returns the token to query the store about. A recently cleared token needs no query. It is
    /// queried only if the store is queried for limits anyway.
    fn token_to_query<'q>(
        &self,
        authenticated: &'q AuthenticatedRequest<'_>,
    ) -> Option<&'q VerifiedToken> {
        let queried =
            !self.is_cleared(authenticated) || authenticated.limit_checks().next().is_some();
        authenticated.verified.as_deref().filter(|_| queried)
    }

    /// Returns whether the store cleared the token recently enough for this route.
    fn is_cleared(&self, authenticated: &AuthenticatedRequest<'_>) -> bool {
        match authenticated.cleared {
            Some(TokenRequirement::Record) => true,
            Some(TokenRequirement::NotRevoked) => {
                self.route.require == TokenRequirement::NotRevoked
            }
            None => false,
        }
    }

    /// Returns whether the store must have the token's record. An opaque token was verified by its
    /// record or its provider already. An API key is what its record says at this moment.
    fn needs_record(&self, verified: &VerifiedToken) -> bool {
        verified.is_api_key()
            || (self.is_signed(verified) && self.route.require == TokenRequirement::Record)
    }

    /// Returns whether the token is a JWT, verified by a signature.
    fn is_signed(&self, verified: &VerifiedToken) -> bool {
        !verified.is_api_key()
            && self.issuer(verified.issuer()).is_some_and(|issuer| issuer.keys.is_some())
    }

    fn issuer(&self, place: usize) -> Option<&'p Issuer> {
        self.policy.issuers.get(place)
    }
}

#[cfg(test)]
mod tests;
