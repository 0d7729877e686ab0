//! The actions of the console on blocks, quotas and credits, and the list of blocks.

use super::action::Action;
use super::lists::{acted, page};
use super::state::{ConsoleState, SharedConsole};
use crate::adjustments::{
    Author, BlockSelector, CallerPart, Changed, Ending, block_target, limit_caller, shown_block,
    shown_quota,
};
use crate::audit::ClientInfo;
use crate::clock::now;
use crate::http::query::Query;
use crate::http::{CreditsBody, QuotaBody};
use crate::problem::Problem;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new()
        .route("/limits/override", post(set_quota).delete(clear_quota))
        .route("/limits/credits", post(add_credits))
        .route("/blocks", get(blocks).post(set_block).delete(clear_block))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallerBody {
    limit: String,
    by: Vec<CallerPart>,
    issuer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockBody {
    subject: Option<String>,
    client: Option<String>,
    key: Option<String>,
    address: Option<String>,
    issuer: Option<String>,
    seconds: Option<u64>,
    until: Option<u64>,
}

/// Sets a caller's quota.
async fn set_quota(
    State(state): SharedConsole,
    Action { client, body, .. }: Action<QuotaBody>,
) -> Result<Response, Problem> {
    let ending = Ending::new(body.seconds, body.until)?;
    let app = Arc::clone(&state.app);
    let work = async move {
        let own = app.adjustments.issuer();
        let limited = limit_caller(&body.limit, body.by, body.issuer, own)?;
        let author = Author::console(&client);
        app.adjustments.set_quota(limited, body.quota, ending, &author, now()).await
    };
    let changed = state.app.run("console_quota_set", work).await?;
    let shown = shown_quota(&changed.value);
    Ok(recorded(&state, &changed, shown, StatusCode::OK))
}

/// Clears a caller's quota.
async fn clear_quota(
    State(state): SharedConsole,
    Action { client, body, .. }: Action<CallerBody>,
) -> Result<Response, Problem> {
    let app = Arc::clone(&state.app);
    let work = async move {
        let own = app.adjustments.issuer();
        let limited = limit_caller(&body.limit, body.by, body.issuer, own)?;
        app.adjustments.clear_quota(&limited, &Author::console(&client), now()).await
    };
    let changed = state.app.run("console_quota_cleared", work).await?;
    Ok(recorded(&state, &changed, json!({}), StatusCode::OK))
}

/// Adds credits to a caller's.
async fn add_credits(
    State(state): SharedConsole,
    Action { client, body, .. }: Action<CreditsBody>,
) -> Result<Response, Problem> {
    let app = Arc::clone(&state.app);
    let work = async move {
        let own = app.adjustments.issuer();
        let limited = limit_caller(&body.limit, body.by, body.issuer, own)?;
        let author = Author::console(&client);
        app.adjustments.add_credits(&limited, body.credits, body.id, &author, now()).await
    };
    let changed = state.app.run("console_credit_added", work).await?;
    let added = &changed.value;
    let status = if added.is_repeated { StatusCode::OK } else { StatusCode::CREATED };
    let shown = json!({ "granted": added.granted, "id": added.id });
    Ok(recorded(&state, &changed, shown, status))
}

/// Sets a block, whose reason is the action's.
async fn set_block(
    State(state): SharedConsole,
    Action { client, body, .. }: Action<BlockBody>,
) -> Result<Response, Problem> {
    let ending = Ending::new(body.seconds, body.until)?;
    let BlockBody { subject, client: blocked, key, address, issuer, .. } = body;
    let selector = BlockSelector { subject, client: blocked, key, address, issuer };
    let app = Arc::clone(&state.app);
    let work = async move {
        let target = block_target(selector, app.adjustments.issuer())?;
        let (reason, author) = (reason_of(&client), Author::console(&client));
        app.adjustments.set_block(target, reason, ending, &author, now()).await
    };
    let changed = state.app.run("console_block_set", work).await?;
    let shown = shown_block(&changed.value);
    Ok(recorded(&state, &changed, shown, StatusCode::CREATED))
}

/// Clears a block.
async fn clear_block(
    State(state): SharedConsole,
    Action { client, body, .. }: Action<BlockSelector>,
) -> Result<Response, Problem> {
    let app = Arc::clone(&state.app);
    let work = async move {
        let target = block_target(body, app.adjustments.issuer())?;
        app.adjustments.clear_block(&target, &Author::console(&client), now()).await
    };
    let changed = state.app.run("console_block_cleared", work).await?;
    Ok(recorded(&state, &changed, json!({}), StatusCode::OK))
}

/// Lists the blocks that apply.
async fn blocks(
    State(state): SharedConsole,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut query = Query::parse(query)?;
    let (after, limit) = query.take_page_of(LIST_DEFAULT)?;
    query.finish()?;
    let app = Arc::clone(&state.app);
    let work = async move { app.adjustments.blocks(&after, limit, now()).await };
    let blocks = state.app.run("console_blocks", work).await?;
    Ok(page(blocks.entries.iter().map(shown_block).collect(), blocks.next))
}

/// Records the events of a change, and returns its response.
fn recorded<T>(
    state: &ConsoleState,
    changed: &Changed<T>,
    shown: Value,
    done: StatusCode,
) -> Response {
    state.app.sessions.audit().record(&changed.events);
    acted(shown, changed.delivery, done)
}

/// Returns the reason of an action, cut to the length that a block's may have.
fn reason_of(client: &ClientInfo) -> String {
    let reason = client.action.as_ref().map(|action| action.reason.as_str()).unwrap_or_default();
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    reason.get(..end).unwrap_or_default().to_owned()
}

const LIST_DEFAULT: u32 = 50;
/// The most bytes of a block's reason.
const REASON_BYTES_MAX: usize = 200;
