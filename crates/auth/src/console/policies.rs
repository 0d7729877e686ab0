//! The endpoints of the console for the policies of the edge: which ones are in use, and what one
//! of them does with a request.

use super::lists::{Id, parse_id};
use super::state::{ConsoleState, SharedConsole};
use crate::clock::now;
use crate::http::{AppState, body};
use crate::problem::Problem;
use crate::series::{EdgeReport, policy_hash, read_reports};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis_core::StoreKeys;
use portcullis_policy::{ExplainError, Explanation, Question, RouteSummary, explain_document};
use redis_rest::{Command, Reply};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new()
        .route("/policies", get(list))
        .route("/policies/{hash}", get(one))
        .route("/policies/{hash}/explain", post(explain))
}

/// Lists the policies that isolates have reported within the last hour, the newest report first.
async fn list(State(state): SharedConsole) -> Result<Response, Problem> {
    let app = Arc::clone(&state.app);
    let work = async move {
        let keys = store_keys(&app);
        let reply = read(&app, Command::new("HGETALL").arg(keys.edges())).await?;
        let fields = if let Reply::Array(fields) = &reply { fields.as_slice() } else { &[] };
        let mut policies: BTreeMap<String, Vec<(u64, Value)>> = BTreeMap::new();
        for EdgeReport { at_ms, policy, name, colo, .. } in current_reports(fields) {
            let edge = json!({ "name": name, "colo": colo, "at_ms": at_ms });
            policies.entry(policy).or_default().push((at_ms, edge));
        }
        let mut policies: Vec<_> = policies.into_iter().collect();
        policies.sort_by_key(|(_, edges)| Reverse(edges.first().map_or(0, |(at, _)| *at)));
        policies.truncate(POLICIES_MAX);
        let mut items = Vec::new();
        for (hash, edges) in policies {
            let routes = match document(&app, &hash).await {
                Ok(text) => count_routes(&text),
                Err(Problem::PolicyUnknown) => None,
                Err(problem) => return Err(problem),
            };
            let count = edges.len();
            let edges = edges.into_iter().take(EDGES_MAX).map(|(_, edge)| edge);
            let edges: Vec<Value> = edges.collect();
            items.push(
                json!({ "hash": hash, "edges": edges, "edge_count": count, "routes": routes }),
            );
        }
        Ok(json!({ "items": items, "next": null }))
    };
    Ok(Json(state.app.run("console_policies", work).await?).into_response())
}

/// Returns a policy and its routes. Those are `null` if this version can't read the policy.
async fn one(State(state): SharedConsole, hash: Id) -> Result<Response, Problem> {
    let hash = parse_id(hash, Problem::PolicyUnknown)?;
    let app = Arc::clone(&state.app);
    let work = async move {
        let text = document(&app, &hash).await?;
        compute(move || {
            let document: Value =
                serde_json::from_str(&text).map_err(|_| Problem::PolicyUnreadable)?;
            let routes = portcullis_policy::routes(&text);
            let routes = routes.map(|routes| routes.iter().map(shown_route).collect::<Vec<_>>());
            Ok(json!({ "hash": hash, "document": document, "routes": routes }))
        })
        .await
    };
    Ok(Json(state.app.run("console_policy", work).await?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainBody {
    method: String,
    target: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    address: Option<String>,
    country: Option<String>,
    asn: Option<u32>,
    claims: Option<Map<String, Value>>,
    #[serde(default)]
    assume: Vec<String>,
}

/// Explains what a policy does with a request. It changes nothing, and is sent to no store.
async fn explain(
    State(state): SharedConsole,
    hash: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let hash = parse_id(hash, Problem::PolicyUnknown)?;
    let body: ExplainBody = body::json(&headers, body).await?;
    let question = question(body)?;
    let app = Arc::clone(&state.app);
    let work = async move {
        let text = document(&app, &hash).await?;
        compute(move || match explain_document(&text, &question, now().0) {
            Ok(explanation) => Ok(shown(&explanation)),
            Err(ExplainError::DocumentInvalid) => Err(Problem::PolicyUnreadable),
            Err(ExplainError::QuestionInvalid(_)) => Err(QUESTION_INVALID),
            Err(ExplainError::TokenNotAccepted) => Err(Problem::TokenNotAccepted),
        })
        .await
    };
    Ok(Json(state.app.run("console_policy_explained", work).await?).into_response())
}

/// Checks the form of a request that shall be explained. Its length is bounded by the body's.
fn question(body: ExplainBody) -> Result<Question, Problem> {
    let ExplainBody { method, target, headers, address, country, asn, claims, assume } = body;
    let is_token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let is_text = |text: &str| !text.chars().any(char::is_control);
    let is_target = |b: u8| b.is_ascii_graphic() && b != b'#';
    if !is_token(&method) || method.len() > 32 {
        return Err(Problem::MemberInvalid("method is invalid; give one such as GET"));
    }
    if !target.starts_with('/') || !target.bytes().all(is_target) {
        return Err(Problem::MemberInvalid("target is invalid; give a path such as /api/x?a=1"));
    }
    if headers.len() > HEADERS_MAX
        || !headers.iter().all(|(name, value)| is_token(name) && is_text(value))
    {
        return Err(Problem::MemberInvalid(
            "headers are invalid; give at most 100 pairs of a name and a value",
        ));
    }
    let address = address.filter(|address| !address.is_empty());
    if address.as_ref().is_some_and(|text| text.parse::<std::net::IpAddr>().is_err()) {
        return Err(Problem::MemberInvalid("address is invalid; give one such as 192.0.2.1"));
    }
    if assume.len() > ASSUMPTIONS_MAX {
        return Err(QUESTION_INVALID);
    }
    let country = country.filter(|country| !country.is_empty());
    Ok(Question { method, target, headers, address, country, asn, claims, assume })
}

fn shown(explanation: &Explanation) -> Value {
    let steps = explanation.steps.iter();
    let steps = steps.map(|(name, text)| json!({ "name": name, "text": text }));
    json!({
        "steps": steps.collect::<Vec<_>>(),
        "outcome": {
            "status": explanation.status,
            "code": explanation.code,
            "target": explanation.target,
        },
        "assumptions": explanation.assumptions,
        "text": explanation.text,
    })
}

fn shown_route(route: &RouteSummary) -> Value {
    json!({
        "name": route.name, "path": route.path, "methods": route.methods,
        "access": route.access, "require": route.require, "limits": route.limits,
        "scope": route.scopes, "scope_any": route.scopes_any, "upstream": route.upstream,
    })
}

/// Returns the document of a policy. A text with another hash is none.
async fn document(app: &AppState, hash: &str) -> Result<String, Problem> {
    let reply = read(app, Command::new("GET").arg(store_keys(app).policy(hash))).await?;
    let text = reply.as_text().filter(|text| text.len() <= DOCUMENT_BYTES_MAX);
    let text = text.filter(|text| policy_hash(text) == hash);
    text.map(str::to_owned).ok_or(Problem::PolicyUnknown)
}

/// Sends one command to the store, and returns its reply.
async fn read(app: &AppState, command: Command) -> Result<Reply, Problem> {
    let replies = app.store.execute_bounded(&[command], REPLY_BYTES_MAX).await;
    let reply = replies.ok().and_then(|mut replies| replies.pop());
    reply.filter(|reply| !matches!(reply, Reply::Error(_))).ok_or(Problem::StoreUnavailable)
}

/// Returns what isolates reported within the last hour, the newest first.
fn current_reports(fields: &[Reply]) -> impl Iterator<Item = EdgeReport> {
    let reports = read_reports(fields, now().0.saturating_mul(1000)).reports;
    reports.into_iter().filter(|report| !report.policy.is_empty())
}

fn count_routes(document: &str) -> Option<usize> {
    let document: Value = serde_json::from_str(document).ok()?;
    document.get("routes")?.as_array().map(Vec::len)
}

fn store_keys(app: &AppState) -> StoreKeys {
    StoreKeys::new(&app.sessions.config().store.key_prefix)
}

/// Runs what takes the processor for milliseconds, at most two at once.
async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let permit = COMPUTATIONS.acquire().await.map_err(|_| Problem::Internal)?;
    let task = tokio::task::spawn_blocking(move || {
        // It is held until the work ends, also if the request has been given up.
        let _permit = permit;
        work()
    });
    task.await.map_err(|_| Problem::Internal)?
}

static COMPUTATIONS: Semaphore = Semaphore::const_new(2);

const QUESTION_INVALID: Problem = Problem::MemberInvalid(
    "the request can't be explained; assume may have revoked, blocked, no-record, bad-signature, \
     over:LIMIT, store-down or auth-down, and country two capitals",
);
/// The longest document that an edge writes.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// A length above that of the reports of some thousand isolates.
const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;
const POLICIES_MAX: usize = 20;
/// The edges of a policy that are shown.
const EDGES_MAX: usize = 200;
const HEADERS_MAX: usize = 100;
const ASSUMPTIONS_MAX: usize = 20;
