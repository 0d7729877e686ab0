mod effects;
mod subjects;
mod verification;

use super::marks::REVOKE_SCRIPT;
use super::parse::Event;
use super::request::EventRequest;
use crate::config::fixtures::policy_with;
use crate::policy::Policy;
use crate::policy::events::EventFormat;
use crate::policy::fixtures::route;
use crate::refusal::{Denial, Outage, Refusal};
use crate::request::head::RequestHead;
use crate::store::keys::StoreKeys;
use crate::time::UnixSeconds;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const NOW: u64 = 1_700_000_000;
const ISS: &str = "https://issuer.example";
const EVENTS_ISS: &str = "https://events.example/";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";

/// Returns a policy with three issuers: one whose rules have these changes, one with the defaults,
/// and one that pushes no events.
fn policy(changes: &Value) -> Policy {
    let mut events = json!({
        "audience": ["edge", "https://api.example/events"],
        "accept": ["logout", "security_events", "global_revocation"],
    });
    let other = json!({ "audience": "edge", "accept": ["logout"] });
    events.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let issuer = |name: &str| {
        json!({ "issuer": name, "audience": "api", "algorithms": ["EdDSA"],
            "jwks_url": "https://issuer.example/jwks" })
    };
    let (mut first, mut second) = (issuer(ISS), issuer("https://other.example"));
    first["events"] = events;
    second["events"] = other;
    let issuers = json!([first, second, issuer("https://silent.example")]).to_string();
    let routes = json!([{ "name": "events", "path": "/events", "access": "events" },
        { "name": "api", "path": "/*", "access": "protected" }]);
    policy_with(&[("issuers", issuers.as_str()), ("routes", &routes.to_string())])
}

fn merged(mut base: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => base.as_object_mut().unwrap().remove(name),
            value => base.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    base
}

fn compact(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode([7; 64]))
}

/// A valid event of each format, which tests change.
fn header(format: EventFormat) -> Value {
    let typ = match format {
        EventFormat::Logout => "logout+jwt",
        EventFormat::SecurityEvent => "secevent+jwt",
        EventFormat::GlobalRevocation => "global-token-revocation+jwt",
    };
    json!({ "alg": "EdDSA", "kid": "1", "typ": typ })
}

fn claims(format: EventFormat) -> Value {
    let base = json!({ "iss": ISS, "aud": "edge", "iat": NOW - 5, "jti": "e1" });
    let more = match format {
        EventFormat::Logout => json!({ "sub": "alice", "sid": "s1",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }),
        EventFormat::SecurityEvent => json!({
            "sub_id": { "format": "iss_sub", "iss": ISS, "sub": "alice" },
            "events": { format!("{RISC}account-disabled"): {} } }),
        EventFormat::GlobalRevocation => json!({ "sub": "caller", "exp": NOW + 60 }),
    };
    merged(base, &more)
}

/// Parses a request of this format with these parts.
fn read(
    policy: &Policy,
    format: EventFormat,
    header: &Value,
    claims: &Value,
    subject: &Value,
) -> Result<Event, Denial> {
    read_at(policy, format, &compact(header, claims), subject, NOW)
}

fn read_at(
    policy: &Policy,
    format: EventFormat,
    token: &str,
    subject: &Value,
    now: u64,
) -> Result<Event, Denial> {
    let authorization = format!("Bearer {token}");
    let (media_type, body) = match format {
        EventFormat::Logout => {
            ("application/x-www-form-urlencoded; charset=utf-8", format!("logout_token={token}"))
        }
        EventFormat::SecurityEvent => ("application/secevent+jwt", format!("{token}\r\n")),
        EventFormat::GlobalRevocation => {
            ("Application/JSON", json!({ "sub_id": subject }).to_string())
        }
    };
    let fields = vec![("content-type", media_type), ("authorization", authorization.as_str())];
    let head = RequestHead::new("POST", "https://api.example/events", fields);
    assert_eq!(EventFormat::of(&head), Some(format));
    let request = EventRequest::read(format, &head, &route(), &body)?;
    let event = request.parse(policy, UnixSeconds(now))?;
    assert!(request.parse(policy, UnixSeconds(now))?.accept(false).is_err());
    event.accept(true)
}

/// Returns the markers of an event, or why it is refused.
fn marks(event: Result<Event, Denial>) -> Result<Vec<String>, Denial> {
    let event = event?;
    let keys = StoreKeys::new("pc");
    let known = [
        ("sub", keys.revoked_sub(ISS, "alice")),
        ("email", keys.revoked_sub(ISS, "alice@example.org")),
        ("sub s1", keys.revoked_sub(ISS, "s1")),
        ("sid", keys.revoked_sid(ISS, "s1")),
        ("jti", keys.revoked_jti(ISS, "t1")),
    ];
    let name = |key: &String| {
        let found = known.iter().find(|(_, known)| known == key);
        found.map_or(key.clone(), |(name, _)| (*name).to_owned())
    };
    Ok(event.markers.iter().map(name).collect())
}

const FORMATS: [EventFormat; 3] =
    [EventFormat::Logout, EventFormat::SecurityEvent, EventFormat::GlobalRevocation];
