//! The ring of recent refusals in the store.

use redis_rest::Reply;
use serde::{Deserialize, Serialize};

/// A refusal of an edge, one by one. An isolate reports a sample of its refusals.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct RecentRefusal {
    /// When, in Unix ms.
    #[serde(alias = "at")]
    pub at_ms: u64,
    /// The id of the request.
    pub id: String,
    pub route: Option<String>,
    pub code: String,
    pub status: u16,
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The address as the access log has it.
    pub address: Option<String>,
    pub client: Option<String>,
    pub iss: Option<String>,
    /// The caller as the access log has it, if the policy logs it.
    pub subject: Option<String>,
    pub colo: Option<String>,
    pub ms: u64,
    /// How many refusals it stands for.
    pub weight: u64,
    /// Whether the request passed, because what would have refused it has `shadow`.
    pub shadow: bool,
    pub steps: Vec<RefusalStep>,
}

/// A step of a refused request.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, from = "(String, f64, Option<String>)")]
pub struct RefusalStep {
    pub name: String,
    /// How long it took.
    pub ms: f64,
    pub note: String,
}

impl From<(String, f64, Option<String>)> for RefusalStep {
    fn from((name, ms, note): (String, f64, Option<String>)) -> Self {
        Self { name, ms, note: note.unwrap_or_default() }
    }
}

impl RecentRefusal {
    /// Returns the name of the first limit that refused the request, or would have.
    pub fn exceeded_limit(&self) -> Option<&str> {
        let limits = self.steps.iter().filter(|step| step.name == "limit");
        let mut limits = limits.filter_map(|step| step.note.split_once(": "));
        let is_over =
            |result: &str| ["refused", "would refuse"].iter().any(|own| result.starts_with(own));
        limits.find(|(_, result)| is_over(result)).map(|(name, _)| name)
    }
}

/// Reads the entries of the ring, the newest first. Skips what is malformed or too long.
pub fn read_ring(entries: &[Reply]) -> Vec<RecentRefusal> {
    let texts = entries.iter().filter_map(Reply::as_text);
    // A list would be read as an entry, too.
    let is_entry = |text: &&str| text.len() <= ENTRY_BYTES_MAX && text.starts_with('{');
    let texts = texts.filter(is_entry).take(ENTRIES_MAX);
    let mut refusals: Vec<RecentRefusal> = texts
        .filter_map(|text| {
            let mut refusal: RecentRefusal = serde_json::from_str(text).ok()?;
            refusal.weight = refusal.weight.clamp(1, WEIGHT_MAX);
            Some(refusal)
        })
        .collect();
    // Isolates report at different moments.
    refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.at_ms));
    refusals
}

/// How many entries the ring has.
pub const ENTRIES_MAX: usize = 1000;
/// The edge writes 2 KiB at most.
const ENTRY_BYTES_MAX: usize = 4096;
const WEIGHT_MAX: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_malformed_ones_skipped() {
        let entry = r#"{"at":5,"id":"r1","route":"orders","code":"token_revoked","status":401,
            "method":"GET","path":"/api/x","address":"203.0.113.0/24","client":null,"iss":null,
            "colo":"AMS","ms":12,"weight":3,"shadow":false,"later":1,
            "steps":[["route",0,"orders"],["limit",0,"day: passed, 5 left"],["limit",0.5,"api: refused, 0 left"],["decide",0,null]]}"#;
        let newer = r#"{"at":9,"id":"r2","code":"rate_limited"}"#;
        let long = format!("{entry:<5000}");
        let texts = [entry, "{", "[]", newer, &long, r#"{"at":"x"}"#];
        let ring = read_ring(&texts.map(Reply::text));
        assert_eq!(ring.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["r2", "r1"]);
        assert_eq!((ring[0].weight, ring[1].weight), (1, 3));
        assert_eq!((ring[0].exceeded_limit(), ring[1].exceeded_limit()), (None, Some("api")));
        let shown = serde_json::to_value(&ring[1]).unwrap();
        assert_eq!(shown["at_ms"], 5);
        let step = serde_json::json!({"name": "limit", "ms": 0.5, "note": "api: refused, 0 left"});
        assert_eq!(shown["steps"][2], step);
    }
}
