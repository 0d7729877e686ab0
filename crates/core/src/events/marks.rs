//! The store's commands of an event.

use super::parse::Event;
use crate::refusal::{Denial, Outage, Refusal};
use crate::time::UnixSeconds;
use crate::token_hash::TokenHash;
use redis_rest::{Command, Reply};

/// The script that writes a marker, and never weakens or shortens one. It takes one key, so that a
/// Redis Cluster can run it, and returns the value that the marker has then.
///
/// `ARGV` has `first` if a marker that exists stays as it is, or `last` if the later time wins; the
/// value, for `last` a time in Unix seconds; and the life in milliseconds, of which the longer one
/// wins. A value that is not a time revokes everything, so it stays. A marker without an expiry
/// keeps none.
pub const REVOKE_SCRIPT: &str = include_str!("revoke.lua");

impl Event {
    /// Returns a hash of what the event revokes. The subject of a global revocation is not signed,
    /// so the same signed token could come with another one.
    pub fn content(&self) -> TokenHash {
        TokenHash::of(&self.markers.join("\n"))
    }

    /// Returns the command that records an event's first arrival, `now`. Its reply is that of the
    /// first arrival, so that a repeated event has the effect of the first one and no more.
    pub fn claim(&self, content: TokenHash, now: UnixSeconds) -> Command {
        // Longer than the event is accepted, by the greatest leeway twice.
        let life_seconds = self.life_seconds + 2 * 300;
        command(&self.key, "first", &format!("{now}:{content}"), life_seconds)
    }

    /// Reads the time of the first arrival in the reply to [`Event::claim`].
    ///
    /// # Errors
    ///
    /// [`Denial::EventMalformed`] if the event revoked something else then, and
    /// [`Outage::StoreBadResponse`] for any other text.
    pub fn first_arrival(reply: &Reply, content: TokenHash) -> Result<UnixSeconds, Refusal> {
        let (time, first) = reply
            .as_text()
            .and_then(|text| text.split_once(':'))
            .ok_or(Outage::StoreBadResponse)?;
        let time = time.parse().map_err(|_| Outage::StoreBadResponse)?;
        if first != content.to_string() {
            return Err(Denial::EventMalformed.into());
        }
        Ok(UnixSeconds(time))
    }

    /// Returns the commands that write the markers. They revoke up to the event's first arrival,
    /// or up to its issue where the issuer's clock is ahead.
    pub fn marks(&self, first: UnixSeconds, now: UnixSeconds) -> Vec<Command> {
        let up_to = first.max(self.issued_at);
        let left_seconds = up_to.plus(self.life_seconds).seconds_since(now).max(1);
        let up_to = up_to.to_string();
        let marker = |key: &String| command(key, "last", &up_to, left_seconds);
        self.markers.iter().map(marker).collect()
    }
}

fn command(key: &str, wins: &str, value: &str, life_seconds: u64) -> Command {
    let life_ms = life_seconds * 1000;
    Command::new("EVAL").arg(REVOKE_SCRIPT).arg(1).arg(key).arg(wins).arg(value).arg(life_ms)
}
