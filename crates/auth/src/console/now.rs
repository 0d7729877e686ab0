//! The endpoints of the console for what happens now.

use super::extract::Reader;
use super::operator::Operator;
use super::range::{Counted, Range, shown_point};
use super::state::{ConsoleState, SharedConsole};
use crate::clock::{now, now_ms};
use crate::db::Counters;
use crate::http::query::Query;
use crate::problem::Problem;
use crate::series::{EdgeReport, Observed, Point, add_all, summary};
use axum::extract::{RawQuery, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream::{Stream, unfold};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new().route("/now", get(show)).route("/now/events", get(events))
}

/// Returns what the edges and this service counted, and their state.
async fn show(
    State(state): SharedConsole,
    _: Reader,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut query = Query::parse(query)?;
    let range = Range::take(&mut query)?;
    query.finish()?;
    let app = Arc::clone(&state.app);
    let counted =
        state.app.run("console_now", async move { range.counted(&app.series, now()).await });
    let Counted { steps, total } = counted.await?;
    let points: Vec<Value> =
        steps.iter().map(|(start, counters)| shown_point(*start, counters)).collect();
    Ok(Json(json!({
        "range": range.name(),
        "step_seconds": range.step_seconds(),
        "points": points,
        "totals": summary(&total),
        "state": shown_state(&state.app.series.observed(), &total, now_ms()),
    })))
}

/// Follows what is counted: an event every ten seconds, until the session ends.
async fn events(
    State(state): SharedConsole,
    Reader(operator): Reader,
    RawQuery(query): RawQuery,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    Query::parse(query)?.finish()?;
    let permit = STREAMS.try_acquire().map_err(|_| Problem::Overloaded)?;
    let mut rounds = state.app.series.rounds();
    // The first event comes at once.
    rounds.mark_changed();
    let stopping = state.app.stopping.clone();
    let follower = Follower { state, operator, rounds, stopping, _permit: permit };
    let events = unfold(follower, |mut follower| async move {
        follower.next().await.map(|event| (Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(PING_EACH).text("ping")))
}

/// One who follows the events.
struct Follower {
    state: Arc<ConsoleState>,
    operator: Operator,
    rounds: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    _permit: SemaphorePermit<'static>,
}

impl Follower {
    /// Waits for the next event. Returns `None` if the session has ended, or the server stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let has_round = tokio::select! {
                round = self.rounds.changed() => round.is_ok(),
                Ok(_) = self.stopping.wait_for(|stopping| *stopping) => return None,
                () = tokio::time::sleep(CHECK_EACH) => false,
            };
            let check = self.state.sessions.is_active(&self.operator, now());
            let is_active = tokio::time::timeout(CHECK_EACH, check).await;
            // While the database does not answer, the session goes on until its latest end.
            if is_active == Ok(Ok(false)) {
                return None;
            }
            if has_round {
                let series = &self.state.app.series;
                let live = add_all(&series.live());
                let point = series.last();
                let point = point.map(|Point { start, counters }| shown_point(start, &counters));
                let state = shown_state(&series.observed(), &live, now_ms());
                let data = json!({ "point": point, "state": state });
                return Some(Event::default().event("now").data(data.to_string()));
            }
        }
    }
}

/// Returns the state of the parts, with the times of deliveries in a range.
fn shown_state(observed: &Observed, total: &Counters, now_ms: u64) -> Value {
    let edges: Vec<&EdgeReport> = observed.edges.iter().take(EDGES_MAX).collect();
    let current = || {
        let fresh = |edge: &&EdgeReport| edge.at_ms.saturating_add(CURRENT_MS) > now_ms;
        observed.edges.iter().filter(fresh)
    };
    let mut breakers: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for edge in current() {
        for (dependency, state) in &edge.breakers {
            breakers.entry((dependency, state)).or_default().insert(&edge.colo);
        }
    }
    let breakers: Vec<Value> = breakers
        .into_iter()
        .map(|((dependency, state), colos)| {
            json!({ "dependency": dependency, "state": state, "colos": colos })
        })
        .collect();
    let degraded: BTreeSet<&String> = current().flat_map(|edge| &edge.degraded).collect();
    let summary: Map<String, Value> = summary(total);
    let up = |is_up: bool| if is_up { "up" } else { "down" };
    let age = observed.edges.first().map(|edge| now_ms.saturating_sub(edge.at_ms) / 1000);
    json!({
        "at": observed.at,
        "store": up(observed.store_up),
        "database": up(observed.database_up),
        "outbox_rows": observed.outbox_rows,
        "outbox_age_seconds": observed.outbox_age_seconds,
        "delivery_ms_p50": summary.get("delivery_p50_ms"),
        "delivery_ms_p99": summary.get("delivery_p99_ms"),
        "delivery_ms_max": summary.get("delivery_max_ms"),
        "clearance_age_ms_max": current().map(|edge| edge.clearance_age_ms_max).max(),
        "delay_ms_max": current().map(|edge| edge.delay_ms_max).max(),
        "edges": edges,
        "edges_total": observed.edges.len(),
        "open_breakers": breakers,
        "degraded": degraded,
        "metrics_age_seconds": age,
    })
}

/// The most clients that follow the events at once.
static STREAMS: Semaphore = Semaphore::const_new(20);
const PING_EACH: Duration = Duration::from_secs(15);
/// How often a session is checked.
const CHECK_EACH: Duration = Duration::from_secs(5);
/// The most edges of a response.
const EDGES_MAX: usize = 500;
/// How old the report of an isolate is whose breakers and clearances count.
const CURRENT_MS: u64 = 300_000;
