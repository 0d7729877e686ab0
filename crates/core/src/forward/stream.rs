//! The time limits of the stream or WebSocket of a permitted request.

use crate::forward::permit::Permit;
use crate::policy::route::StoreOutage;
use crate::refusal::{Denial, Outage, Refusal};
use crate::token::revocation;
use crate::token::verified::VerifiedToken;
use redis_rest::{Command, Reply};
use std::rc::Rc;

/// The bounds of one stream, on a route that sets any.
#[derive(Debug)]
pub struct StreamBounds {
    /// When the stream ends; `None` if only a revocation ends it.
    ends_at_ms: Option<u64>,
    /// The reason that is given when `ends_at_ms` is reached.
    end: StreamEnd,
    recheck_ms: Option<u64>,
    verified: Option<Rc<VerifiedToken>>,
    /// Whether a valid signature is enough while the store is unavailable.
    signature_suffices: bool,
}

/// The reason why a stream ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamEnd {
    /// The stream lasted for the route's `stream_seconds_max`.
    TimeOver,
    /// The token is no longer valid.
    Refused(Refusal),
}

impl StreamEnd {
    /// Returns the reason for a WebSocket's close frame (RFC 6455 section 5.5.1), at most 123
    /// bytes.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TimeOver => "stream_seconds_max",
            Self::Refused(refusal) => refusal.code(),
        }
    }
}

impl Permit<'_> {
    /// Returns the bounds of a stream that begins at `now_ms`, in Unix milliseconds. Returns `None`
    /// if the route has none. A stream without a token needs no rechecks.
    pub fn stream_bounds(&self, now_ms: u64) -> Option<StreamBounds> {
        let (route, verified) = (self.route, self.verified.as_ref());
        let recheck_seconds = route.stream_recheck_seconds.filter(|_| verified.is_some());
        if route.stream_seconds_max.is_none() && recheck_seconds.is_none() {
            return None;
        }
        let over = route.stream_seconds_max.map(|most| now_ms + u64::from(most) * 1000);
        let issuer = verified.and_then(|verified| self.policy.issuers.get(verified.issuer()));
        // A token keeps its streams for as long as it could open new ones.
        let leeway_seconds = issuer.map_or(0, |issuer| issuer.leeway_seconds);
        let exp = verified.and_then(|verified| verified.claims().exp);
        let exp = exp.map(|exp| exp.plus(leeway_seconds).0.saturating_mul(1000));
        let expires_first = exp.is_some_and(|exp| over.is_none_or(|over| exp < over));
        let end = match expires_first {
            true => StreamEnd::Refused(Denial::TokenExpired.into()),
            false => StreamEnd::TimeOver,
        };
        let is_signed = issuer.is_some_and(|issuer| issuer.keys.is_some())
            && !verified.is_some_and(|verified| verified.is_api_key());
        Some(StreamBounds {
            ends_at_ms: if expires_first { exp } else { over },
            end,
            recheck_ms: recheck_seconds.map(|seconds| u64::from(seconds) * 1000),
            verified: verified.cloned(),
            signature_suffices: is_signed && route.on_store_outage == StoreOutage::Signature,
        })
    }
}

impl StreamBounds {
    /// Returns how many milliseconds to wait until the stream ends or is checked again, a day at
    /// most.
    pub fn pause_ms(&self, now_ms: u64) -> u64 {
        let left_ms = self.ends_at_ms.map(|at| at.saturating_sub(now_ms));
        let waits = [left_ms, self.recheck_ms, Some(PAUSE_MS_MAX)];
        waits.into_iter().flatten().min().unwrap_or(PAUSE_MS_MAX)
    }

    /// Returns the end if the time is over at `now_ms`, or else `None`.
    pub fn end_by_time(&self, now_ms: u64) -> Option<StreamEnd> {
        self.ends_at_ms.filter(|at| *at <= now_ms).map(|_| self.end)
    }

    /// Returns the store's command that fetches the markers of the token. Returns `None` if the
    /// route has no `stream_recheck_seconds`.
    pub fn recheck(&self) -> Option<Command> {
        let verified = self.verified.as_ref().filter(|_| self.recheck_ms.is_some())?;
        Some(verified.marker_query())
    }

    /// Returns the end if the store's reply to [`StreamBounds::recheck`] does not clear the token,
    /// or else `None`. `can_repeat` says whether another recheck is possible: a stream that can
    /// never be rechecked again ends, even if the signature suffices during an outage.
    pub fn end_by_reply(
        &self,
        reply: Result<&Reply, Outage>,
        can_repeat: bool,
    ) -> Option<StreamEnd> {
        let verified = self.verified.as_ref()?;
        let cleared = match reply {
            Ok(reply) => revocation::check(verified.claims(), reply),
            Err(outage) => Err(outage.into()),
        };
        match cleared {
            Ok(()) => None,
            Err(Refusal::Out(_)) if self.signature_suffices && can_repeat => None,
            Err(refusal) => Some(StreamEnd::Refused(refusal)),
        }
    }
}

/// The longest wait that a timer is set for: a day.
const PAUSE_MS_MAX: u64 = 86_400_000;

#[cfg(test)]
mod tests;
