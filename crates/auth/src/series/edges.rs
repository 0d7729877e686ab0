//! What the isolates of the edges report about themselves.

use redis_rest::Reply;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one isolate reports with each batch of its counters.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct EdgeReport {
    /// The name in the hash: the location, and a random name of the isolate.
    pub name: String,
    pub colo: String,
    /// When it reported, in Unix ms.
    #[serde(alias = "at")]
    pub at_ms: u64,
    /// The hash of its policy.
    pub policy: String,
    pub version: String,
    /// The circuit breakers that are not closed, by their dependency.
    pub breakers: BTreeMap<String, String>,
    /// How verdicts were made without the store.
    pub degraded: Vec<String>,
    /// The requests since the report before.
    pub requests: u64,
    /// The greatest age of a clearance that accepted a request since the report before.
    pub clearance_age_ms_max: u64,
    /// The bound of that age, by the policy.
    pub delay_ms_max: u64,
}

/// The reports of a hash, and the fields that are to be deleted.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct EdgeReports {
    /// The newest first.
    pub reports: Vec<EdgeReport>,
    pub stale: Vec<String>,
}

/// Reads the fields and values of the hash. A field is stale if its report is old, far in the
/// future, or can't be read.
pub fn read_reports(fields: &[Reply], now_ms: u64) -> EdgeReports {
    let mut found = EdgeReports::default();
    let many = fields.len() / 2 > MANY;
    let kept_ms = if many { KEPT_MS_OF_MANY } else { KEPT_MS };
    for pair in fields.chunks_exact(2) {
        let [Some(name), text] =
            [pair.first(), pair.get(1)].map(|one| one.and_then(Reply::as_text))
        else {
            continue;
        };
        let report = text.and_then(|text| read(name, text));
        let kept = report.filter(|report| {
            let is_future = report.at_ms > now_ms.saturating_add(CLOCK_SKEW_MS);
            !is_future && report.at_ms.saturating_add(kept_ms) > now_ms
        });
        match kept {
            Some(report) => found.reports.push(report),
            None => found.stale.push(name.to_owned()),
        }
    }
    found.reports.sort_by(|one, other| (other.at_ms, &one.name).cmp(&(one.at_ms, &other.name)));
    found.reports.truncate(REPORTS_MAX);
    found.stale.truncate(STALE_MAX);
    found
}

fn read(name: &str, text: &str) -> Option<EdgeReport> {
    if text.len() > REPORT_BYTES_MAX {
        return None;
    }
    let mut report: EdgeReport = serde_json::from_str(text).ok()?;
    report.name = name.to_owned();
    let is_short = {
        let texts = [&report.name, &report.colo, &report.policy, &report.version];
        let breakers = report.breakers.iter().flat_map(|(name, state)| [name, state]);
        texts.into_iter().chain(breakers).all(|text| text.len() <= TEXT_BYTES_MAX)
    };
    let is_hash = report.policy.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    (is_short && is_hash).then_some(report)
}

/// How long a report is kept, and if there are many.
const KEPT_MS: u64 = 3_600_000;
const KEPT_MS_OF_MANY: u64 = 600_000;
const MANY: usize = 1000;
/// How far the clock of an isolate may be ahead.
const CLOCK_SKEW_MS: u64 = 300_000;
/// How many reports are kept in memory.
const REPORTS_MAX: usize = 2000;
/// How many fields are deleted at once.
const STALE_MAX: usize = 100;
const REPORT_BYTES_MAX: usize = 16 * 1024;
const TEXT_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(pairs: &[(&str, String)]) -> Vec<Reply> {
        pairs.iter().flat_map(|(name, text)| [Reply::text(name), Reply::text(text)]).collect()
    }

    #[test]
    fn reports_are_read_and_old_ones_are_stale() {
        let now_ms = 1_800_000_000_000;
        let report = |ago: u64| {
            format!(
                r#"{{"at":{},"policy":"abc-_1","version":"0.1.0","colo":"AMS","breakers":
                {{"store":"open"}},"degraded":["limit=local"],"clearance_age_ms_max":1234,
                "delay_ms_max":10000,"requests":7,"later":[1]}}"#,
                now_ms - ago
            )
        };
        let fields = hash(&[
            ("AMS/old", report(3_600_000)),
            ("AMS/a", report(5000)),
            ("AMS/b", report(4000)),
            ("AMS/bad", "{".to_owned()),
            ("AMS/long", format!("{:>20000}", report(0))),
            ("AMS/path", report(0).replace("abc-_1", "../x")),
        ]);
        let found = read_reports(&fields, now_ms);
        assert_eq!(found.stale, ["AMS/old", "AMS/bad", "AMS/long", "AMS/path"]);
        let expect = EdgeReport {
            name: "AMS/b".into(),
            colo: "AMS".into(),
            at_ms: now_ms - 4000,
            policy: "abc-_1".into(),
            version: "0.1.0".into(),
            breakers: [("store".to_owned(), "open".to_owned())].into(),
            degraded: vec!["limit=local".into()],
            requests: 7,
            clearance_age_ms_max: 1234,
            delay_ms_max: 10_000,
        };
        assert_eq!(found.reports[0], expect);
        assert_eq!(found.reports[1].name, "AMS/a");
    }

    /// It would stay the newest one for as long as its clock is ahead.
    #[test]
    fn report_from_the_future_is_stale() {
        let now_ms = 1_800_000_000_000;
        let at = |at_ms: u64| format!(r#"{{"at":{at_ms}}}"#);
        let fields = hash(&[
            ("AMS/ahead", at(now_ms + 300_000)),
            ("AMS/far", at(now_ms + 300_001)),
            ("AMS/max", at(u64::MAX)),
        ]);
        let found = read_reports(&fields, now_ms);
        assert_eq!(found.stale, ["AMS/far", "AMS/max"]);
        assert_eq!(found.reports[0].name, "AMS/ahead");
    }

    #[test]
    fn many_reports_are_kept_for_a_shorter_time() {
        let now_ms = 1_800_000_000_000;
        let names: Vec<String> = (0..1500).map(|number| format!("AMS/{number}")).collect();
        let text = format!(r#"{{"at":{}}}"#, now_ms - 700_000);
        let few: Vec<_> =
            names.iter().take(900).map(|name| (name.as_str(), text.clone())).collect();
        assert_eq!(read_reports(&hash(&few), now_ms).reports.len(), 900);
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), text.clone())).collect();
        let found = read_reports(&hash(&many), now_ms);
        assert_eq!((found.reports.len(), found.stale.len()), (0, 100));
    }
}
