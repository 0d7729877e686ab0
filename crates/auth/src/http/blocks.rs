//! The endpoints of blocks.

use super::adjustments::list_response;
use super::body;
use super::caller::Caller;
use super::query::Query;
use super::state::SharedState;
use crate::adjustments::{BlockSelector, Ending, block_target, shown_block};
use crate::clock::now;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockBody {
    subject: Option<String>,
    client: Option<String>,
    key: Option<String>,
    address: Option<String>,
    issuer: Option<String>,
    #[serde(default)]
    reason: String,
    seconds: Option<u64>,
    until: Option<u64>,
}

/// Sets a block.
pub async fn set(
    State(state): SharedState,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let body: BlockBody = body::json(&headers, body).await?;
    let BlockBody { subject, client, key, address, issuer, .. } = body;
    let selector = BlockSelector { subject, client, key, address, issuer };
    let ending = Ending::new(body.seconds, body.until)?;
    let app = Arc::clone(&state);
    let work = async move {
        let target = block_target(selector, app.adjustments.issuer())?;
        let author = caller.author();
        app.adjustments.set_block(target, body.reason, ending, &author, now()).await
    };
    let changed = state.run("block_set", work).await?;
    let body = shown_block(&changed.value);
    Ok(state.changed_response(&changed, StatusCode::CREATED, Some(body)))
}

/// Clears a block, which the query names.
pub async fn clear(
    State(state): SharedState,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let mut query = Query::parse(query)?;
    let selector = take_selector(&mut query)?;
    query.finish()?;
    let app = Arc::clone(&state);
    let work = async move {
        let target = block_target(selector, app.adjustments.issuer())?;
        app.adjustments.clear_block(&target, &caller.author(), now()).await
    };
    let changed = state.run("block_cleared", work).await?;
    Ok(state.changed_response(&changed, StatusCode::NO_CONTENT, None))
}

/// Lists the blocks that apply, or the one whose target the query names.
pub async fn list(
    State(state): SharedState,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let mut query = Query::parse(query)?;
    let selector = take_selector(&mut query)?;
    let (after, limit) = query.take_page()?;
    query.finish()?;
    let app = Arc::clone(&state);
    let work = async move {
        if selector.is_empty() {
            return app.adjustments.blocks(&after, limit, now()).await;
        }
        let target = block_target(selector, app.adjustments.issuer())?;
        app.adjustments.block(&target, now()).await
    };
    let page = state.run("blocks", work).await?;
    Ok(list_response("blocks", &page, shown_block))
}

fn take_selector(query: &mut Query) -> Result<BlockSelector, Problem> {
    Ok(BlockSelector {
        subject: query.take("subject")?,
        client: query.take("client")?,
        key: query.take("key")?,
        address: query.take("address")?,
        issuer: query.take("issuer")?,
    })
}

/// The scope that these endpoints require.
const SCOPE: &str = "blocks:admin";
