//! The types of events, by their URIs.

use serde_json::{Map, Value};

/// What an event of a type does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    /// Revokes what its subject names: a session, or else all tokens of the subject.
    Session,
    /// Revokes all tokens of its subject.
    Subject,
    /// Nothing: it tests the stream.
    Verification,
    /// Nothing: the stream has a new status.
    StreamUpdated,
    /// Nothing: the stream will send no events for now, or never again.
    StreamStopped,
    /// Nothing.
    Ignored,
}

impl Effect {
    /// Returns the result for the log of an event that revokes nothing.
    pub(super) fn passive_result(self) -> &'static str {
        match self {
            Self::Verification => "verified",
            Self::StreamUpdated => "stream_updated",
            Self::StreamStopped => "stream_stopped",
            Self::Session | Self::Subject | Self::Ignored => "ignored",
        }
    }
}

/// Returns the name of an event's type for the log, and its effect.
pub(super) fn of(uri: &str, payload: &Map<String, Value>) -> (&'static str, Effect) {
    let known = uri.strip_prefix(PREFIX).and_then(|rest| rest.split_once("/event-type/"));
    let named = known
        .filter(|(family, _)| FAMILIES.contains(family))
        .and_then(|(_, name)| TYPES.iter().find(|(known, _)| *known == name));
    match named.copied() {
        Some((name, Effect::StreamUpdated))
            if payload.get("status").is_some_and(|status| status != "enabled") =>
        {
            (name, Effect::StreamStopped)
        }
        Some(known) => known,
        None => ("other", Effect::Ignored),
    }
}

/// The type of a logout token's event.
pub(super) const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

const PREFIX: &str = "https://schemas.openid.net/secevent/";
/// `sse` is what SSF was called first; `oauth` has Google's events.
const FAMILIES: [&str; 5] = ["caep", "risc", "ssf", "sse", "oauth"];
const TYPES: [(&str, Effect); 14] = [
    ("session-revoked", Effect::Session),
    ("token-claims-change", Effect::Subject),
    ("credential-change", Effect::Subject),
    ("account-disabled", Effect::Subject),
    ("account-purged", Effect::Subject),
    ("account-credential-change-required", Effect::Subject),
    ("credential-compromise", Effect::Subject),
    ("sessions-revoked", Effect::Subject),
    ("tokens-revoked", Effect::Subject),
    ("verification", Effect::Verification),
    ("stream-updated", Effect::StreamUpdated),
    ("account-enabled", Effect::Ignored),
    ("assurance-level-change", Effect::Ignored),
    ("device-compliance-change", Effect::Ignored),
];
