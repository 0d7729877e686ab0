//! What a request that passes takes along: where it goes, and the header fields that tell the next
//! server who sent it. Every inbound field that could forge one of these is taken out.

use crate::check::VerifiedToken;
use crate::claims::Claims;
use crate::policy::Policy;
use crate::policy::assertion::Assertion;
use crate::policy::identity::IdentityFields;
use crate::policy::limit::LimitOutage;
use crate::policy::route::{Access, Endpoint, Route, StoreOutage, TokenRequirement};
use crate::request::client_address::client_address;
use crate::request::cookie::REFRESH_COOKIE;
use crate::request::field_names::{HOP_BY_HOP, IDENTITY_PREFIX, SPOOFABLE};
use crate::request::head::RequestHead;
use crate::token_hash::TokenHash;
use crate::url::BaseUrl;
use crate::time::UnixSeconds;
use redis_rest::Command;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::rc::Rc;

/// Leave to forward one request. Only [`crate::Check::decide`] makes one.
#[derive(Debug)]
pub struct Permit<'p> {
    route: &'p Route,
    target: Target<'p>,
    policy: &'p Policy,
    holder: Option<Rc<VerifiedToken>>,
    /// Whether the store has just cleared the holder's token, and that may be kept.
    clears: bool,
    degraded: Degraded,
}

/// What was decided without the store, since that could not be asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Degraded {
    /// Who vouched for the token instead.
    pub token: Option<StoreOutage>,
    /// What held for a limit instead.
    pub limit: Option<LimitOutage>,
}

impl Degraded {
    /// As it is told in a header field and in the log; none where all is as ever.
    pub fn text(self) -> Option<&'static str> {
        let token = match self.token {
            Some(StoreOutage::Introspect) => Some(true),
            Some(StoreOutage::Signature) => Some(false),
            Some(StoreOutage::Deny) | None => None,
        };
        let limit = match self.limit {
            Some(LimitOutage::Local) => Some(true),
            Some(LimitOutage::Allow) => Some(false),
            Some(LimitOutage::Deny) | None => None,
        };
        Some(match (token, limit) {
            (None, None) => return None,
            (Some(true), None) => "token=introspect",
            (Some(false), None) => "token=signature",
            (None, Some(true)) => "limit=local",
            (None, Some(false)) => "limit=allow",
            (Some(true), Some(true)) => "token=introspect, limit=local",
            (Some(true), Some(false)) => "token=introspect, limit=allow",
            (Some(false), Some(true)) => "token=signature, limit=local",
            (Some(false), Some(false)) => "token=signature, limit=allow",
        })
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target<'p> {
    /// The auth service: bounded body, the auth service's deadline, no identity.
    Auth(&'p BaseUrl),
    /// The API: the body as a stream, the upstream's deadline.
    Upstream(&'p BaseUrl),
}

/// Changes to the header fields on their way through: first the removals, then the additions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderEdits<'a> {
    /// Names of inbound fields that do not travel on, but for those that are set anew.
    pub remove: Vec<&'a str>,
    /// Fields that are set.
    pub set: Vec<(&'a str, String)>,
}

impl IdentityFields {
    fn of<'p>(&'p self, claims: &Claims) -> Vec<(&'p str, String)> {
        let mut fields = vec![
            (self.subject.as_str(), field_value(&claims.sub)),
            (self.scope.as_str(), field_value(&claims.scope)),
        ];
        for (name, value) in [(&self.session, &claims.sid), (&self.client, &claims.client_id)] {
            if let Some(value) = value {
                fields.push((name, field_value(value)));
            }
        }
        for (claim, name) in &self.claims {
            match claims.others.get(claim) {
                Some(Value::String(text)) => fields.push((name, field_value(text))),
                Some(value) => fields.push((name, field_value(&value.to_string()))),
                None => {}
            }
        }
        fields
    }
}

impl<'p> Permit<'p> {
    pub(crate) fn new(
        route: &'p Route,
        target: Target<'p>,
        policy: &'p Policy,
        holder: Option<Rc<VerifiedToken>>,
        clears: bool,
        degraded: Degraded,
    ) -> Self {
        Self { route, target, policy, holder, clears, degraded }
    }

    /// What was decided without the store.
    pub fn degraded(&self) -> Degraded {
        self.degraded
    }

    /// How long whoever it is for may take to begin the answer.
    pub fn deadline_ms(&self) -> u32 {
        match self.target {
            Target::Auth(_) => self.route.deadline_ms.unwrap_or(self.policy.auth_deadline_ms),
            Target::Upstream(_) => {
                self.route.deadline_ms.unwrap_or(self.policy.upstream_deadline_ms)
            }
        }
    }

    /// The name of the route that it takes.
    pub fn route(&self) -> &'p str {
        &self.route.name
    }

    /// Which endpoint of OAuth it is for, where the edge has a part in that.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.route.endpoint.filter(|_| self.policy.refresh_replay_seconds > 0)
    }

    /// Where the request goes.
    pub fn target(&self) -> Target<'p> {
        self.target
    }

    /// Whether the answer is for the sender alone. The platform's cache can't tell by itself: it looks for
    /// `Authorization`, which stays at the edge.
    pub fn is_personal(&self) -> bool {
        self.route.access != Access::Public
    }

    /// The token that the store cleared for this request, and in which mode.
    pub fn cleared(&self) -> Option<(TokenHash, TokenRequirement)> {
        let holder = self.holder.as_ref().filter(|_| self.clears)?;
        Some((holder.hash(), self.route.require))
    }

    /// What tells the store that the holder's session was seen, where its issuer keeps sessions there: neither
    /// command brings back a session that ended.
    pub fn seen(&self, now: UnixSeconds) -> Option<(TokenHash, Vec<Command>)> {
        let holder = self.holder.as_ref()?;
        let issuer = self.policy.issuers.get(holder.issuer())?;
        let (claims, keys) = (holder.claims(), &self.policy.keys);
        let sid = claims.sid.as_ref().filter(|_| issuer.sessions_in_store)?;
        let touch = Command::new("EVAL")
            .arg(TOUCH_SCRIPT)
            .arg(1)
            .arg(keys.session(&claims.iss, sid))
            .arg(now);
        let order = Command::new("ZADD")
            .arg(keys.sessions(&claims.iss, &claims.sub))
            .arg("XX")
            .arg("GT")
            .arg(now)
            .arg(sid);
        Some((holder.hash(), vec![touch, order]))
    }

    /// What must be signed before the request goes on, where its route asks for that.
    pub fn unsigned(&self, request_id: &str, now: UnixSeconds) -> Option<(&'p Assertion, String)> {
        let assertion = self.policy.assertion.as_ref().filter(|_| self.route.assertion)?;
        let claims = self.holder.as_ref()?.claims();
        Some((assertion, assertion.signing_input(claims, request_id, now)))
    }

    /// What changes in the request's header fields.
    pub fn header_edits<'a>(&self, head: &RequestHead<'a>, request_id: &str) -> HeaderEdits<'a>
    where
        'p: 'a,
    {
        // The platform opens a WebSocket by GET, whatever the method was: only where it was that.
        let websocket = self.route.access != Access::Auth
            && head.method() == "GET"
            && head.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
        let connection = head.header("connection").unwrap_or_default();
        let listed: Vec<&str> = connection.split(',').take(LISTED_MAX).map(str::trim).collect();
        let trace = head.header("traceparent").filter(|text| is_traceparent(text));
        let strips = self.holder.is_some() && !self.route.forward_token;
        let mut edits = HeaderEdits::default();
        for (name, value) in head.headers() {
            let hop = HOP_BY_HOP.contains(name)
                || listed.iter().any(|listed| listed.eq_ignore_ascii_case(name));
            let keep_hop = websocket && matches!(*name, "upgrade" | "connection");
            let token = strips && *name == "authorization";
            let lost = trace.is_none() && *name == "tracestate";
            if self.is_ours_to_say(name) || token || lost || (hop && !keep_hop) {
                edits.remove.push(*name);
            } else if *name == "cookie" {
                match self.without_tokens(value) {
                    Some(rest) if rest.is_empty() => edits.remove.push(*name),
                    Some(rest) => edits.set.push(("cookie", rest)),
                    None => {}
                }
            }
        }
        if let Some(address) = client_address(head, self.policy.trusted_proxies) {
            edits.set.push(("x-forwarded-for", address.to_string()));
        }
        edits.set.push(("x-forwarded-host", head.host().to_owned()));
        edits.set.push(("x-forwarded-proto", head.scheme().to_owned()));
        edits.set.push(("x-request-id", request_id.to_owned()));
        if trace.is_none() {
            edits.set.push(("traceparent", traceparent(request_id)));
        }
        if let Some(holder) = &self.holder {
            edits.set.extend(self.policy.identity_fields.of(holder.claims()));
        }
        // What is there already as it is to be need not be touched; what is set anew need not be removed.
        let same = |(name, value): &(&str, String)| head.header(name) != Some(value.as_str());
        let set_names: Vec<&str> = edits.set.iter().map(|(name, _)| *name).collect();
        edits.remove.retain(|name| !set_names.contains(name));
        edits.set.retain(same);
        edits
    }

    /// A `Cookie` field without the tokens in it; none if it holds none. A browser sends a token's cookie to
    /// every route, also to those that take none.
    fn without_tokens(&self, field: &str) -> Option<String> {
        let kept = self.route.cookie.as_ref().filter(|_| self.route.forward_token);
        let names = self.policy.routes.iter().filter_map(|route| route.cookie.as_deref());
        let names = names.chain([REFRESH_COOKIE]);
        let is_token = |pair: &&str| {
            let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
            names.clone().any(|token| token == name) && kept.is_none_or(|kept| kept != name)
        };
        if self.route.access == Access::Auth {
            return None;
        }
        let pairs = || field.split(';').map(|pair| pair.trim_matches(' '));
        pairs().find(is_token)?;
        let rest: Vec<&str> = pairs().filter(|pair| !is_token(pair) && !pair.is_empty()).collect();
        Some(rest.join("; "))
    }

    /// Whether a field says what only the edge may say: who asks, from where, and for what. Names are
    /// compared as CGI and its heirs read them, with `_` as `-`.
    fn is_ours_to_say(&self, name: &str) -> bool {
        let name: Cow<'_, str> = match name.bytes().any(|b| b == b'_' || b.is_ascii_uppercase()) {
            true => name.to_ascii_lowercase().replace('_', "-").into(),
            false => name.into(),
        };
        let bare = name.strip_prefix("x-").unwrap_or(&name);
        let assertion = self.policy.assertion.as_ref().map(|assertion| &assertion.field);
        bare.starts_with(IDENTITY_PREFIX)
            || bare.starts_with("forwarded-")
            || SPOOFABLE.contains(&bare)
            || self.policy.identity_fields.names().chain(assertion).any(|own| *own == name)
    }
}

/// Notes when a session was seen last, if it is still there, and that is a minute ago: isolates do not know of each
/// other.
pub const TOUCH_SCRIPT: &str = "local seen = redis.call('HGET', KEYS[1], 'last_seen_at') \
    if seen and ARGV[1] - seen >= 60 then \
    redis.call('HSET', KEYS[1], 'last_seen_at', ARGV[1]) end return 0";

/// Whether `text` is a `traceparent` (W3C Trace Context section 3.2), of version 00 or a later one.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: Option<&str>, length: usize| {
        part.is_some_and(|part| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let some = |part: Option<&str>| part.is_some_and(|part| part.bytes().any(|b| b != b'0'));
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next(), parts.next(), parts.next(), parts.next());
    hex(version, 2)
        && version != Some("ff")
        && (hex(trace, 32) && some(trace))
        && (hex(parent, 16) && some(parent))
        && hex(flags, 2)
        && (version != Some("00") || parts.next().is_none())
        && text.len() <= 256
}

/// A trace that begins here; its id is the request's, so that one leads to the other.
fn traceparent(request_id: &str) -> String {
    let trace: String = request_id.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    let parent = trace.get(16..).unwrap_or_default();
    format!("00-{trace:0>32}-{parent:0>16}-00")
}

/// A claim as a header field's value: visible ASCII and inner spaces stay, every other byte and `%` is
/// percent-encoded, so that no claim can end the field or begin another.
fn field_value(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'%';
    if text.split(' ').all(|word| !word.is_empty() && word.bytes().all(plain)) {
        return text.to_owned();
    }
    let mut value = String::with_capacity(text.len());
    for (place, byte) in text.bytes().enumerate() {
        let edge = place == 0 || place + 1 == text.len();
        if plain(byte) || (byte == b' ' && !edge) {
            value.push(char::from(byte));
        } else {
            let _ = write!(value, "%{byte:02X}");
        }
    }
    value
}

/// Most names that are read from a `Connection` field.
const LISTED_MAX: usize = 32;

#[cfg(test)]
mod tests;
