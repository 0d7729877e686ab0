//! The endpoints of the console for refused requests.

use super::extract::Reader;
use super::range::{Counted, Range};
use super::state::{ConsoleState, SharedConsole};
use crate::clock::now;
use crate::http::query::Query;
use crate::problem::Problem;
use crate::series::{READINGS, RecentRefusal, refused_by};
use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new().route("/refusals", get(show)).route("/refusals/recent", get(recent))
}

/// Returns how many requests were refused. By code and route, all are counted; by client and
/// address, the sample of the last hour alone.
async fn show(
    State(state): SharedConsole,
    _: Reader,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut query = Query::parse(query)?;
    let range = Range::take(&mut query)?;
    query.finish()?;
    let (app, now) = (Arc::clone(&state.app), now());
    let counted =
        state.app.run("console_refusals", async move { range.counted(&app.series, now).await });
    let Counted { steps, total } = counted.await?;
    let points = steps.iter().map(|(start, counters)| {
        let by_code = counters.contains_key(READINGS).then(|| refused_by(counters, "code"));
        json!({ "start": start, "by_code": by_code })
    });
    let points: Vec<Value> = points.collect();
    let ring = state.app.series.recent_refusals().await;
    let from_ms = range.from(now).saturating_mul(1000);
    let sample: Vec<&RecentRefusal> =
        ring.iter().flat_map(|ring| ring.iter()).filter(|one| one.at_ms >= from_ms).collect();
    let by = |name: fn(&RecentRefusal) -> Option<&str>| {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for refusal in sample.iter().filter(|refusal| !refusal.shadow) {
            let sum = sums.entry(name(refusal).unwrap_or_default().to_owned()).or_default();
            *sum = sum.saturating_add(refusal.weight);
        }
        largest_first(sums)
    };
    Ok(Json(json!({
        "range": range.name(),
        "step_seconds": range.step_seconds(),
        "by_code": largest_first(refused_by(&total, "code")),
        "by_route": largest_first(refused_by(&total, "route")),
        "by_client": by(|refusal| refusal.client.as_deref()),
        "by_address": by(|refusal| refusal.address.as_deref()),
        "points": points,
        "sampled": true,
        "sample_from_ms": sample.last().map(|refusal| refusal.at_ms),
        "store": if ring.is_ok() { "up" } else { "down" },
    })))
}

/// Returns recent refusals one by one, the newest first.
async fn recent(
    State(state): SharedConsole,
    _: Reader,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut query = Query::parse(query)?;
    let mut filter = Filter::default();
    for (name, wanted) in [
        ("code", &mut filter.code),
        ("route", &mut filter.route),
        ("client", &mut filter.client),
        ("address", &mut filter.address),
        ("id", &mut filter.id),
    ] {
        // An empty field of a form filters nothing.
        *wanted = query.take(name)?.filter(|value| !value.is_empty());
        if wanted.as_ref().is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            return Err(Problem::QueryInvalid("a filter is too long; give at most 512 bytes"));
        }
    }
    query.finish()?;
    let ring = state.app.series.recent_refusals().await;
    let items: Vec<&RecentRefusal> =
        ring.iter().flat_map(|ring| ring.iter()).filter(|one| filter.has(one)).collect();
    let store = if ring.is_ok() { "up" } else { "down" };
    Ok(Json(json!({ "items": items, "next": null, "store": store })))
}

/// The refusals that are wanted.
#[derive(Default)]
struct Filter {
    code: Option<String>,
    route: Option<String>,
    client: Option<String>,
    address: Option<String>,
    id: Option<String>,
}

impl Filter {
    fn has(&self, refusal: &RecentRefusal) -> bool {
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        is(&self.code, Some(&refusal.code))
            && is(&self.route, refusal.route.as_deref())
            && is(&self.client, refusal.client.as_deref())
            && is(&self.address, refusal.address.as_deref())
            && is(&self.id, Some(&refusal.id))
    }
}

/// Returns the largest sums, and their names.
fn largest_first(sums: BTreeMap<String, u64>) -> Vec<Value> {
    let mut sums: Vec<(String, u64)> = sums.into_iter().collect();
    sums.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    sums.truncate(NAMES_MAX);
    sums.into_iter().map(|(name, count)| json!({ "name": name, "count": count })).collect()
}

const VALUE_BYTES_MAX: usize = 512;
/// The most names of one list.
const NAMES_MAX: usize = 200;
