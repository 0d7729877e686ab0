//! The goals of the Worker.

use super::found::{Found, Sample};
use super::parts::ONE_TRIP;
use crate::bench::measure::spread;

/// A measure, with its goal.
pub struct Goal {
    pub measure: String,
    pub bound: Bound,
    /// The measured value and its range; `None` if the part was not measured.
    pub value: Option<(f64, Option<[f64; 2]>)>,
}

pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Exactly(f64),
}

impl Goal {
    pub fn holds(&self) -> Option<bool> {
        let (value, _) = self.value?;
        Some(match self.bound {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
            // At the end of a load, requests in progress are counted on one side only.
            Bound::Exactly(number) => (value - number).abs() <= number / 100.0,
        })
    }
}

pub fn of(found: &Found) -> Vec<Goal> {
    let cpu: fn(&Sample) -> f64 = |sample| sample.cpu_us;
    let rate: fn(&Sample) -> f64 = |sample| sample.load.requests_per_second;
    let ratio = |measure: &str, one, other, of, bound| {
        let value = found.ratio(one, other, of);
        let value = value.map(|[low, middle, high]| (middle, Some([low, high])));
        Goal { measure: measure.to_owned(), bound, value }
    };
    let plain = |measure: &str, value: Option<f64>, bound| Goal {
        measure: measure.to_owned(),
        bound,
        value: value.map(|value| (value, None)),
    };
    let p50 = |name| {
        let at = found.distance.iter().find(|(of, ms, _)| *of == name && *ms == 40);
        at.map(|(_, _, p50_ms)| *p50_ms)
    };
    let trips = |name| found.trips.iter().find(|trip| trip.0 == name).map(|trip| trip.1);
    let start = found.start.get("portcullis, strict").zip(found.start.get("ref"));
    let start = start.map(|(own, peer)| {
        let [low, middle, high] =
            spread(own.iter().zip(peer).map(|(own, peer)| own / peer).collect());
        (middle, Some([low, high]))
    });
    let memory = found.memory.get("portcullis, strict").and_then(|seen| {
        let (half, whole) = (seen.get(2)?.1, seen.get(4)?.1);
        Some(whole as f64 / half as f64)
    });
    let queries =
        found.database.map(|(requests, queries, _)| queries as f64 / requests as f64 * 100.0);
    use Bound::{AtLeast, AtMost, Exactly};
    vec![
        ratio("strict: CPU a request, of ref", "strict", "ref", cpu, AtMost(0.40)),
        ratio("strict: CPU a request, of floor", "strict", "floor", cpu, AtMost(1.10)),
        ratio("strict: requests a second, of ref", "strict", "ref", rate, AtLeast(2.3)),
        ratio("strict: requests a second, of floor", "strict", "floor", rate, AtLeast(0.90)),
        ratio("bounded, hot tokens, no limit: CPU, of ref", "bounded", "ref", cpu, AtMost(0.32)),
        ratio("bounded, hot tokens: CPU, of pass", "bounded", "pass", cpu, AtMost(1.15)),
        ratio("strict: CPU, of jsopt", "strict", "jsopt strict", cpu, AtMost(1.00)),
        ratio("bounded: CPU, of jsopt", "bounded", "jsopt bounded", cpu, AtMost(1.00)),
        ratio("garbage: requests a second, of bare401", "garbage", "bare401", rate, AtLeast(0.90)),
        ratio("forged: requests a second, of bare401", "forged", "bare401", rate, AtLeast(0.40)),
        plain("strict: trips to the store a request", trips("strict"), Exactly(1.0)),
        plain("bounded, kept: trips a request", trips("bounded, kept"), Exactly(0.0)),
        plain("garbage: trips a request", trips("garbage"), Exactly(0.0)),
        plain("forged: trips a request", trips("forged"), Exactly(0.0)),
        plain(
            "strict, store 40 ms away: p50 ms beyond one trip",
            p50("portcullis, strict").zip(p50(ONE_TRIP)).map(|(own, trip)| own - trip),
            AtMost(3.0),
        ),
        plain(
            "bounded, store 40 ms away: p50 ms beyond pass",
            p50("portcullis, bounded").zip(p50("pass")).map(|(own, pass)| own - pass),
            AtMost(2.0),
        ),
        plain("the Worker, gzipped, KB", Some(found.gzip_bytes as f64 / 1000.0), AtMost(100.0)),
        Goal {
            measure: "start to first answer, of ref".to_owned(),
            bound: AtMost(0.8),
            value: start,
        },
        plain("resident memory after all requests, of that after half", memory, AtMost(1.05)),
        plain("queries of the database, % of requests", queries, AtMost(0.1)),
    ]
}
