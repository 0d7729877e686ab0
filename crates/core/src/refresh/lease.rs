//! The lease on a refresh token, and the stored response that replaces it.

use super::presented::{Place, Presented, Purpose};
use super::replay_key::ReplayKey;
use super::response::CapturedResponse;
use crate::request::head::RequestHead;
use crate::store::keys::StoreKeys;
use crate::token_hash::TokenHash;
use redis_rest::{Command, Reply};

/// One request that presents a refresh token to get new tokens.
#[derive(Debug)]
pub struct Refresh {
    pub(super) hash: String,
    pub(super) key: String,
    replay: ReplayKey,
}

/// The state of a refresh token's lease.
#[derive(Debug)]
pub enum LeaseState {
    /// This request needs no lease: the stored response is for a different request, or the auth
    /// service has refused an equal one. The auth service decides.
    Alone,
    /// This request holds the lease.
    First {
        /// The token's family.
        family: String,
    },
    /// The response is available.
    Replay {
        /// The token's family.
        family: String,
        /// The response.
        answer: CapturedResponse,
    },
    /// Another request holds the lease, the lease has just expired, or a different request was just
    /// refused.
    Wait,
}

impl Refresh {
    /// Reads the refresh (RFC 6749 section 6) in a request to a token endpoint. Returns `None` if
    /// it is for anything else.
    pub fn read(head: &RequestHead<'_>, body: &str, keys: &StoreKeys) -> Option<Self> {
        let Presented { token, place } = Presented::find(head, body, Purpose::Grant)?;
        // The key covers everything that may influence the response. So a page of another origin
        // can't get a response that was for a page of this one.
        let mut request = format!("{} {}\n{}\n", head.method(), head.target(), place.name());
        // The bundled auth service reads no cookie except its own.
        let cookie = if place == Place::Cookie { "" } else { "cookie" };
        for name in RELEVANT_FIELDS.into_iter().chain([cookie]) {
            request += head.header(name).unwrap_or_default();
            request.push('\n');
        }
        let replay = ReplayKey::derive(&token, &(request + body));
        let hash = TokenHash::of(&token).to_string();
        let key = keys.refresh_of(&hash);
        Some(Self { hash, key, replay })
    }

    /// Returns the commands that try to take the lease under the name `name`, which no other
    /// request may use, for `seconds`, and that fetch its state.
    pub fn acquire(&self, name: &str, seconds: u64, keys: &StoreKeys) -> Vec<Command> {
        vec![
            self.extend(name, seconds).arg("NX"),
            Command::new("GET").arg(&self.key),
            Command::new("GET").arg(keys.refresh_family(&self.hash)),
        ]
    }

    /// Reads the replies to [`Refresh::acquire`]. Returns `None` if the store failed.
    pub fn lease_state(&self, name: &str, replies: &[Reply]) -> Option<LeaseState> {
        let [taken, value, family] = replies else { return None };
        if [value, family].iter().any(|reply| matches!(reply, Reply::Error(_))) {
            return None;
        }
        let Some(value) = value.as_text() else {
            // The lease expired between the two commands, or the store rejects writes.
            return (!matches!(taken, Reply::Error(_))).then_some(LeaseState::Wait);
        };
        if value == format!("{LEASE}{name}") {
            let family = family.as_text().unwrap_or(&self.hash).to_owned();
            return Some(LeaseState::First { family });
        }
        if value.starts_with(LEASE) {
            return Some(LeaseState::Wait);
        }
        if let Some(sealed) = value.strip_prefix(REFUSED) {
            // A different request waits until the mark of the refusal expires.
            let same = self.replay.open(sealed, &self.key).is_some();
            return Some(if same { LeaseState::Alone } else { LeaseState::Wait });
        }
        let stored = value.strip_prefix(ANSWER).and_then(|rest| rest.split_once('.'));
        let opened = stored.and_then(|(family, sealed)| {
            let answer = CapturedResponse::decode(&self.replay.open(sealed, &self.key)?)?;
            Some(LeaseState::Replay { family: family.to_owned(), answer })
        });
        Some(opened.unwrap_or(LeaseState::Alone))
    }

    /// Returns the command that fetches whether the lease is still held.
    pub fn poll(&self) -> Command {
        Command::new("GET").arg(&self.key)
    }

    /// Reads the reply to [`Refresh::poll`]. Returns `None` if the store failed.
    pub fn is_held(reply: Option<&Reply>) -> Option<bool> {
        match reply? {
            Reply::Error(_) => None,
            reply => Some(reply.as_text().is_some_and(|value| value.starts_with(LEASE))),
        }
    }

    /// Returns the command that marks the request as refused by the auth service for 2 s, so that
    /// identical requests need no lease. `nonce` must never repeat.
    pub fn store_refusal(&self, nonce: [u8; 12]) -> Command {
        let sealed = self.replay.seal("", &self.key, nonce).unwrap_or_default();
        let value = format!("{REFUSED}{sealed}");
        Command::new("SET").arg(&self.key).arg(value).arg("EX").arg(REFUSED_SECONDS)
    }

    /// Returns the command that extends the lease to `seconds` from now.
    pub fn extend(&self, name: &str, seconds: u64) -> Command {
        Command::new("SET").arg(&self.key).arg(format!("{LEASE}{name}")).arg("EX").arg(seconds)
    }

    /// Returns the command that releases the lease.
    pub fn release(&self) -> Command {
        Command::new("DEL").arg(&self.key)
    }

    /// Returns the family of a token that has no recorded one.
    pub fn family(&self) -> String {
        self.hash.clone()
    }

    /// Returns the commands that store a response for identical requests, and the family of the new
    /// refresh token in it, for `seconds`. Returns `None` for a response that grants nothing, or is
    /// longer than 48 KiB once it is sealed. `nonce` must never repeat.
    pub fn store_response(
        &self,
        response: &CapturedResponse,
        family: &str,
        nonce: [u8; 12],
        seconds: u64,
        keys: &StoreKeys,
    ) -> Option<Vec<Command>> {
        response.member("access_token")?;
        let sealed = self.replay.seal(&response.encode(), &self.key, nonce)?;
        if sealed.len() > RESPONSE_BYTES_MAX {
            return None;
        }
        let value = format!("{ANSWER}{family}.{sealed}");
        let mut commands =
            vec![Command::new("SET").arg(&self.key).arg(value).arg("EX").arg(seconds)];
        if let Some(next) = response.refresh_token() {
            let key = keys.refresh_family(&TokenHash::of(&next).to_string());
            commands.push(Command::new("SET").arg(key).arg(family).arg("EX").arg(seconds));
        }
        Some(commands)
    }
}

/// The header fields that may influence the response.
const RELEVANT_FIELDS: [&str; 6] = [
    "authorization",
    "content-type",
    "dpop",
    "oauth-client-attestation",
    "oauth-client-attestation-pop",
    "origin",
];
const LEASE: &str = "L";
const ANSWER: &str = "A";
const REFUSED: &str = "N";
/// A time long enough for the requests that wait for the lease now.
const REFUSED_SECONDS: u64 = 2;
/// The edge reads at most 64 KiB of a reply, which contains more than the response.
const RESPONSE_BYTES_MAX: usize = 48 * 1024;

#[cfg(test)]
mod tests;
