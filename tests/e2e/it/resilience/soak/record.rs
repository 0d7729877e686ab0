//! The counts and findings of a run.

use super::history::History;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A promise that a finding breaks.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Topic {
    /// A forged, expired or revoked token passed, and no stated bound explains it.
    WrongAccept,
    /// A valid token, password or refresh token was rejected.
    WrongReject,
    /// A request was forwarded with another identity than that of its token.
    Identity,
    /// More requests were forwarded than a limit, a quota or credits admit, or fewer.
    Limit,
    /// A session that no client ended does not refresh.
    LostSession,
    /// A used refresh token gave tokens, or did not end its session.
    Reuse,
    /// A request got no response.
    Unanswered,
    /// Too many requests failed while no fault was injected.
    Failures,
    /// The system did not recover from a fault.
    Recovery,
    Database,
    Panic,
    Memory,
    Descriptors,
    /// Requests were not sent, because the machine was too slow or a client of the test failed.
    Load,
}

/// The results of one kind of request.
#[derive(Clone, Default)]
pub struct Counts {
    pub right: u64,
    /// Failures while a fault was injected.
    pub explained: u64,
    /// Failures at other times, by status; 0 means a response that was cut off.
    pub unexplained: BTreeMap<u16, u64>,
    pub unanswered: u64,
    /// The times of the correct responses, in milliseconds.
    times: Vec<u32>,
}

impl Counts {
    pub fn total(&self) -> u64 {
        self.right + self.explained + self.unexplained() + self.unanswered
    }

    pub fn unexplained(&self) -> u64 {
        self.unexplained.values().sum()
    }

    /// Returns a quantile of the response times in milliseconds.
    pub fn quantile(&self, share: f64) -> u32 {
        let mut times = self.times.clone();
        times.sort_unstable();
        let place = (times.len() as f64 * share) as usize;
        times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or(0)
    }
}

/// Revoked tokens that passed within the stated bound.
#[derive(Clone, Copy, Default)]
pub struct Late {
    pub count: u64,
    pub worst: Duration,
}

/// The response to a request, and its time.
pub struct Reply {
    pub sent: Instant,
    pub answered: Instant,
    /// The status; `None` without a response.
    pub status: Option<u16>,
    /// The body; empty if it was cut off.
    pub body: String,
}

impl Reply {
    /// Returns whether the gate refused it for a limit. An upstream with a fault answers 429, too.
    pub fn is_over_limit(&self) -> bool {
        self.status == Some(429) && self.body.contains("\"code\":")
    }
}

#[derive(Default)]
pub struct Record {
    kinds: Mutex<BTreeMap<&'static str, Counts>>,
    findings: Mutex<BTreeMap<Topic, Vec<String>>>,
    late: Mutex<Late>,
    /// Requests that were not sent because too many were in progress.
    skipped: Mutex<u64>,
}

impl Record {
    fn count(&self, kind: &'static str, change: impl FnOnce(&mut Counts)) {
        change(self.kinds.lock().unwrap().entry(kind).or_default());
    }

    pub fn right(&self, kind: &'static str, reply: &Reply) {
        let time = u32::try_from((reply.answered - reply.sent).as_millis()).unwrap_or(u32::MAX);
        self.count(kind, |counts| {
            counts.right += 1;
            counts.times.push(time);
        });
    }

    /// Records a response that does not decide anything: an error, or no response.
    pub fn failure(&self, kind: &'static str, reply: &Reply, history: &History) {
        match reply.status {
            None => {
                self.count(kind, |counts| counts.unanswered += 1);
                self.find(Topic::Unanswered, format!("{kind}: no response"));
            }
            Some(_) if history.explains_failure(reply.sent, reply.answered) => {
                self.count(kind, |counts| counts.explained += 1);
            }
            Some(status) => {
                self.count(kind, |counts| *counts.unexplained.entry(status).or_default() += 1);
                if status != 503 {
                    println!("unexplained: {kind}: {status} {}", reply.body);
                }
            }
        }
    }

    pub fn late(&self, delay: Duration) {
        let mut late = self.late.lock().unwrap();
        late.count += 1;
        late.worst = late.worst.max(delay);
    }

    pub fn skip(&self) {
        *self.skipped.lock().unwrap() += 1;
    }

    pub fn find(&self, topic: Topic, text: String) {
        self.findings.lock().unwrap().entry(topic).or_default().push(text);
    }

    pub fn findings(&self) -> BTreeMap<Topic, Vec<String>> {
        self.findings.lock().unwrap().clone()
    }

    pub fn found(&self, topic: Topic) -> usize {
        self.findings.lock().unwrap().get(&topic).map_or(0, Vec::len)
    }

    pub fn kinds(&self) -> BTreeMap<&'static str, Counts> {
        self.kinds.lock().unwrap().clone()
    }

    pub fn lateness(&self) -> Late {
        *self.late.lock().unwrap()
    }

    pub fn skipped(&self) -> u64 {
        *self.skipped.lock().unwrap()
    }
}
