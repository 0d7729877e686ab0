//! The counts of an isolate: requests by hour, route and caller.

use crate::cache::{CacheKey, Table};
use crate::policy::route::Route;
use crate::refusal::{Denial, Refusal};
use crate::time::UnixSeconds;
use crate::token::verified::VerifiedToken;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// The requests of one caller to one route within one hour. A name that is not known is empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UsageRow {
    /// The start of the hour, in Unix seconds.
    pub hour: u64,
    /// The name of the route.
    pub route: String,
    /// The issuer of the callers' tokens.
    pub issuer: String,
    /// The subject.
    pub subject: String,
    /// The client.
    pub client: String,
    /// The id of the API key.
    pub key: String,
    /// How many requests were permitted.
    pub passed: u64,
    /// How many requests of a valid token were refused all the same.
    pub refused: u64,
    /// When the last one arrived, in Unix seconds.
    pub last: u64,
}

/// The decision on a request, as usage counts it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Usage {
    /// It was permitted.
    Passed,
    /// Its token is valid, but it was refused.
    Refused,
}

impl UsageRow {
    fn add(&mut self, usage: Usage, now: UnixSeconds) {
        self.last = self.last.max(now.0);
        match usage {
            Usage::Passed => self.passed += 1,
            Usage::Refused => self.refused += 1,
        }
    }
}

impl Usage {
    /// Returns how a refusal counts. Returns `None` if it does not: the caller is not known, or the
    /// edge or a dependency of it failed.
    pub fn of(refusal: Refusal) -> Option<Self> {
        let counts = matches!(
            refusal,
            Refusal::Denied(
                Denial::Blocked
                    | Denial::ClaimInsufficient
                    | Denial::CreditsExhausted { .. }
                    | Denial::InsufficientUserAuthentication(_)
                    | Denial::KeyNetworkDenied
                    | Denial::RateLimited { .. }
                    | Denial::ScopeInsufficient
            )
        );
        counts.then_some(Self::Refused)
    }
}

/// The counts of an isolate since the last batch.
#[derive(Default)]
pub struct UsageCounts {
    rows: Table<UsageRow>,
    bytes: usize,
    lost: u64,
}

impl UsageCounts {
    /// Counts a request that arrived at `now`. `token` is the caller's; `None` for an anonymous
    /// request.
    pub fn count(
        &mut self,
        usage: Usage,
        route: &Route,
        token: Option<&VerifiedToken>,
        now: UnixSeconds,
    ) {
        let hour = now.0 - now.0 % HOUR_SECONDS;
        let key = row_key(route, token, hour);
        if let Some(row) = self.rows.get_mut(&key) {
            row.add(usage, now);
        } else if self.rows.len() >= 2 * ROWS_MAX {
            self.lost += 1;
        } else {
            let mut row = new_row(route, token, hour);
            row.add(usage, now);
            let names = [&row.route, &row.issuer, &row.subject, &row.client, &row.key];
            self.bytes += names.into_iter().map(String::len).sum::<usize>();
            self.rows.insert(key, row);
        }
    }

    /// Returns whether a batch should be sent before its time.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= ROWS_MAX || self.bytes >= NAME_BYTES_MAX
    }

    /// Takes the rows since the last call.
    pub fn take(&mut self) -> Vec<UsageRow> {
        self.bytes = 0;
        std::mem::take(&mut self.rows).into_values()
    }

    /// Takes the number of requests that were not counted because there was no room.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

/// Returns what a row is found by: the token's hash, changed by the route and the hour. Routes stay
/// at their addresses as long as the isolate lives.
fn row_key(route: &Route, token: Option<&VerifiedToken>, hour: u64) -> CacheKey {
    let mut key: CacheKey = token.map_or(CacheKey::default(), |token| token.hash().into());
    let place = std::ptr::from_ref(route).addr() as u64;
    let words = [place.to_le_bytes(), hour.to_le_bytes()];
    for (byte, word) in key.iter_mut().zip(words.as_flattened()) {
        *byte ^= word;
    }
    key
}

fn new_row(route: &Route, token: Option<&VerifiedToken>, hour: u64) -> UsageRow {
    let row = UsageRow { hour, route: name(&route.name), ..UsageRow::default() };
    let Some(claims) = token.map(VerifiedToken::claims) else { return row };
    let optional = |text: Option<&str>| text.map(name).unwrap_or_default();
    UsageRow {
        issuer: name(&claims.iss),
        subject: name(&claims.sub),
        client: optional(claims.client_id.as_deref()),
        key: optional(claims.jti.as_deref().filter(|_| claims.key.is_some())),
        ..row
    }
}

/// Returns a name as usage shows it. A hash replaces one that is too long or has control
/// characters, so that different names stay apart.
fn name(text: &str) -> String {
    if is_name(text) {
        return text.to_owned();
    }
    format!("sha256:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(text)))
}

/// Returns whether a batch may contain the name.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= NAME_LENGTH_MAX && !text.chars().any(char::is_control)
}

/// The length of an hour in seconds.
pub(super) const HOUR_SECONDS: u64 = 3600;
/// How many rows make a batch. An isolate holds twice as many at most.
pub(super) const ROWS_MAX: usize = 512;
/// How many bytes of names make a batch.
const NAME_BYTES_MAX: usize = 64 * 1024;
/// The longest name in bytes.
const NAME_LENGTH_MAX: usize = 256;

#[cfg(test)]
mod tests;
