//! The goals of the Worker.

use super::cells::{BOUNDED, LEASED, LEASED_BY_DEFAULT, STRICT};
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
    /// It is measured without a goal.
    Open,
}

impl Goal {
    pub fn holds(&self) -> Option<bool> {
        let (value, _) = self.value?;
        Some(match self.bound {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
            // At the end of a load, requests in progress are counted on one side only.
            Bound::Exactly(number) => (value - number).abs() <= number / 100.0,
            Bound::Open => return None,
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
    let far = |name| found.distance.iter().find(|(of, ms, ..)| *of == name && *ms == 40);
    let p50 = |name| far(name).map(|(_, _, p50_ms, ..)| *p50_ms);
    let p99 = |name| far(name).map(|(.., p99_ms, _)| *p99_ms);
    let beyond = |own: Option<f64>, other: Option<f64>| Some(own? - other?);
    let counted = |name| found.trips.iter().find(|trip| trip.name == name);
    let trips = |name| counted(name).map(|trip| trip.store);
    let commands = |name| counted(name).map(|trip| trip.commands);
    let unspent = |name| {
        let near = found.near_limit.iter().find(|near| near.name == name);
        near.map(|near| near.unspent * 100.0)
    };
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
    use Bound::{AtLeast, AtMost, Exactly, Open};
    vec![
        plain(
            "leased, store 40 ms away: p50 ms beyond pass",
            beyond(p50(LEASED.name()), p50("pass")),
            AtMost(2.0),
        ),
        plain(
            "leased, store 40 ms away: p99 ms beyond pass",
            beyond(p99(LEASED.name()), p99("pass")),
            AtMost(10.0),
        ),
        plain("leased: trips to the store a request", trips("leased"), AtMost(0.05)),
        plain("leased: billed commands a request", commands("leased"), AtMost(0.3)),
        plain("strict, one limit: billed commands a request", commands("strict"), AtMost(4.0)),
        plain("exact, one limit: billed commands a request", commands("exact"), AtMost(4.0)),
        ratio("leased: CPU, of jsopt", "leased", "jsopt leased", cpu, AtMost(1.10)),
        plain(
            "leased for 5 s: unspent, % of 6,000 requests a minute",
            unspent(LEASED.name()),
            AtMost(2.0),
        ),
        plain(
            "leased for 1 s: unspent, % of 6,000 requests a minute",
            unspent(LEASED_BY_DEFAULT.name()),
            AtMost(2.0),
        ),
        ratio("strict: CPU a request, of ref", "strict", "ref", cpu, AtMost(0.60)),
        plain(
            "strict, store 40 ms away: p50 ms beyond one trip",
            beyond(p50(STRICT.name()), p50(ONE_TRIP)),
            AtMost(3.0),
        ),
        Goal {
            measure: "start to first answer, of ref".to_owned(),
            bound: AtMost(1.0),
            value: start,
        },
        plain("the Worker, gzipped, KB", Some(found.gzip_bytes as f64 / 1000.0), AtMost(225.0)),
        ratio(
            "garbage: requests a second, of bare401",
            "garbage",
            "bare401",
            rate,
            AtLeast(GARBAGE),
        ),
        ratio("forged: requests a second, of bare401", "forged", "bare401", rate, AtLeast(FORGED)),
        plain(
            "bounded, store 40 ms away: p50 ms beyond pass",
            beyond(p50(BOUNDED.name()), p50("pass")),
            AtMost(2.0),
        ),
        plain("strict: trips to the store a request", trips("strict"), Exactly(1.0)),
        plain("bounded, kept: trips a request", trips("bounded, kept"), AtMost(OWN_TRIPS)),
        plain("garbage: trips a request", trips("garbage"), AtMost(OWN_TRIPS)),
        plain("forged: trips a request", trips("forged"), AtMost(OWN_TRIPS)),
        plain("resident memory after all requests, of that after half", memory, AtMost(1.05)),
        plain("queries of the database, % of requests", queries, AtMost(0.1)),
        ratio("strict: CPU, of jsopt", "strict", "jsopt strict", cpu, Open),
        ratio("strict: CPU, of floor", "strict", "floor", cpu, Open),
        ratio("strict: requests a second, of ref", "strict", "ref", rate, Open),
        ratio("leased: CPU, of ref", "leased", "ref", cpu, Open),
        ratio("leased: CPU, of pass", "leased", "pass", cpu, Open),
        ratio("bounded: CPU, of jsopt", "bounded", "jsopt bounded", cpu, Open),
        ratio("bounded: CPU, of ref", "bounded", "ref", cpu, Open),
        ratio("bounded: CPU, of pass", "bounded", "pass", cpu, Open),
    ]
}

/// What rejected tokens reached of bare401 on 23 November 2026. They are to become no slower.
const GARBAGE: f64 = 0.51;
const FORGED: f64 = 0.26;
/// What an isolate asks the store for itself: the list of blocked networks every few seconds, and
/// its counters. No request waits for that.
const OWN_TRIPS: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::edge::found::Trips;

    fn verdict(found: &Found, measure: &str) -> Option<bool> {
        let goals = of(found);
        goals.iter().find(|goal| goal.measure == measure).unwrap().holds()
    }

    #[test]
    fn leased_goals_compare_what_was_counted() {
        let trips = |store, commands| Trips {
            name: "leased",
            store,
            upstream: 1.0,
            commands,
            requests_per_second: 1000.0,
        };
        let (of_trips, of_commands) =
            ("leased: trips to the store a request", "leased: billed commands a request");
        let good = Found { trips: vec![trips(0.04, 0.29)], ..Found::default() };
        assert_eq!(verdict(&good, of_trips), Some(true));
        assert_eq!(verdict(&good, of_commands), Some(true));
        let bad = Found { trips: vec![trips(0.06, 0.31)], ..Found::default() };
        assert_eq!(verdict(&bad, of_trips), Some(false));
        assert_eq!(verdict(&bad, of_commands), Some(false));
        assert_eq!(verdict(&Found::default(), of_trips), None);
        assert_eq!(verdict(&good, "strict: CPU, of jsopt"), None);
    }
}
