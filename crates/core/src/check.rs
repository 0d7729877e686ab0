//! One request's judgement, step by step; see the crate's page for their order.

mod verdict;

use crate::address::client_address;
use crate::claims::Claims;
use crate::credential::{Token, TokenHash};
use crate::denial::{Denial, Outage};
use crate::head::Head;
use crate::introspection::Introspection;
use crate::issuer::Issuer;
use crate::jwt::UnverifiedJwt;
use crate::key::Keys;
use crate::limit::{Charge, Count, Counted, LimitOutage, Tally, address_group};
use crate::marker;
use crate::policy::Policy;
use crate::route::{Access, Mode, Route, StoreOutage};
use crate::seal::Seal;
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
    head: Head<'h>,
    credential: Option<(Token<'h>, TokenHash)>,
    address: String,
    limited: bool,
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
    /// What the store is asked about it: for the markers, and for its record.
    questions: [Command; 2],
    /// The record that was opened last, as it was stored: the same text opens to the same.
    opened: RefCell<Option<(String, Rc<TokenRecord>)>>,
}

/// That a request's token is genuine and in date, or that its route asks for none; and so, whom its limits
/// count.
#[derive(Debug)]
pub struct Proof<'p> {
    vouched: Option<Rc<Vouched>>,
    cleared: Option<Mode>,
    charges: Vec<Charge<'p>>,
    all_now: bool,
    now: UnixSeconds,
}

impl<'p> Proof<'p> {
    /// Nothing is counted after the answer: a store that can't be asked won't count it then either, and the
    /// limits have a word for that.
    pub fn count_now(&mut self) {
        self.all_now = true;
    }

    /// What is counted before the verdict.
    pub fn charges(&self) -> impl Iterator<Item = &Charge<'p>> {
        self.charges.iter().filter(|charge| self.all_now || charge.limit.count == Count::Exact)
    }

    /// What is counted after the answer.
    pub fn late_charges(&self) -> impl Iterator<Item = &Charge<'p>> {
        self.charges.iter().filter(|charge| !self.all_now && charge.limit.count == Count::Async)
    }
}

/// What is known of something that the store was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finding {
    /// The store's reply.
    Reply(Reply),
    /// A token's record, in a reply or in the word of its provider.
    Record(Rc<TokenRecord>),
    /// There is none.
    Out(Outage),
    /// There is none, and the token's provider vouches for it, now.
    Vouched,
    /// There is none, and the isolate counted: how much is left, if that is known, or for how long nothing is.
    Counted(Result<Option<u64>, u64>),
}

/// What the store does not say of a genuine token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// It has no record of it.
    Record,
    /// Anything: it can't be asked.
    Store,
}

impl Vouched {
    fn new(keys: &Keys, hash: TokenHash, issuer: usize, claims: Claims) -> Self {
        let record = Command::new("GET").arg(keys.token(&hash));
        let questions = [marker::question(keys, &claims), record];
        Self { hash, issuer, claims, questions, opened: RefCell::default() }
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
        let words = self.questions.iter().flat_map(Command::words);
        let questions: usize = words.map(|word| size_of::<Vec<u8>>() + word.len()).sum();
        self.claims.bytes() + questions + OPENED_BYTES_MAX
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
        Self::new(&Keys::new(Keys::PREFIX), TokenHash::of("token"), 0, claims)
    }
}

impl<'h, 'p: 'h> Check<'h, 'p> {
    /// Finds the request's one token, if its route asks for one.
    pub fn new(head: &Head<'h>, route: &'p Route, policy: &'p Policy) -> Result<Self, Denial> {
        let address = client_address(head, policy.trusted_proxies);
        let addresses = route.addresses.as_ref().unwrap_or(&policy.addresses);
        addresses.judge(address)?;
        let credential = match route.access {
            Access::Auth | Access::Public => None,
            Access::Protected => {
                let token = Token::from_head(head, route)?;
                Some((token, token.hash()))
            }
        };
        let limited = addresses.limits(address);
        let (head, address) = (head.clone(), address_group(address));
        Ok(Self { policy, route, head, credential, address, limited })
    }

    /// Whom bad tokens are counted for: the client's address, or what one subscriber has.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What holds for the token while the store can't be asked.
    pub fn store_outage(&self) -> StoreOutage {
        self.route.store_outage
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
    pub fn candidate(&self, now: UnixSeconds) -> Result<Candidate<'h>, Denial> {
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
        jwt: UnverifiedJwt<'h>,
        holds: bool,
    ) -> Result<Rc<Vouched>, Denial> {
        let hash = self.token_hash().filter(|_| holds).ok_or(Denial::SignatureInvalid)?;
        Ok(Rc::new(Vouched::new(&self.policy.keys, hash, jwt.issuer, jwt.claims)))
    }

    /// Takes a record's word on an opaque token: one of the store, or one that a provider's answer made.
    pub fn vouch_record(&self, issuer: usize, record: TokenRecord) -> Result<Rc<Vouched>, Denial> {
        let hash = self.token_hash().ok_or(Denial::TokenMissing)?;
        let name = self.issuer(issuer).map(|issuer| issuer.issuer.as_str());
        let claims = name.and_then(|name| record.claims(name)).ok_or(Denial::TokenInactive)?;
        Ok(Rc::new(Vouched::new(&self.policy.keys, hash, issuer, claims)))
    }

    /// That this request's token is the one that was vouched for, and in date. `cleared` says in which mode
    /// the store has cleared it lately enough.
    pub fn prove(
        &self,
        vouched: Rc<Vouched>,
        cleared: Option<Mode>,
        now: UnixSeconds,
    ) -> Result<Proof<'p>, Denial> {
        if self.token_hash() != Some(vouched.hash) {
            return Err(Denial::SignatureInvalid);
        }
        let leeway_seconds = self.issuer(vouched.issuer).map_or(0, |issuer| issuer.leeway_seconds);
        vouched.claims.judge_times(leeway_seconds, now)?;
        let charges = self.charges(Some(&vouched.claims));
        Ok(Proof { vouched: Some(vouched), cleared, charges, all_now: false, now })
    }

    /// That the route asks for no token.
    pub fn open(&self) -> Result<Proof<'p>, Denial> {
        match self.credential {
            None => Ok(Proof {
                vouched: None,
                cleared: None,
                charges: self.charges(None),
                all_now: false,
                now: UnixSeconds::default(),
            }),
            Some(_) => Err(Denial::TokenMissing),
        }
    }

    fn charges(&self, claims: Option<&Claims>) -> Vec<Charge<'p>> {
        let of =
            Counted { head: &self.head, address: &self.address, route: &self.route.name, claims };
        let limits = self.route.limits.iter().filter(|_| self.limited);
        let charges = limits.map(|limit| {
            let (key, hash) = self.policy.keys.limit(&limit.name, &limit.who(&of));
            let (quota, cost) = (limit.quota_for(claims), self.route.cost);
            Charge { limit, key, who: hash, quota, cost }
        });
        charges.collect()
    }

    /// Everything that the verdict needs from the store; empty where it needs nothing.
    pub fn commands(&self, proof: &Proof<'_>) -> Vec<Command> {
        let mut commands = Vec::with_capacity(2 + proof.charges.len());
        if let Some(vouched) = self.unsettled(proof) {
            let [markers, record] = &vouched.questions;
            commands.push(markers.clone());
            if self.needs_record(vouched) {
                commands.push(record.clone());
            }
        }
        commands.extend(proof.charges().map(Charge::command));
        commands
    }

    /// Whether the store was asked about the token, and not just for the limits, and answered.
    pub fn is_answered(&self, proof: &Proof<'_>, findings: &[Finding]) -> bool {
        let about = findings.get(..self.about_token(proof)).unwrap_or_default();
        let out = |finding: &Finding| matches!(finding, Finding::Out(_) | Finding::Vouched);
        !about.is_empty() && !about.iter().any(out)
    }

    /// How many of the commands are about the token; the limits' follow them.
    fn about_token(&self, proof: &Proof<'_>) -> usize {
        match self.unsettled(proof) {
            Some(vouched) => 1 + usize::from(self.needs_record(vouched)),
            None => 0,
        }
    }

    /// Who can be asked, once, about a genuine token: the store turned out not to have its record, or can't
    /// be asked and the route wants another's word then.
    pub fn missing_record(
        &self,
        proof: &Proof<'_>,
        findings: &[Finding],
    ) -> Option<(Provider<'h>, Missing)> {
        let vouched = self.unsettled(proof)?;
        let introspection = self.issuer(vouched.issuer)?.introspection.as_ref()?;
        let (token, _) = self.credential?;
        let provider = Provider { token, issuer: vouched.issuer, introspection };
        let about = findings.get(..self.about_token(proof))?;
        if about.iter().any(|finding| matches!(finding, Finding::Out(_))) {
            let wanted = self.route.store_outage == StoreOutage::Origin;
            return wanted.then_some((provider, Missing::Store));
        }
        let [Finding::Reply(Reply::Array(markers)), record] = about else {
            return None;
        };
        // Whoever is revoked already needs no second opinion.
        let clean = markers.iter().all(|marker| *marker == Reply::Null);
        let standing = self.standing(record, vouched, proof.now);
        let missing = clean && matches!(standing, Ok(Standing::Missing));
        missing.then_some((provider, Missing::Record))
    }

    /// Opens the record that the store sent, if it sent one. One that can't be read counts as missing, and
    /// the result says so.
    pub fn open_record(&self, proof: &Proof<'_>, findings: &mut [Finding]) -> bool {
        let Some(vouched) = self.unsettled(proof).filter(|vouched| self.needs_record(vouched))
        else {
            return false;
        };
        let Some(finding) = findings.get_mut(1) else {
            return false;
        };
        let Finding::Reply(reply @ (Reply::Bulk(_) | Reply::Status(_))) = finding else {
            return false;
        };
        let key = vouched.questions.last().and_then(|record| record.text(1)).unwrap_or_default();
        let text = reply.as_text().unwrap_or_default();
        let record = vouched.open(text, key, self.policy.seal.as_ref());
        let closed = record.is_none();
        *finding = match record {
            Some(record) => Finding::Record(record),
            None => Finding::Reply(Reply::Null),
        };
        closed
    }

    /// Puts a provider's word of this moment in the place of what the store lacks; refused if it is about
    /// another holder.
    pub fn complete(
        &self,
        proof: &Proof<'_>,
        findings: &mut [Finding],
        missing: Missing,
        record: TokenRecord,
    ) -> Result<(), Denial> {
        match missing {
            Missing::Record => {
                if let Some(finding) = findings.get_mut(1) {
                    *finding = Finding::Record(Rc::new(record));
                }
            }
            Missing::Store => {
                let holder = proof.vouched.as_ref().map(|vouched| &vouched.claims.sub);
                if holder != Some(&record.sub) {
                    return Err(Denial::TokenUnknown);
                }
                self.vouch_now(proof, findings);
            }
        }
        Ok(())
    }

    /// Puts the word that the token's provider gave in this request in the place of what the store lacks. What
    /// the store did say stands.
    pub fn vouch_now(&self, proof: &Proof<'_>, findings: &mut [Finding]) {
        for finding in findings.iter_mut().take(self.about_token(proof)) {
            if matches!(finding, Finding::Out(_)) {
                *finding = Finding::Vouched;
            }
        }
    }

    /// The limits that the store did not count and that the isolate may, with their places among the
    /// findings.
    pub fn uncounted<'q>(
        &self,
        proof: &'q Proof<'p>,
        findings: &[Finding],
    ) -> Vec<(usize, &'q Charge<'p>)> {
        let about = self.about_token(proof);
        let charges = proof.charges().enumerate().map(|(place, charge)| (about + place, charge));
        let out = |(place, charge): &(usize, &Charge<'p>)| {
            let counted = match findings.get(*place) {
                Some(Finding::Reply(reply)) => charge.tally(reply).is_some(),
                Some(Finding::Counted(_)) => true,
                Some(Finding::Out(_) | Finding::Vouched | Finding::Record(_)) | None => false,
            };
            !counted && charge.limit.outage == LimitOutage::Local
        };
        charges.filter(out).collect()
    }

    /// What the limits said; of those that nobody counted, nothing.
    pub fn tallies(&self, proof: &Proof<'p>, findings: &[Finding]) -> Vec<Tally<'p>> {
        let about = findings.get(self.about_token(proof)..).unwrap_or_default();
        let tallies = proof.charges().zip(about).filter_map(|(charge, finding)| match finding {
            Finding::Reply(reply) => charge.tally(reply),
            Finding::Counted(count) => Some(charge.counted(*count)),
            Finding::Out(_) | Finding::Vouched | Finding::Record(_) => None,
        });
        tallies.collect()
    }

    fn issuer(&self, place: usize) -> Option<&'p Issuer> {
        self.policy.issuers.get(place)
    }

    /// The holder of whom the store must be asked. What it cleared lately is not asked again, unless it is
    /// asked for the limit in any case.
    fn unsettled<'q>(&self, proof: &'q Proof<'_>) -> Option<&'q Vouched> {
        let asked = !self.is_settled(proof) || proof.charges().next().is_some();
        proof.vouched.as_deref().filter(|_| asked)
    }

    /// Whether the store cleared the token lately enough for this route.
    fn is_settled(&self, proof: &Proof<'_>) -> bool {
        match proof.cleared {
            Some(Mode::Registered) => true,
            Some(Mode::Unrevoked) => self.route.mode == Mode::Unrevoked,
            None => false,
        }
    }

    /// Whether the guest list must have the token. An opaque token is on it already: its record or its
    /// provider is what vouched for it.
    fn needs_record(&self, vouched: &Vouched) -> bool {
        let signed = self.issuer(vouched.issuer).is_some_and(|issuer| issuer.keys.is_some());
        signed && self.route.mode == Mode::Registered
    }
}

/// What is set aside for the record of a token that is remembered, sealed and opened.
const OPENED_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests;
