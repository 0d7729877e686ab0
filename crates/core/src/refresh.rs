//! A refresh, and whoever asks the same at the same time: a second tab, or a client whose answer was lost. The first
//! one takes a lease in the store and goes to the auth service; the others wait for its answer, which is kept for a
//! moment, sealed for the token's holder.
//!
//! A family is what came of one refresh token by refreshes through the edge; after a revocation none of its answers is
//! given again.

use crate::claims::Claims;
use crate::credential::Token;
use crate::refusal::Refusal;
use crate::json;
use crate::jwt::UnverifiedJwt;
use crate::store::keys::StoreKeys;
use crate::marker;
use crate::policy::Policy;
use crate::replay::ReplayKey;
use crate::request::cookie::REFRESH_COOKIE;
use crate::request::head::RequestHead;
use crate::token_hash::TokenHash;
use crate::time::UnixSeconds;
use redis_rest::{Command, Reply};
use serde_json::{Value, json};
use std::fmt;

/// One request that presents a refresh token for a new one.
#[derive(Debug)]
pub struct Refresh {
    hash: String,
    key: String,
    replay: ReplayKey,
}

/// Whose turn it is.
#[derive(Debug)]
pub enum LeaseState {
    /// Somebody asked something else with the same token: the auth service is to judge both.
    Alone,
    /// Ours.
    First {
        /// The token's.
        family: String,
    },
    /// The answer is there.
    Replay {
        /// The token's.
        family: String,
        /// What was answered.
        answer: CapturedResponse,
    },
    /// Somebody else's, who is at it.
    Wait,
}

/// What the auth service answered with 200.
#[derive(Clone, Eq, PartialEq)]
pub struct CapturedResponse {
    /// Header fields that are worth keeping, as names and values in turn.
    pub fields: Vec<(String, String)>,
    /// The body, as text.
    pub body: String,
}

impl fmt::Debug for CapturedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answered(REDACTED)")
    }
}

/// One request that revokes a refresh token.
#[derive(Debug)]
pub struct Revocation {
    hash: String,
}

impl Refresh {
    /// The refresh that a request to a token endpoint asks for; none if it asks for anything else.
    pub fn read(head: &RequestHead<'_>, body: &str, keys: &StoreKeys) -> Option<Self> {
        let (token, place) = presented(head, body, true)?;
        // All that may make a difference to the answer. A page of another origin gets none that a page of ours got.
        let mut question = format!("{} {}\n{place}\n", head.method(), head.target());
        // Of the cookies, the bundled auth service looks at its own alone.
        let cookie = if place == COOKIE { "" } else { "cookie" };
        for name in ASKED_BY.into_iter().chain([cookie]) {
            question += head.header(name).unwrap_or_default();
            question.push('\n');
        }
        let replay = ReplayKey::derive(&token, &(question + body));
        let hash = TokenHash::of(&token).to_string();
        let key = keys.refresh_of(&hash);
        Some(Self { hash, key, replay })
    }

    /// Asks for the turn, as `name`, for so long; and what there is, if it is not ours.
    pub fn claim(&self, name: &str, seconds: u64, keys: &StoreKeys) -> Vec<Command> {
        vec![
            self.hold(name, seconds).arg("NX"),
            Command::new("GET").arg(&self.key),
            Command::new("GET").arg(keys.refresh_family(&self.hash)),
        ]
    }

    /// Whose turn it is, by the replies to [`Refresh::claim`]; none if the store does not say.
    pub fn lease_state(&self, name: &str, replies: &[Reply]) -> Option<LeaseState> {
        let [taken, held, family] = replies else { return None };
        if [held, family].iter().any(|reply| matches!(reply, Reply::Error(_))) {
            return None;
        }
        let Some(held) = held.as_text() else {
            // It ended between the two commands: next time. Or the store takes no writes.
            return (!matches!(taken, Reply::Error(_))).then_some(LeaseState::Wait);
        };
        if held == format!("{LEASE}{name}") {
            let family = family.as_text().unwrap_or(&self.hash).to_owned();
            return Some(LeaseState::First { family });
        }
        if held.starts_with(LEASE) {
            return Some(LeaseState::Wait);
        }
        if let Some(sealed) = held.strip_prefix(REFUSED) {
            // Who asks something else waits for that to end.
            let same = self.replay.open(sealed, &self.key).is_some();
            return Some(if same { LeaseState::Alone } else { LeaseState::Wait });
        }
        let answer = held.strip_prefix(ANSWER).and_then(|rest| rest.split_once('.'));
        let opened = answer.and_then(|(family, sealed)| {
            let answer = CapturedResponse::read(&self.replay.open(sealed, &self.key)?)?;
            Some(LeaseState::Replay { family: family.to_owned(), answer })
        });
        Some(opened.unwrap_or(LeaseState::Alone))
    }

    /// Looks whether the turn of whoever has it is over.
    pub fn look(&self) -> Command {
        Command::new("GET").arg(&self.key)
    }

    /// Whether it is still under way, by the reply to [`Refresh::look`].
    pub fn is_held(reply: Option<&Reply>) -> Option<bool> {
        match reply? {
            Reply::Error(_) => None,
            reply => Some(reply.as_text().is_some_and(|held| held.starts_with(LEASE))),
        }
    }

    /// Says that the auth service refused: whoever asks the same need not take turns.
    pub fn refuse(&self, nonce: [u8; 12]) -> Command {
        let sealed = self.replay.seal("", &self.key, nonce).unwrap_or_default();
        let value = format!("{REFUSED}{sealed}");
        Command::new("SET").arg(&self.key).arg(value).arg("EX").arg(REFUSED_SECONDS)
    }

    /// Holds the turn for longer.
    pub fn hold(&self, name: &str, seconds: u64) -> Command {
        Command::new("SET").arg(&self.key).arg(format!("{LEASE}{name}")).arg("EX").arg(seconds)
    }

    /// Gives the turn back.
    pub fn release(&self) -> Command {
        Command::new("DEL").arg(&self.key)
    }

    /// The family of a token that came of none that is known.
    pub fn family(&self) -> String {
        self.hash.clone()
    }

    /// Keeps the answer for whoever asks the same, and the family for the token that is in it. None for one that grants
    /// nothing, or is too long to be read again.
    pub fn keep(
        &self,
        answer: &CapturedResponse,
        family: &str,
        nonce: [u8; 12],
        seconds: u64,
        keys: &StoreKeys,
    ) -> Option<Vec<Command>> {
        answer.member("access_token")?;
        let sealed = self.replay.seal(&answer.write(), &self.key, nonce)?;
        if sealed.len() > KEPT_BYTES_MAX {
            return None;
        }
        let value = format!("{ANSWER}{family}.{sealed}");
        let mut commands =
            vec![Command::new("SET").arg(&self.key).arg(value).arg("EX").arg(seconds)];
        if let Some(next) = answer.refresh_token() {
            let key = keys.refresh_family(&TokenHash::of(&next).to_string());
            commands.push(Command::new("SET").arg(key).arg(family).arg("EX").arg(seconds));
        }
        Some(commands)
    }
}

impl CapturedResponse {
    /// Reads what a host captured: names and values in turn, a line each, an empty line, the body.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, body) = match text.strip_prefix('\n') {
            Some(body) => ("", body),
            None => text.split_once("\n\n")?,
        };
        let mut lines = head.split('\n').filter(|line| !line.is_empty());
        let mut fields = Vec::new();
        while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
            fields.push((name.to_owned(), value.to_owned()));
        }
        Some(Self { fields, body: body.to_owned() })
    }

    fn write(&self) -> String {
        json!({ "fields": self.fields, "body": self.body }).to_string()
    }

    fn read(text: &str) -> Option<Self> {
        let kept = json::object(text.as_bytes())?;
        let fields = kept.get("fields")?.as_array()?.iter().map(|field| {
            let text = |place| field.get(place).and_then(Value::as_str).map(str::to_owned);
            Some((text(0)?, text(1)?))
        });
        let fields = fields.collect::<Option<_>>()?;
        Some(Self { fields, body: kept.get("body")?.as_str()?.to_owned() })
    }

    fn member(&self, name: &str) -> Option<String> {
        let members = json::object(self.body.as_bytes())?;
        members.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    /// The refresh token in it, in its body or its cookie.
    fn refresh_token(&self) -> Option<String> {
        let in_cookie = || {
            let set = self.fields.iter().filter(|(name, _)| name == "set-cookie");
            let pairs = set.filter_map(|(_, value)| value.split(';').next()?.split_once('='));
            pairs
                .filter(|(name, _)| *name == REFRESH_COOKIE)
                .map(|(_, value)| value.to_owned())
                .next()
        };
        self.member("refresh_token").or_else(in_cookie)
    }

    /// What the store must say before it is given again, to whom `refresh` is: that neither its family was revoked, nor its
    /// access token.
    pub fn revocation_queries(
        &self,
        refresh: &Refresh,
        family: &str,
        policy: &Policy,
        now: UnixSeconds,
    ) -> Vec<Command> {
        let keys = &policy.keys;
        let families = Command::new("MGET").arg(keys.refresh_revoked(family));
        let mut commands = vec![families.arg(keys.refresh_revoked(&refresh.hash))];
        match self.access(policy, now) {
            Some(Access::Signed(claims)) => commands.push(marker::query(keys, &claims)),
            Some(Access::Recorded(hash)) => {
                commands.push(Command::new("GET").arg(keys.token(&hash)));
            }
            None => {}
        }
        commands
    }

    /// Whether it may be given again, by the replies to [`CapturedResponse::revocation_queries`]; none if the store does not say.
    pub fn is_still_valid(
        &self,
        policy: &Policy,
        now: UnixSeconds,
        replies: &[Reply],
    ) -> Option<bool> {
        let (Reply::Array(families), rest) = replies.split_first()? else { return None };
        if !families.iter().all(|marker| *marker == Reply::Null) {
            return Some(false);
        }
        match (self.access(policy, now), rest) {
            (Some(Access::Signed(claims)), [reply]) => match marker::judge(&claims, reply) {
                Ok(()) => Some(true),
                Err(Refusal::Denied(_)) => Some(false),
                Err(Refusal::Misconfigured | Refusal::Out(_)) => None,
            },
            (Some(Access::Recorded(_)), [Reply::Error(_)]) => None,
            (Some(Access::Recorded(_)), [reply]) => Some(reply.as_text().is_some()),
            (None, []) => Some(true),
            _ => None,
        }
    }

    /// The access token in it, as far as the store would know of its revocation.
    fn access(&self, policy: &Policy, now: UnixSeconds) -> Option<Access> {
        let text = self.member("access_token")?;
        let token = Token::new(&text);
        if UnverifiedJwt::is_like(token) {
            let parsed = UnverifiedJwt::parse(token, &policy.issuers, &policy.other_claims, now);
            return parsed.ok().map(|jwt| Access::Signed(Box::new(jwt.claims)));
        }
        let mut described = policy.issuers.iter().filter(|issuer| issuer.keys.is_none());
        let issuer = described.find(|issuer| {
            let introspection = issuer.introspection.as_ref();
            introspection.is_some_and(|own| text.starts_with(&own.token_prefix))
        });
        // Who keeps sessions there has written the token's record before it was answered. Others' tokens have none until
        // somebody comes with them.
        issuer.filter(|issuer| issuer.sessions_in_store)?;
        Some(Access::Recorded(token.hash()))
    }
}

impl Revocation {
    /// The revocation that a request asks for; none if it names no refresh token.
    pub fn read(head: &RequestHead<'_>, body: &str) -> Option<Self> {
        let (token, _) = presented(head, body, false)?;
        Some(Self { hash: TokenHash::of(&token).to_string() })
    }

    /// Asks for the token's family.
    pub fn family_query(&self, keys: &StoreKeys) -> Command {
        Command::new("GET").arg(keys.refresh_family(&self.hash))
    }

    /// Says that the token and its family are revoked, for as long as any answer of it could be given again.
    pub fn mark(&self, family: Option<&str>, seconds: u64, keys: &StoreKeys) -> Vec<Command> {
        let mark = |hash: &str| {
            Command::new("SET").arg(keys.refresh_revoked(hash)).arg(1).arg("EX").arg(seconds)
        };
        [Some(self.hash.as_str()), family].into_iter().flatten().map(mark).collect()
    }
}

/// What tells whether an access token was revoked.
enum Access {
    /// Its record, which is gone then.
    Recorded(TokenHash),
    /// The markers.
    Signed(Box<Claims>),
}

/// The refresh token that a request presents, and in which place: a form's, a JSON member, or the cookie. Where it
/// is a grant, the form says so.
fn presented(head: &RequestHead<'_>, body: &str, grant: bool) -> Option<(String, &'static str)> {
    if head.method() != "POST" {
        return None;
    }
    let media_type = head.header("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let in_body = if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let name = if grant { "refresh_token" } else { "token" };
        if grant && parameter(body, "grant_type")? != "refresh_token" {
            return None;
        }
        // A form's request has no cookie.
        return Some((parameter(body, name)?, "form"));
    } else if media_type.eq_ignore_ascii_case("application/json") {
        let members = json::object(body.as_bytes())?;
        match members.get("refresh_token") {
            Some(Value::Null) | None => None,
            Some(token) => Some((token.as_str()?.to_owned(), "json")),
        }
    } else if body.is_empty() {
        None
    } else {
        return None;
    };
    in_body.or_else(|| {
        let field = head.header("cookie")?;
        let mut pairs = field.split(';').filter_map(|pair| pair.trim().split_once('='));
        let (_, token) = pairs.find(|(name, _)| *name == REFRESH_COOKIE)?;
        Some((token.to_owned(), COOKIE))
    })
}

/// The value of a form's parameter, if it stands there once.
fn parameter(body: &str, wanted: &str) -> Option<String> {
    let mut found = None;
    for pair in body.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if form_decoded(name).as_deref() == Some(wanted) {
            if found.is_some() {
                return None;
            }
            found = Some(form_decoded(value)?);
        }
    }
    found.filter(|value| !value.is_empty())
}

fn form_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The fields of a request that may make a difference to the answer.
const ASKED_BY: [&str; 6] = [
    "authorization",
    "content-type",
    "dpop",
    "oauth-client-attestation",
    "oauth-client-attestation-pop",
    "origin",
];
const COOKIE: &str = "cookie";
const LEASE: &str = "L";
const ANSWER: &str = "A";
const REFUSED: &str = "N";
const REFUSED_SECONDS: u64 = 2;
/// With what stands around it in the store's reply, it is less than is read of one.
const KEPT_BYTES_MAX: usize = 48 * 1024;

#[cfg(test)]
mod tests;
