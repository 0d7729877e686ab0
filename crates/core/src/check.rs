//! One request's judgement, step by step; see the crate's page for their order.

use crate::claims::Claims;
use crate::credential::{Token, TokenHash};
use crate::denial::{Denial, Outage, Refusal};
use crate::head::Head;
use crate::introspection::Introspection;
use crate::issuer::Issuer;
use crate::jwt::UnverifiedJwt;
use crate::limit::{Limit, LimitBy, address_group};
use crate::permit::{Permit, Target};
use crate::policy::Policy;
use crate::route::{Access, Mode, Route};
use crate::session::{TokenRecord, revoked_before};
use crate::time::UnixSeconds;
use redis_rest::{Command, Reply};
use std::rc::Rc;

/// A request whose route is known, with its token where the route asks for one.
#[derive(Debug)]
pub struct Check<'a> {
    policy: &'a Policy,
    route: &'a Route,
    credential: Option<(Token<'a>, TokenHash)>,
    address: String,
}

/// A token that nobody has vouched for.
#[allow(clippy::large_enum_variant, reason = "made once a request and taken apart at once")]
#[derive(Debug)]
pub enum Candidate<'a> {
    /// A JWT, well-formed and in date: its issuer's key decides.
    Jwt(UnverifiedJwt<'a>),
    /// An opaque token: the store or its provider decides.
    Opaque(Provider<'a>),
}

/// Who can be asked about a request's token.
#[derive(Clone, Copy, Debug)]
pub struct Provider<'a> {
    /// The raw token, for [`Introspection::question`] alone.
    pub token: Token<'a>,
    /// The place of its issuer in the policy.
    pub issuer: usize,
    /// The endpoint and our credentials there.
    pub introspection: &'a Introspection,
}

/// Whose token it is, as somebody vouched for it: what a host may remember of a token.
#[derive(Debug)]
pub struct Vouched {
    hash: TokenHash,
    issuer: usize,
    claims: Claims,
}

/// That a request's token is genuine and in date, or that its route asks for none.
#[derive(Debug)]
pub struct Proof {
    vouched: Option<Rc<Vouched>>,
    cleared: Option<Mode>,
    now: UnixSeconds,
}

/// What the store's record says of a token that is genuine.
enum Standing {
    /// It is another token's, or can't be read.
    Foreign,
    /// There is none, or a provider's word that is too old.
    Missing,
    /// It is registered; on the word of a provider whose revocations do not reach the store, or on that of
    /// whoever issued it.
    Registered { by_provider: bool },
}

impl Vouched {
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
        self.claims.bytes()
    }

    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    #[cfg(test)]
    pub(crate) fn of(record: TokenRecord, issuer: &str) -> Self {
        let claims = record.claims(issuer).unwrap();
        Self { hash: TokenHash::of("token"), issuer: 0, claims }
    }
}

impl<'a> Check<'a> {
    /// Finds the request's one token, if its route asks for one.
    pub fn new(head: &Head<'a>, route: &'a Route, policy: &'a Policy) -> Result<Self, Denial> {
        let credential = match route.access {
            Access::Auth | Access::Public => None,
            Access::Protected => {
                let token = Token::from_head(head, route)?;
                Some((token, token.hash()))
            }
        };
        Ok(Self { policy, route, credential, address: address_group(head) })
    }

    /// The hash of the request's token; none where the route asks for none.
    pub fn token_hash(&self) -> Option<TokenHash> {
        self.credential.map(|(_, hash)| hash)
    }

    /// Judges all that can be judged without asking anybody: form, header, claims, times.
    pub fn candidate(&self, now: UnixSeconds) -> Result<Candidate<'a>, Denial> {
        let (token, _) = self.credential.ok_or(Denial::TokenMissing)?;
        let issuers = &self.policy.issuers;
        if !UnverifiedJwt::is_like(token) {
            let provider = issuers.iter().enumerate().find_map(|(issuer, described)| {
                let opaque = described.keys.is_none();
                let introspection = described.introspection.as_ref().filter(|_| opaque)?;
                let fits = token.expose().starts_with(&introspection.token_prefix);
                fits.then_some(Provider { token, issuer, introspection })
            });
            return provider.map(Candidate::Opaque).ok_or(Denial::TokenMalformed);
        }
        UnverifiedJwt::parse(token, issuers, &self.policy.other_claims, now).map(Candidate::Jwt)
    }

    /// Takes the host's word on the signature of a JWT.
    pub fn vouch_signature(
        &self,
        jwt: UnverifiedJwt<'a>,
        holds: bool,
    ) -> Result<Rc<Vouched>, Denial> {
        let hash = self.token_hash().filter(|_| holds).ok_or(Denial::SignatureInvalid)?;
        Ok(Rc::new(Vouched { hash, issuer: jwt.issuer, claims: jwt.claims }))
    }

    /// Takes a record's word on an opaque token: one of the store, or one that a provider's answer made.
    pub fn vouch_record(&self, issuer: usize, record: TokenRecord) -> Result<Rc<Vouched>, Denial> {
        let hash = self.token_hash().ok_or(Denial::TokenMissing)?;
        let name = self.issuer(issuer).map(|issuer| issuer.issuer.as_str());
        let claims = name.and_then(|name| record.claims(name)).ok_or(Denial::TokenInactive)?;
        Ok(Rc::new(Vouched { hash, issuer, claims }))
    }

    /// That this request's token is the one that was vouched for, and in date. `cleared` says in which mode
    /// the store has cleared it lately enough.
    pub fn prove(
        &self,
        vouched: Rc<Vouched>,
        cleared: Option<Mode>,
        now: UnixSeconds,
    ) -> Result<Proof, Denial> {
        if self.token_hash() != Some(vouched.hash) {
            return Err(Denial::SignatureInvalid);
        }
        let leeway_seconds = self.issuer(vouched.issuer).map_or(0, |issuer| issuer.leeway_seconds);
        vouched.claims.judge_times(leeway_seconds, now)?;
        Ok(Proof { vouched: Some(vouched), cleared, now })
    }

    /// That the route asks for no token.
    pub fn open(&self) -> Result<Proof, Denial> {
        match self.credential {
            None => Ok(Proof { vouched: None, cleared: None, now: UnixSeconds::default() }),
            Some(_) => Err(Denial::TokenMissing),
        }
    }

    /// Everything that the verdict needs from the store; empty where it needs nothing.
    pub fn commands(&self, proof: &Proof) -> Vec<Command> {
        let keys = &self.policy.keys;
        let mut commands = Vec::with_capacity(3);
        if let Some(vouched) = self.unsettled(proof) {
            let claims = &vouched.claims;
            let mut markers = Command::new("MGET");
            for (key, _) in self.markers(claims) {
                markers = markers.arg(key);
            }
            commands.push(markers);
            if self.needs_record(vouched) {
                commands.push(Command::new("GET").arg(keys.token(&vouched.hash)));
            }
        }
        if let Some(limit) = self.route.limit {
            let who = self.counted_by(limit, proof);
            commands.push(limit.command(&keys.limit(&self.route.name, &who)));
        }
        commands
    }

    /// Who can be asked, once, about a genuine token whose record the store turned out not to have.
    pub fn missing_record(
        &self,
        proof: &Proof,
        answer: &Result<Vec<Reply>, Outage>,
    ) -> Option<Provider<'a>> {
        let vouched = self.unsettled(proof).filter(|vouched| self.needs_record(vouched))?;
        let introspection = self.issuer(vouched.issuer)?.introspection.as_ref()?;
        let (Ok(replies), Some((token, _))) = (answer, self.credential) else {
            return None;
        };
        let [Reply::Array(markers), record, ..] = replies.as_slice() else {
            return None;
        };
        // Whoever is revoked already needs no second opinion.
        let clean = markers.iter().all(|marker| *marker == Reply::Null);
        let standing = self.standing(record, vouched, proof.now);
        (clean && matches!(standing, Ok(Standing::Missing))).then_some(Provider {
            token,
            issuer: vouched.issuer,
            introspection,
        })
    }

    /// The verdict, from the store's replies to [`Check::commands`] or from its outage.
    pub fn decide(
        &self,
        proof: &Proof,
        answer: Result<Vec<Reply>, Outage>,
    ) -> Result<Permit<'a>, Refusal> {
        let mut replies = answer?.into_iter();
        let mut next = || replies.next().ok_or(Refusal::Out(Outage::StoreFaulty));
        if proof.vouched.as_ref().map(|vouched| vouched.hash) != self.token_hash() {
            // A proof of one check does not serve another.
            return Err(Denial::SignatureInvalid.into());
        }
        let unsettled = self.unsettled(proof);
        let mut clears = unsettled.is_some();
        if let Some(vouched) = unsettled {
            self.judge_markers(&next()?, &vouched.claims)?;
            if self.needs_record(vouched) {
                match self.standing(&next()?, vouched, proof.now)? {
                    Standing::Foreign | Standing::Missing => {
                        return Err(Denial::TokenUnknown.into());
                    }
                    // A provider's word is as old as its answer, so nothing is kept on top of it.
                    Standing::Registered { by_provider } => clears = !by_provider,
                }
            }
        }
        if let Some(vouched) = &proof.vouched {
            self.judge_holder(&vouched.claims)?;
        }
        if self.route.limit.is_some() {
            Limit::judge(&next()?)?;
        }
        let policy = self.policy;
        let target = match self.route.access {
            Access::Auth => Target::Origin(&policy.origin),
            Access::Protected | Access::Public => {
                Target::Upstream(self.route.upstream.as_ref().unwrap_or(&policy.upstream))
            }
        };
        let holder = proof.vouched.clone();
        Ok(Permit::new(self.route, target, policy, holder, clears))
    }

    fn issuer(&self, place: usize) -> Option<&'a Issuer> {
        self.policy.issuers.get(place)
    }

    /// The holder of whom the store must be asked. What it cleared lately is not asked again, unless it is
    /// asked for the limit in any case.
    fn unsettled<'p>(&self, proof: &'p Proof) -> Option<&'p Vouched> {
        let settled = match proof.cleared {
            Some(Mode::Registered) => true,
            Some(Mode::Unrevoked) => self.route.mode == Mode::Unrevoked,
            None => false,
        };
        let asked = !settled || self.route.limit.is_some();
        proof.vouched.as_deref().filter(|_| asked)
    }

    /// Whether the guest list must have the token. An opaque token is on it already: its record or its
    /// provider is what vouched for it.
    fn needs_record(&self, vouched: &Vouched) -> bool {
        let signed = self.issuer(vouched.issuer).is_some_and(|issuer| issuer.keys.is_some());
        signed && self.route.mode == Mode::Registered
    }

    /// The keys of the markers that could revoke a token, and whether each spares what was issued after it.
    fn markers(&self, claims: &Claims) -> Vec<(String, bool)> {
        let (keys, iss) = (&self.policy.keys, claims.iss.as_str());
        let mut markers = Vec::with_capacity(4);
        markers.push((keys.revoked_sub(iss, &claims.sub), true));
        if let Some(client) = &claims.client_id {
            markers.push((keys.revoked_client(iss, client), true));
        }
        if let Some(jti) = &claims.jti {
            markers.push((keys.revoked_jti(iss, jti), false));
        }
        if let Some(sid) = &claims.sid {
            markers.push((keys.revoked_sid(iss, sid), false));
        }
        markers
    }

    fn judge_markers(&self, reply: &Reply, claims: &Claims) -> Result<(), Refusal> {
        let expected = self.markers(claims);
        let Reply::Array(markers) = reply else {
            return Err(Outage::StoreFaulty.into());
        };
        if markers.len() != expected.len() {
            return Err(Outage::StoreFaulty.into());
        }
        for (marker, (_, spares_later)) in markers.iter().zip(expected) {
            let before = match marker {
                Reply::Null => continue,
                Reply::Bulk(_) | Reply::Status(_) => {
                    revoked_before(marker.as_text().unwrap_or_default())
                }
                Reply::Integer(number) => u64::try_from(*number).unwrap_or(u64::MAX),
                Reply::Array(_) | Reply::Error(_) => return Err(Outage::StoreFaulty.into()),
            };
            if !spares_later || claims.issued_at().0 <= before {
                return Err(Denial::TokenRevoked.into());
            }
        }
        Ok(())
    }

    fn standing(
        &self,
        reply: &Reply,
        vouched: &Vouched,
        now: UnixSeconds,
    ) -> Result<Standing, Outage> {
        match reply {
            Reply::Null => return Ok(Standing::Missing),
            Reply::Bulk(_) | Reply::Status(_) => {}
            Reply::Array(_) | Reply::Error(_) | Reply::Integer(_) => {
                return Err(Outage::StoreFaulty);
            }
        }
        let (claims, issuer) = (&vouched.claims, self.issuer(vouched.issuer));
        let Some((record, issuer)) = reply.as_text().and_then(TokenRecord::decode).zip(issuer)
        else {
            return Ok(Standing::Foreign);
        };
        let Some(asked_at) = record.asked_at.map(UnixSeconds) else {
            let same = record.sub == claims.sub && record.sid == claims.sid;
            return Ok(if same {
                Standing::Registered { by_provider: false }
            } else {
                Standing::Foreign
            });
        };
        // `sid` is no member of an introspection's answer, so a provider may leave it out.
        let same = record.sub == claims.sub && (record.sid.is_none() || record.sid == claims.sid);
        let Some(introspection) = issuer.introspection.as_ref().filter(|_| same) else {
            return Ok(Standing::Foreign);
        };
        if introspection.revocations_in_store {
            return Ok(Standing::Registered { by_provider: false });
        }
        let bound = self.policy.revocation_seconds_max;
        let kept = introspection.keeps_seconds(claims.exp, Some(asked_at), bound, now) > 0;
        Ok(if kept || asked_at == now {
            Standing::Registered { by_provider: true }
        } else {
            Standing::Missing
        })
    }

    fn judge_holder(&self, claims: &Claims) -> Result<(), Denial> {
        let (all, any) = (&self.route.scopes, &self.route.scopes_any);
        let scoped = all.iter().all(|scope| claims.has_scope(scope))
            && (any.is_empty() || any.iter().any(|scope| claims.has_scope(scope)));
        if !scoped {
            return Err(Denial::ScopeInsufficient);
        }
        let claimed = |(name, allowed): &(String, Vec<_>)| claims.has_claim(name, allowed);
        if !self.route.claims.iter().all(claimed) {
            return Err(Denial::ClaimInsufficient);
        }
        Ok(())
    }

    fn counted_by(&self, limit: Limit, proof: &Proof) -> String {
        match (limit.by, &proof.vouched) {
            (LimitBy::Subject, Some(vouched)) => {
                format!("{}\n{}", vouched.claims.iss, vouched.claims.sub)
            }
            (LimitBy::Address, _) | (LimitBy::Subject, None) => self.address.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
