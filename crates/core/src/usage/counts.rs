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
    fn name_bytes(&self) -> usize {
        let names = [&self.route, &self.issuer, &self.subject, &self.client, &self.key];
        names.into_iter().map(String::len).sum()
    }

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
    /// The bytes of the names in `rows`.
    bytes: usize,
    /// Rows that are taken, and were too many for one batch. Nothing is added to them.
    rest: Vec<UsageRow>,
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
        } else if self.rows.len() >= 2 * HELD_ROWS || self.bytes >= 2 * HELD_NAME_BYTES {
            self.lost += 1;
        } else {
            let mut row = new_row(route, token, hour);
            row.add(usage, now);
            self.bytes += row.name_bytes();
            self.rows.insert(key, row);
        }
    }

    /// Returns whether a batch should be sent before its time.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= HELD_ROWS || self.bytes >= HELD_NAME_BYTES || !self.rest.is_empty()
    }

    /// Takes the rows of a batch: what was counted since, or the next part of that if it is more
    /// than one batch. So no request pays for more than one.
    pub fn take(&mut self) -> Vec<UsageRow> {
        if self.rest.is_empty() {
            self.bytes = 0;
            self.rest = std::mem::take(&mut self.rows).into_values();
        }
        let mut bytes = 0;
        let fits = |row: &&UsageRow| {
            bytes += row.name_bytes();
            bytes <= NAME_BYTES_MAX
        };
        let count = self.rest.iter().rev().take(ROWS_MAX).take_while(fits).count();
        self.rest.split_off(self.rest.len() - count)
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
/// The most rows of a batch.
pub(super) const ROWS_MAX: usize = 512;
/// The most bytes of names in a batch: far more than those of one row.
const NAME_BYTES_MAX: usize = 64 * 1024;
/// How many rows an isolate counts before a batch is sent early, so that the requests of each
/// caller are added up. It counts up to twice as many.
const HELD_ROWS: usize = 4 * ROWS_MAX;
/// The same, in bytes of names.
const HELD_NAME_BYTES: usize = 4 * NAME_BYTES_MAX;
/// The longest name in bytes.
const NAME_LENGTH_MAX: usize = 256;

#[cfg(test)]
mod tests;
