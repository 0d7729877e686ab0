//! The signed token of an event: everything that is checked without its key.

use super::request::EventRequest;
use super::subject::{SubjectRules, text};
use super::types::{self, Effect};
use crate::jose::header::UnverifiedHeader;
use crate::policy::Policy;
use crate::policy::events::{EventFormat, EventPolicy, LogoutEnds};
use crate::policy::issuer::Issuer;
use crate::refusal::Denial;
use crate::time::UnixSeconds;
use crate::token::claims::{names, numeric_date};
use crate::token::jwt::{decode, segment};
use serde_json::{Map, Value};

/// An event whose signature is not verified yet.
#[derive(Debug)]
pub struct UnverifiedEvent<'a> {
    header: UnverifiedHeader,
    /// The `iss` of the event, and that of the tokens which it revokes.
    names: [String; 2],
    key_set: usize,
    signing_input: &'a str,
    signature: Vec<u8>,
    event: Event,
}

/// An event that its issuer has signed.
#[derive(Debug)]
pub struct Event {
    /// The name of its type, for the log.
    pub name: &'static str,
    /// Its result for the log, if it revokes nothing.
    pub passive_result: &'static str,
    /// The store's keys of the markers that it asks for; empty if it revokes nothing.
    pub markers: Vec<String>,
    /// The store's key of the event.
    pub(super) key: String,
    pub(super) issued_at: UnixSeconds,
    pub(super) life_seconds: u64,
}

impl EventRequest {
    /// Parses the token and checks it by the rules of the issuer that it names, at `now`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, such as [`Denial::TokenMalformed`],
    /// [`Denial::IssuerUnknown`], [`Denial::EventTypeRefused`] or [`Denial::SubjectRefused`].
    pub fn parse(&self, policy: &Policy, now: UnixSeconds) -> Result<UnverifiedEvent<'_>, Denial> {
        let (signing_input, signature) =
            self.token.rsplit_once('.').ok_or(Denial::TokenMalformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Denial::TokenMalformed)?;
        let header = UnverifiedHeader::read(&segment(header)?)?;
        let (claims, signature) = (segment(payload)?, decode(signature)?);

        let iss = claims.get("iss").ok_or(Denial::ClaimMissing("iss"))?;
        let iss = iss.as_str().ok_or(Denial::TokenMalformed)?;
        let sender = Sender::of(policy, iss).ok_or(Denial::IssuerUnknown)?;
        if !sender.key_owner().algorithms.contains(&header.alg) {
            return Err(Denial::AlgorithmRefused);
        }
        let rules = sender.rules;
        if !rules.accept.contains(&self.format) {
            return Err(Denial::EventRefused);
        }
        self.check_type(&header, &claims, rules)?;
        check_audience(&claims, rules)?;
        let leeway_seconds = sender.issuer.leeway_seconds;
        let issued_at = check_times(&claims, self.format, rules, leeway_seconds, now)?;
        let jti = claims.get("jti").ok_or(Denial::ClaimMissing("jti"))?;
        let jti = jti.as_str().filter(|jti| (1..=JTI_BYTES_MAX).contains(&jti.len()));
        let jti = jti.ok_or(Denial::EventMalformed)?;

        let subject_rules = SubjectRules {
            keys: &policy.keys,
            issuer: &sender.issuer.issuer,
            own: [iss, &sender.issuer.issuer],
            emails_are_subjects: rules.emails_are_subjects,
            logout_ends: rules.logout_ends,
            is_session: false,
        };
        let (name, effect, markers) = self.content(&claims, subject_rules)?;
        let event = Event {
            name,
            passive_result: effect.passive_result(),
            markers,
            key: policy.keys.event(&sender.issuer.issuer, jti),
            issued_at,
            life_seconds: rules.token_life_seconds_max,
        };
        let (key_set, names) = (sender.key_set, [iss, &sender.issuer.issuer].map(str::to_owned));
        Ok(UnverifiedEvent { header, names, key_set, signing_input, signature, event })
    }

    /// Rejects the tokens that an issuer signs for another purpose.
    fn check_type(
        &self,
        header: &UnverifiedHeader,
        claims: &Map<String, Value>,
        rules: &EventPolicy,
    ) -> Result<(), Denial> {
        let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
        let typ = typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        let wanted = match self.format {
            EventFormat::Logout => "logout+jwt",
            EventFormat::SecurityEvent => "secevent+jwt",
            EventFormat::GlobalRevocation => "global-token-revocation+jwt",
        };
        match typ {
            Some(typ) if typ == wanted => {}
            Some("jwt") | None if !rules.type_required => {
                // The subject of a global revocation is not signed. So an ID token or an access
                // token must not pass for it: their audience is a client or an API.
                let is_global = self.format == EventFormat::GlobalRevocation;
                if is_global && !claims.get("aud").and_then(Value::as_str).is_some_and(is_url) {
                    return Err(Denial::EventTypeRefused);
                }
            }
            _ => return Err(Denial::EventTypeRefused),
        }
        // Only ID tokens have a nonce (OpenID Connect Back-Channel Logout 1.0 section 2.6).
        let is_global = self.format == EventFormat::GlobalRevocation;
        if claims.contains_key("nonce") || claims.contains_key("events") == is_global {
            return Err(Denial::EventMalformed);
        }
        Ok(())
    }

    /// Returns the name of the event's type, its effect, and the keys of its markers.
    fn content(
        &self,
        claims: &Map<String, Value>,
        mut rules: SubjectRules<'_>,
    ) -> Result<(&'static str, Effect, Vec<String>), Denial> {
        if self.format == EventFormat::GlobalRevocation {
            let subject = self.subject.as_ref().ok_or(Denial::EventMalformed)?;
            return Ok(("global-token-revocation", Effect::Subject, rules.marks(subject)?));
        }
        let events = claims.get("events").and_then(Value::as_object);
        let mut events = events.ok_or(Denial::EventMalformed)?.iter();
        let (uri, payload) = match (events.next(), events.next()) {
            (Some((uri, Value::Object(payload))), None) => (uri.as_str(), payload),
            _ => return Err(Denial::EventMalformed),
        };
        if (uri == types::LOGOUT) != (self.format == EventFormat::Logout) {
            return Err(Denial::EventMalformed);
        }
        if self.format == EventFormat::Logout {
            return Ok(("logout", Effect::Session, logout_markers(claims, &rules)?));
        }
        let (name, effect) = types::of(uri, payload);
        if !matches!(effect, Effect::Session | Effect::Subject) {
            return Ok((name, effect, Vec::new()));
        }
        rules.is_session = effect == Effect::Session;
        let markers = match claims.get("sub_id").or_else(|| payload.get("subject")) {
            Some(Value::Object(subject)) => rules.marks(subject)?,
            Some(_) => return Err(Denial::EventMalformed),
            None => vec![rules.subject(text(claims, "sub")?)],
        };
        Ok((name, effect, markers))
    }
}

impl UnverifiedEvent<'_> {
    /// Returns the header.
    pub fn header(&self) -> &UnverifiedHeader {
        &self.header
    }

    /// Returns the place of the key set that verifies it, for [`Policy::key_owner`].
    pub fn key_set(&self) -> usize {
        self.key_set
    }

    /// Returns whether the key that the header names may sign for the event's issuer. `owner` is
    /// the key's member `issuer`; a key without that member may.
    pub fn admits_key_of(&self, owner: Option<&str>) -> bool {
        owner.is_none_or(|owner| self.names.iter().any(|name| name == owner))
    }

    /// Returns the signed text (RFC 7515 section 5.2).
    pub fn signing_input(&self) -> &str {
        self.signing_input
    }

    /// Returns the signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Accepts the event if the host found its signature `valid`.
    ///
    /// # Errors
    ///
    /// [`Denial::SignatureInvalid`] if it is not.
    pub fn accept(self, valid: bool) -> Result<Event, Denial> {
        if valid { Ok(self.event) } else { Err(Denial::SignatureInvalid) }
    }
}

/// The issuer that an event names, with its rules.
struct Sender<'p> {
    issuer: &'p Issuer,
    rules: &'p EventPolicy,
    key_set: usize,
}

impl<'p> Sender<'p> {
    /// Returns the issuer that pushes events with this `iss`. Issuers without rules push none.
    fn of(policy: &'p Policy, iss: &str) -> Option<Self> {
        policy.events.iter().enumerate().find_map(|(place, rules)| {
            let issuer = policy.issuers.get(rules.issuer)?;
            let is_own = match &rules.sender {
                Some(sender) => sender == iss,
                None => issuer.accepts(iss),
            };
            let key_set = match &rules.keys {
                Some(_) => policy.issuers.len() + place,
                None => rules.issuer,
            };
            is_own.then_some(Self { issuer, rules, key_set })
        })
    }

    /// Returns whose keys sign the events.
    fn key_owner(&self) -> &'p Issuer {
        self.rules.keys.as_ref().unwrap_or(self.issuer)
    }
}

/// Returns the keys of the markers of a logout token: a session's, or the subject's if it names no
/// session.
fn logout_markers(
    claims: &Map<String, Value>,
    rules: &SubjectRules<'_>,
) -> Result<Vec<String>, Denial> {
    let named = |name: &str| claims.contains_key(name).then(|| text(claims, name)).transpose();
    let (sid, sub) = (named("sid")?, named("sub")?);
    let mut markers = Vec::from_iter(sid.map(|sid| rules.session(sid)));
    if markers.is_empty() || rules.logout_ends == LogoutEnds::Subject {
        markers.extend(sub.map(|sub| rules.subject(sub)));
    }
    if markers.is_empty() { Err(Denial::EventMalformed) } else { Ok(markers) }
}

fn check_audience(claims: &Map<String, Value>, rules: &EventPolicy) -> Result<(), Denial> {
    let audience = claims.get("aud").ok_or(Denial::ClaimMissing("aud"))?;
    let audience = names(audience).ok_or(Denial::TokenMalformed)?;
    match rules.audience.iter().any(|own| audience.contains(&own.as_str())) {
        true => Ok(()),
        false => Err(Denial::AudienceMismatch),
    }
}

/// Checks the times, and returns `iat`. An event that is older than the tokens it could revoke is
/// refused, so that the store need not remember it longer.
fn check_times(
    claims: &Map<String, Value>,
    format: EventFormat,
    rules: &EventPolicy,
    leeway_seconds: u64,
    now: UnixSeconds,
) -> Result<UnixSeconds, Denial> {
    let time = |name: &str| match claims.get(name) {
        Some(value) => numeric_date(value).map(Some).ok_or(Denial::TokenMalformed),
        None => Ok(None),
    };
    let (iat, nbf, exp) = (time("iat")?, time("nbf")?, time("exp")?);
    let issued_at = iat.ok_or(Denial::ClaimMissing("iat"))?;
    if exp.is_none() && format == EventFormat::GlobalRevocation {
        return Err(Denial::ClaimMissing("exp"));
    }
    let is_over = exp.is_some_and(|exp| exp.plus(leeway_seconds) <= now);
    if is_over || issued_at.plus(rules.token_life_seconds_max) <= now {
        return Err(Denial::TokenExpired);
    }
    if issued_at.max(nbf.unwrap_or_default()) > now.plus(leeway_seconds) {
        return Err(Denial::TokenNotYetValid);
    }
    Ok(issued_at)
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// A length above that of the ids that issuers give.
const JTI_BYTES_MAX: usize = 256;
