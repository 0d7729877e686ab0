//! One request's judgement, step by step; see the crate's page for their order.

mod verdict;

use crate::claims::Claims;
use crate::credential::Token;
use crate::request::client_address::{address_group, client_address};
use crate::token_hash::TokenHash;
use crate::refusal::{Denial, Outage};
use crate::jwt::UnverifiedJwt;
use crate::store::keys::StoreKeys;
use crate::limit::{
    LimitCheck, LimitDecision, LimitInput,
};
use crate::marker;
use crate::policy::Policy;
use crate::request::head::RequestHead;
use crate::policy::introspection::Introspection;
use crate::policy::issuer::Issuer;
use crate::policy::limit::{LimitOutage, LimitTiming};
use crate::policy::route::{Access, Route, StoreOutage, TokenRequirement};
use crate::store::seal::Seal;
use crate::session::TokenRecord;
use crate::time::UnixSeconds;
use redis_rest::{Command, Reply};
use std::cell::RefCell;
use std::rc::Rc;
use verdict::Standing;

/// A request whose route is known, with its token where the route asks for one.
#[derive(Debug)]
pub struct Check<'h, 'p: 'h> {
    policy: &'p Policy,
    route: &'p Route,
    head: RequestHead<'h>,
    credential: Option<(Token<'h>, TokenHash)>,
    address: String,
    limited: bool,
}

/// A token that nobody has vouched for.
#[allow(clippy::large_enum_variant, reason = "made once a request and taken apart at once")]
#[derive(Debug)]
pub enum UnverifiedToken<'a> {
    /// A JWT, well-formed and in date: its issuer's key decides.
    Jwt(UnverifiedJwt<'a>),
    /// An opaque token: the store or its provider decides.
    Opaque(Provider<'a>),
}

/// Who can be asked about a request's token.
#[derive(Clone, Copy, Debug)]
pub struct Provider<'a> {
    /// The raw token, for [`Introspection::request`] alone.
    pub token: Token<'a>,
    /// The place of its issuer in the policy.
    pub issuer: usize,
    /// The endpoint and our credentials there.
    pub introspection: &'a Introspection,
}

/// Whose token it is, as somebody vouched for it: what a host may remember of a token.
#[derive(Debug)]
pub struct VerifiedToken {
    hash: TokenHash,
    issuer: usize,
    claims: Claims,
    /// What the store is asked about it: for the markers, and for its record.
    queries: [Command; 2],
    /// The record that was opened last, as it was stored: the same text opens to the same.
    opened: RefCell<Option<(String, Rc<TokenRecord>)>>,
}

/// That a request's token is genuine and in date, or that its route asks for none; and so, whom its limits
/// count.
#[derive(Debug)]
pub struct AuthenticatedRequest<'p> {
    verified: Option<Rc<VerifiedToken>>,
    cleared: Option<TokenRequirement>,
    limit_checks: Vec<LimitCheck<'p>>,
    all_now: bool,
    now: UnixSeconds,
}

impl<'p> AuthenticatedRequest<'p> {
    /// Nothing is counted after the answer: a store that can't be asked won't count it then either, and the
    /// limits have a word for that.
    pub fn check_all_limits_now(&mut self) {
        self.all_now = true;
    }

    /// What is counted before the verdict.
    pub fn limit_checks(&self) -> impl Iterator<Item = &LimitCheck<'p>> {
        self.limit_checks
            .iter()
            .filter(|limit_check| self.all_now || limit_check.limit.timing == LimitTiming::Exact)
    }

    /// What is counted after the answer.
    pub fn late_limit_checks(&self) -> impl Iterator<Item = &LimitCheck<'p>> {
        self.limit_checks
            .iter()
            .filter(|limit_check| !self.all_now && limit_check.limit.timing == LimitTiming::After)
    }
}

/// What is known of something that the store was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreResult {
    /// The store's reply.
    Reply(Reply),
    /// A token's record, in a reply or in the word of its provider.
    Record(Rc<TokenRecord>),
    /// There is none.
    Out(Outage),
    /// There is none, and the token's provider vouches for it, now.
    Introspected,
    /// There is none, and the isolate counted: how much is left, if that is known, or for how long nothing is.
    CountedLocally(Result<Option<u64>, u64>),
}

/// What the store does not say of a genuine token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// It has no record of it.
    Record,
    /// Anything: it can't be asked.
    Store,
}

impl VerifiedToken {
    fn new(keys: &StoreKeys, hash: TokenHash, issuer: usize, claims: Claims) -> Self {
        let record = Command::new("GET").arg(keys.token(&hash));
        let queries = [marker::query(keys, &claims), record];
        Self { hash, issuer, claims, queries, opened: RefCell::default() }
    }

    /// The token's hash.
    pub fn hash(&self) -> TokenHash {
        self.hash
    }

    /// The place of its issuer in the policy.
    pub fn issuer(&self) -> usize {
        self.issuer
    }

    /// How much memory it takes, roughly.
    pub fn bytes(&self) -> usize {
        let words = self.queries.iter().flat_map(Command::words);
        let queries: usize = words.map(|word| size_of::<Vec<u8>>() + word.len()).sum();
        self.claims.bytes() + queries + OPENED_BYTES_MAX
    }

    /// The record of which the store sent this text; none if it can't be read.
    fn open(&self, text: &str, key: &str, seal: Option<&Seal>) -> Option<Rc<TokenRecord>> {
        let opened = self.opened.borrow();
        if let Some((_, record)) = opened.as_ref().filter(|(sealed, _)| sealed == text) {
            return Some(Rc::clone(record));
        }
        drop(opened);
        let record = Rc::new(TokenRecord::decode(text, key, seal)?);
        if text.len() <= OPENED_BYTES_MAX / 2 {
            self.opened.replace(Some((text.to_owned(), Rc::clone(&record))));
        }
        Some(record)
    }

    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    #[cfg(test)]
    pub(crate) fn of(record: TokenRecord, issuer: &str) -> Self {
        let claims = record.claims(issuer).unwrap();
        Self::new(&StoreKeys::new(StoreKeys::PREFIX), TokenHash::of("token"), 0, claims)
    }
}

impl<'h, 'p: 'h> Check<'h, 'p> {
    /// Finds the request's one token, if its route asks for one.
    pub fn new(
        head: &RequestHead<'h>,
        route: &'p Route,
        policy: &'p Policy,
    ) -> Result<Self, Denial> {
        let address = client_address(head, policy.trusted_proxies);
        let addresses = route.addresses.as_ref().unwrap_or(&policy.addresses);
        addresses.check(address)?;
        let credential = match route.access {
            Access::Auth | Access::Public => None,
            Access::Protected => {
                let token = Token::from_head(head, route)?;
                Some((token, token.hash()))
            }
        };
        let limited = addresses.is_limited(address);
        let (head, address) = (head.clone(), address_group(address));
        Ok(Self { policy, route, head, credential, address, limited })
    }

    /// Whom bad tokens are counted for: the client's address, or what one subscriber has.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What holds for the token while the store can't be asked.
    pub fn on_store_outage(&self) -> StoreOutage {
        self.route.on_store_outage
    }

    /// Whether limits count the request.
    pub fn is_limited(&self) -> bool {
        self.limited
    }

    /// The hash of the request's token; none where the route asks for none.
    pub fn token_hash(&self) -> Option<TokenHash> {
        self.credential.map(|(_, hash)| hash)
    }

    /// Judges all that can be judged without asking anybody: form, header, claims, times.
    pub fn unverified_token(&self, now: UnixSeconds) -> Result<UnverifiedToken<'h>, Denial> {
        let (token, _) = self.credential.ok_or(Denial::TokenMissing)?;
        let issuers = &self.policy.issuers;
        if !UnverifiedJwt::is_like(token) {
            let provider = issuers.iter().enumerate().find_map(|(issuer, described)| {
                let opaque = described.keys.is_none();
                let introspection = described.introspection.as_ref().filter(|_| opaque)?;
                let fits = token.expose().starts_with(&introspection.token_prefix);
                fits.then_some(Provider { token, issuer, introspection })
            });
            return provider.map(UnverifiedToken::Opaque).ok_or(Denial::TokenMalformed);
        }
        UnverifiedJwt::parse(token, issuers, &self.policy.other_claims, now)
            .map(UnverifiedToken::Jwt)
    }

    /// Takes the host's word on the signature of a JWT.
    pub fn accept_signature(
        &self,
        jwt: UnverifiedJwt<'h>,
        holds: bool,
    ) -> Result<Rc<VerifiedToken>, Denial> {
        let hash = self.token_hash().filter(|_| holds).ok_or(Denial::SignatureInvalid)?;
        Ok(Rc::new(VerifiedToken::new(&self.policy.keys, hash, jwt.issuer, jwt.claims)))
    }

    /// Takes a record's word on an opaque token: one of the store, or one that a provider's answer made.
    pub fn accept_record(
        &self,
        issuer: usize,
        record: TokenRecord,
    ) -> Result<Rc<VerifiedToken>, Denial> {
        let hash = self.token_hash().ok_or(Denial::TokenMissing)?;
        let name = self.issuer(issuer).map(|issuer| issuer.issuer.as_str());
        let claims = name.and_then(|name| record.claims(name)).ok_or(Denial::TokenInactive)?;
        Ok(Rc::new(VerifiedToken::new(&self.policy.keys, hash, issuer, claims)))
    }

    /// That this request's token is the one that was vouched for, and in date. `cleared` says in which mode
    /// the store has cleared it lately enough.
    pub fn authenticate(
        &self,
        verified: Rc<VerifiedToken>,
        cleared: Option<TokenRequirement>,
        now: UnixSeconds,
    ) -> Result<AuthenticatedRequest<'p>, Denial> {
        if self.token_hash() != Some(verified.hash) {
            return Err(Denial::SignatureInvalid);
        }
        let leeway_seconds = self.issuer(verified.issuer).map_or(0, |issuer| issuer.leeway_seconds);
        verified.claims.judge_times(leeway_seconds, now)?;
        let limit_checks = self.limit_checks(Some(&verified.claims));
        Ok(AuthenticatedRequest {
            verified: Some(verified),
            cleared,
            limit_checks,
            all_now: false,
            now,
        })
    }

    /// That the route asks for no token.
    pub fn without_token(&self) -> Result<AuthenticatedRequest<'p>, Denial> {
        match self.credential {
            None => Ok(AuthenticatedRequest {
                verified: None,
                cleared: None,
                limit_checks: self.limit_checks(None),
                all_now: false,
                now: UnixSeconds::default(),
            }),
            Some(_) => Err(Denial::TokenMissing),
        }
    }

    fn limit_checks(&self, claims: Option<&Claims>) -> Vec<LimitCheck<'p>> {
        let of = LimitInput {
            head: &self.head,
            address: &self.address,
            route: &self.route.name,
            claims,
        };
        let limits = self.route.limits.iter().filter(|_| self.limited);
        let limit_checks = limits.map(|limit| {
            let (store_key, key) = self.policy.keys.limit(&limit.name, &limit.key(&of));
            let (quota, cost) = (limit.quota_for(claims), self.route.cost);
            LimitCheck { limit, store_key, key, quota, cost }
        });
        limit_checks.collect()
    }

    /// Everything that the verdict needs from the store; empty where it needs nothing.
    pub fn commands(&self, authenticated: &AuthenticatedRequest<'_>) -> Vec<Command> {
        let mut commands = Vec::with_capacity(2 + authenticated.limit_checks.len());
        if let Some(verified) = self.unsettled(authenticated) {
            let [markers, record] = &verified.queries;
            commands.push(markers.clone());
            if self.needs_record(verified) {
                commands.push(record.clone());
            }
        }
        commands.extend(authenticated.limit_checks().map(LimitCheck::command));
        commands
    }

    /// Whether the store was asked about the token, and not just for the limits, and answered.
    pub fn is_answered(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &[StoreResult],
    ) -> bool {
        let about = results.get(..self.about_token(authenticated)).unwrap_or_default();
        let out = |result: &StoreResult| {
            matches!(result, StoreResult::Out(_) | StoreResult::Introspected)
        };
        !about.is_empty() && !about.iter().any(out)
    }

    /// How many of the commands are about the token; the limits' follow them.
    fn about_token(&self, authenticated: &AuthenticatedRequest<'_>) -> usize {
        match self.unsettled(authenticated) {
            Some(verified) => 1 + usize::from(self.needs_record(verified)),
            None => 0,
        }
    }

    /// Who can be asked, once, about a genuine token: the store turned out not to have its record, or can't
    /// be asked and the route wants another's word then.
    pub fn missing_record(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &[StoreResult],
    ) -> Option<(Provider<'h>, Missing)> {
        let verified = self.unsettled(authenticated)?;
        let introspection = self.issuer(verified.issuer)?.introspection.as_ref()?;
        let (token, _) = self.credential?;
        let provider = Provider { token, issuer: verified.issuer, introspection };
        let about = results.get(..self.about_token(authenticated))?;
        if about.iter().any(|result| matches!(result, StoreResult::Out(_))) {
            let wanted = self.route.on_store_outage == StoreOutage::Introspect;
            return wanted.then_some((provider, Missing::Store));
        }
        let [StoreResult::Reply(Reply::Array(markers)), record] = about else {
            return None;
        };
        // Whoever is revoked already needs no second opinion.
        let clean = markers.iter().all(|marker| *marker == Reply::Null);
        let standing = self.standing(record, verified, authenticated.now);
        let missing = clean && matches!(standing, Ok(Standing::Missing));
        missing.then_some((provider, Missing::Record))
    }

    /// Opens the record that the store sent, if it sent one. One that can't be read counts as missing, and
    /// the result says so.
    pub fn open_record(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &mut [StoreResult],
    ) -> bool {
        let Some(verified) =
            self.unsettled(authenticated).filter(|verified| self.needs_record(verified))
        else {
            return false;
        };
        let Some(result) = results.get_mut(1) else {
            return false;
        };
        let StoreResult::Reply(reply @ (Reply::Bulk(_) | Reply::Status(_))) = result else {
            return false;
        };
        let key = verified.queries.last().and_then(|record| record.text(1)).unwrap_or_default();
        let text = reply.as_text().unwrap_or_default();
        let record = verified.open(text, key, self.policy.seal.as_ref());
        let closed = record.is_none();
        *result = match record {
            Some(record) => StoreResult::Record(record),
            None => StoreResult::Reply(Reply::Null),
        };
        closed
    }

    /// Puts a provider's word of this moment in the place of what the store lacks; refused if it is about
    /// another holder.
    pub fn complete(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &mut [StoreResult],
        missing: Missing,
        record: TokenRecord,
    ) -> Result<(), Denial> {
        match missing {
            Missing::Record => {
                if let Some(result) = results.get_mut(1) {
                    *result = StoreResult::Record(Rc::new(record));
                }
            }
            Missing::Store => {
                let holder = authenticated.verified.as_ref().map(|verified| &verified.claims.sub);
                if holder != Some(&record.sub) {
                    return Err(Denial::TokenNotRegistered);
                }
                self.accept_introspection(authenticated, results);
            }
        }
        Ok(())
    }

    /// Puts the word that the token's provider gave in this request in the place of what the store lacks. What
    /// the store did say stands.
    pub fn accept_introspection(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &mut [StoreResult],
    ) {
        for result in results.iter_mut().take(self.about_token(authenticated)) {
            if matches!(result, StoreResult::Out(_)) {
                *result = StoreResult::Introspected;
            }
        }
    }

    /// The limits that the store did not count and that the isolate may, with their places among the
    /// findings.
    pub fn uncounted<'q>(
        &self,
        authenticated: &'q AuthenticatedRequest<'p>,
        results: &[StoreResult],
    ) -> Vec<(usize, &'q LimitCheck<'p>)> {
        let about = self.about_token(authenticated);
        let limit_checks = authenticated
            .limit_checks()
            .enumerate()
            .map(|(place, limit_check)| (about + place, limit_check));
        let out = |(place, limit_check): &(usize, &LimitCheck<'p>)| {
            let counted = match results.get(*place) {
                Some(StoreResult::Reply(reply)) => limit_check.decision(reply).is_some(),
                Some(StoreResult::CountedLocally(_)) => true,
                Some(StoreResult::Out(_) | StoreResult::Introspected | StoreResult::Record(_))
                | None => false,
            };
            !counted && limit_check.limit.on_store_outage == LimitOutage::Local
        };
        limit_checks.filter(out).collect()
    }

    /// What the limits said; of those that nobody counted, nothing.
    pub fn limit_decisions(
        &self,
        authenticated: &AuthenticatedRequest<'p>,
        results: &[StoreResult],
    ) -> Vec<LimitDecision<'p>> {
        let about = results.get(self.about_token(authenticated)..).unwrap_or_default();
        let limit_decisions = authenticated.limit_checks().zip(about).filter_map(
            |(limit_check, result)| match result {
                StoreResult::Reply(reply) => limit_check.decision(reply),
                StoreResult::CountedLocally(count) => Some(limit_check.local_decision(*count)),
                StoreResult::Out(_) | StoreResult::Introspected | StoreResult::Record(_) => None,
            },
        );
        limit_decisions.collect()
    }

    fn issuer(&self, place: usize) -> Option<&'p Issuer> {
        self.policy.issuers.get(place)
    }

    /// The holder of whom the store must be asked. What it cleared lately is not asked again, unless it is
    /// asked for the limit in any case.
    fn unsettled<'q>(
        &self,
        authenticated: &'q AuthenticatedRequest<'_>,
    ) -> Option<&'q VerifiedToken> {
        let asked =
            !self.is_settled(authenticated) || authenticated.limit_checks().next().is_some();
        authenticated.verified.as_deref().filter(|_| asked)
    }

    /// Whether the store cleared the token lately enough for this route.
    fn is_settled(&self, authenticated: &AuthenticatedRequest<'_>) -> bool {
        match authenticated.cleared {
            Some(TokenRequirement::Record) => true,
            Some(TokenRequirement::NotRevoked) => {
                self.route.require == TokenRequirement::NotRevoked
            }
            None => false,
        }
    }

    /// Whether the guest list must have the token. An opaque token is on it already: its record or its
    /// provider is what vouched for it.
    fn needs_record(&self, verified: &VerifiedToken) -> bool {
        let signed = self.issuer(verified.issuer).is_some_and(|issuer| issuer.keys.is_some());
        signed && self.route.require == TokenRequirement::Record
    }
}

/// What is set aside for the record of a token that is remembered, sealed and opened.
const OPENED_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests;
