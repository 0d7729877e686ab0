//! The contenders, and the load on each.

use super::load::Traffic;

/// A program to be measured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Contender {
    /// Another build of the Worker, from `--beside`.
    Beside { seconds: u32 },
    /// Portcullis. A verdict is cached for `seconds`.
    Portcullis { seconds: u32 },
    /// hono, jose, @upstash/redis and @upstash/ratelimit.
    Ref,
    /// The same algorithm, hand-written in JavaScript.
    Jsopt { seconds: u32 },
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
            Self::Portcullis { seconds: 0 } => "portcullis, strict",
            Self::Portcullis { .. } => "portcullis, bounded",
            Self::Beside { seconds: 0 } => "the other build, strict",
            Self::Beside { .. } => "the other build, bounded",
            Self::Ref => "ref",
            Self::Jsopt { seconds: 0 } => "jsopt, strict",
            Self::Jsopt { .. } => "jsopt, bounded",
            Self::Floor => "floor",
            Self::Pass => "pass",
            Self::Bare401 => "bare401",
        }
    }

    /// Returns the bundle of a peer; `None` for a build of the Worker.
    pub fn peer(self) -> Option<&'static str> {
        match self {
            Self::Beside { .. } | Self::Portcullis { .. } => None,
            Self::Ref => Some("ref.js"),
            Self::Jsopt { .. } => Some("jsopt.js"),
            Self::Floor => Some("floor.js"),
            Self::Pass => Some("pass.js"),
            Self::Bare401 => Some("bare401.js"),
        }
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

pub const STRICT: Contender = Contender::Portcullis { seconds: 0 };
pub const BOUNDED: Contender = Contender::Portcullis { seconds: 1 };

/// The cells, in the order of a round.
const CELLS: [Cell; 11] = [
    cell("strict", STRICT, Traffic::Good, ROTATING),
    cell("ref", Contender::Ref, Traffic::Good, ROTATING),
    cell("jsopt strict", Contender::Jsopt { seconds: 0 }, Traffic::Good, ROTATING),
    cell("floor", Contender::Floor, Traffic::Good, ROTATING),
    cell("bounded", BOUNDED, Traffic::Good, HOT),
    cell("jsopt bounded", Contender::Jsopt { seconds: 1 }, Traffic::Good, HOT),
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
    (cell("other bounded", Contender::Beside { seconds: 1 }, Traffic::Good, HOT), "bounded"),
    (cell("other garbage", OTHER_STRICT, Traffic::Garbage, ROTATING), "garbage"),
    (cell("other forged", OTHER_STRICT, Traffic::Forged, ROTATING), "forged"),
];
const OTHER_STRICT: Contender = Contender::Beside { seconds: 0 };

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
