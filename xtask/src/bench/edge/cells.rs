//! The contenders, and the load on each.

use super::load::Traffic;
use serde_json::{Value, json};

/// A program to be measured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Contender {
    /// Another build of the Worker, from `--beside`.
    Beside(Plan),
    /// Portcullis.
    Portcullis(Plan),
    /// hono, jose, @upstash/redis and @upstash/ratelimit.
    Ref,
    /// The same algorithm, hand-written in JavaScript.
    Jsopt(Plan),
    /// One call to the store, and one to the upstream.
    Floor,
    /// The upstream alone.
    Pass,
    /// A refusal alone.
    Bare401,
}

impl Contender {
    pub fn name(self) -> &'static str {
        match self {
            Self::Portcullis(Plan::Strict) => "portcullis, strict",
            Self::Portcullis(Plan::Exact) => "portcullis, exact",
            Self::Portcullis(Plan::Leased { seconds: 1 }) => "portcullis, leased by default",
            Self::Portcullis(Plan::Leased { .. }) => "portcullis, leased",
            Self::Portcullis(Plan::Bounded { .. }) => "portcullis, bounded",
            Self::Beside(Plan::Strict) => "the other build, strict",
            Self::Beside(_) => "the other build, bounded",
            Self::Ref => "ref",
            Self::Jsopt(Plan::Strict) => "jsopt, strict",
            Self::Jsopt(Plan::Leased { .. }) => "jsopt, leased",
            Self::Jsopt(_) => "jsopt, bounded",
            Self::Floor => "floor",
            Self::Pass => "pass",
            Self::Bare401 => "bare401",
        }
    }

    /// Returns the bundle of a peer; `None` for a build of the Worker.
    pub fn peer(self) -> Option<&'static str> {
        match self {
            Self::Beside(_) | Self::Portcullis(_) => None,
            Self::Ref => Some("ref.js"),
            Self::Jsopt(_) => Some("jsopt.js"),
            Self::Floor => Some("floor.js"),
            Self::Pass => Some("pass.js"),
            Self::Bare401 => Some("bare401.js"),
        }
    }
}

/// What a request needs of the store.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Plan {
    /// The store clears the token and counts the request, each time.
    Strict,
    /// The store clears the token every 5 s, and counts each request.
    Exact,
    /// A clearance and a lease of quota last `seconds`. With 1, the defaults apply.
    Leased { seconds: u32 },
    /// A clearance lasts `seconds`. The route has no limit.
    Bounded { seconds: u32 },
}

impl Plan {
    /// Returns `revocation.delay_seconds_max`.
    pub fn delay_seconds(self) -> u32 {
        match self {
            Self::Strict => 0,
            Self::Exact => 5,
            Self::Leased { seconds } | Self::Bounded { seconds } => seconds,
        }
    }

    /// Returns the route's limit for a quota; `None` if the route has none.
    pub fn limit(self, quota: u32, window_seconds: u32) -> Option<Value> {
        let mut limit =
            json!({ "quota": quota, "window_seconds": window_seconds, "by": "subject" });
        let members = limit.as_object_mut()?;
        match self {
            Self::Bounded { .. } => return None,
            Self::Strict | Self::Leased { seconds: 1 } => {}
            Self::Exact => {
                members.insert("timing".to_owned(), "exact".into());
            }
            Self::Leased { seconds } => {
                members.insert("timing".to_owned(), "leased".into());
                members.insert("lease_seconds".to_owned(), seconds.into());
            }
        }
        Some(limit)
    }
}

/// A contender under one kind of load.
#[derive(Clone, Copy)]
pub struct Cell {
    pub name: &'static str,
    pub contender: Contender,
    pub traffic: Traffic,
    pub tokens: u32,
}

impl Cell {
    /// Returns whether each token is sent twice before a round, unmeasured.
    pub fn is_primed(&self) -> bool {
        matches!(
            self.contender,
            Contender::Portcullis(Plan::Leased { .. }) | Contender::Jsopt(Plan::Leased { .. })
        )
    }
}

pub const STRICT: Contender = Contender::Portcullis(Plan::Strict);
pub const EXACT: Contender = Contender::Portcullis(Plan::Exact);
pub const BOUNDED: Contender = Contender::Portcullis(Plan::Bounded { seconds: 1 });
pub const LEASED: Contender = Contender::Portcullis(Plan::Leased { seconds: 5 });
pub const LEASED_BY_DEFAULT: Contender = Contender::Portcullis(Plan::Leased { seconds: 1 });
pub const JSOPT_STRICT: Contender = Contender::Jsopt(Plan::Strict);
pub const JSOPT_LEASED: Contender = Contender::Jsopt(Plan::Leased { seconds: 5 });
const JSOPT_BOUNDED: Contender = Contender::Jsopt(Plan::Bounded { seconds: 1 });

/// The cells, in the order of a round.
const CELLS: [Cell; 13] = [
    cell("strict", STRICT, Traffic::Good, ROTATING),
    cell("ref", Contender::Ref, Traffic::Good, ROTATING),
    cell("jsopt strict", JSOPT_STRICT, Traffic::Good, ROTATING),
    cell("floor", Contender::Floor, Traffic::Good, ROTATING),
    cell("leased", LEASED, Traffic::Good, ROTATING),
    cell("jsopt leased", JSOPT_LEASED, Traffic::Good, ROTATING),
    cell("bounded", BOUNDED, Traffic::Good, HOT),
    cell("jsopt bounded", JSOPT_BOUNDED, Traffic::Good, HOT),
    cell("pass", Contender::Pass, Traffic::Good, HOT),
    cell("garbage", STRICT, Traffic::Garbage, ROTATING),
    cell("forged", STRICT, Traffic::Forged, ROTATING),
    cell("bare401", Contender::Bare401, Traffic::Garbage, ROTATING),
    cell("pass again", Contender::Pass, Traffic::Good, HOT),
];

const fn cell(name: &'static str, contender: Contender, traffic: Traffic, tokens: u32) -> Cell {
    Cell { name, contender, traffic, tokens }
}

/// The cells of another build of the Worker, each with the cell of this build that it is compared
/// with.
pub const BESIDE: [(Cell, &str); 4] = [
    (cell("other strict", OTHER_STRICT, Traffic::Good, ROTATING), "strict"),
    (cell("other bounded", OTHER_BOUNDED, Traffic::Good, HOT), "bounded"),
    (cell("other garbage", OTHER_STRICT, Traffic::Garbage, ROTATING), "garbage"),
    (cell("other forged", OTHER_STRICT, Traffic::Forged, ROTATING), "forged"),
];
const OTHER_STRICT: Contender = Contender::Beside(Plan::Strict);
const OTHER_BOUNDED: Contender = Contender::Beside(Plan::Bounded { seconds: 1 });

/// Returns the cells of a round, in order.
pub fn cells(beside: bool) -> Vec<Cell> {
    let other = BESIDE.iter().map(|(cell, _)| *cell).filter(|_| beside);
    CELLS.into_iter().chain(other).collect()
}

pub const CONNECTIONS: u32 = 32;
/// The number of different tokens in turn: more than [`HOT`], but fewer than an isolate caches.
pub const ROTATING: u32 = 1000;
/// A number of tokens so small that each occurs many times a second.
pub const HOT: u32 = 32;
