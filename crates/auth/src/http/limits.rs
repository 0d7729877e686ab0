//! The endpoints of quotas and credits.

use super::adjustments::list_response;
use super::body;
use super::caller::Caller;
use super::query::Query;
use super::state::SharedState;
use crate::adjustments::{CallerPart, Ending, limit_caller, shown_credits, shown_quota};
use crate::clock::now;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The body that sets a caller's quota.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaBody {
    pub limit: String,
    pub by: Vec<CallerPart>,
    pub issuer: Option<String>,
    pub quota: u64,
    pub seconds: Option<u64>,
    pub until: Option<u64>,
}

/// The body that adds credits to a caller's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreditsBody {
    pub limit: String,
    pub by: Vec<CallerPart>,
    pub issuer: Option<String>,
    pub credits: i64,
    pub id: Option<String>,
}

/// The caller that a query names. `name` is the limit's, because `limit` is the length of a list.
struct Selector {
    name: Option<String>,
    by: Vec<CallerPart>,
    issuer: Option<String>,
}

/// Sets a caller's quota.
pub async fn set(
    State(state): SharedState,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let body: QuotaBody = body::json(&headers, body).await?;
    let ending = Ending::new(body.seconds, body.until)?;
    let app = Arc::clone(&state);
    let work = async move {
        let own = app.adjustments.issuer();
        let limited = limit_caller(&body.limit, body.by, body.issuer, own)?;
        let author = caller.author();
        app.adjustments.set_quota(limited, body.quota, ending, &author, now()).await
    };
    let changed = state.run("quota_set", work).await?;
    let body = shown_quota(&changed.value);
    Ok(state.changed_response(&changed, StatusCode::OK, Some(body)))
}

/// Clears the quota of a caller, which the query names.
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
        let (name, own) = (selector.name.unwrap_or_default(), app.adjustments.issuer());
        let limited = limit_caller(&name, selector.by, selector.issuer, own)?;
        app.adjustments.clear_quota(&limited, &caller.author(), now()).await
    };
    let changed = state.run("quota_cleared", work).await?;
    Ok(state.changed_response(&changed, StatusCode::NO_CONTENT, None))
}

/// Lists the quotas that apply, or the one of the caller that the query names.
pub async fn list(
    State(state): SharedState,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let mut query = Query::parse(query)?;
    let (after, limit) = query.take_page()?;
    let selector = take_selector(&mut query)?;
    query.finish()?;
    let app = Arc::clone(&state);
    let work = async move {
        let Some(name) = selector.name else {
            return app.adjustments.quotas(&after, limit, now()).await;
        };
        let own = app.adjustments.issuer();
        let limited = limit_caller(&name, selector.by, selector.issuer, own)?;
        app.adjustments.quota(&limited, now()).await
    };
    let page = state.run("quotas", work).await?;
    Ok(list_response("limits", &page, shown_quota))
}

/// Adds credits to a caller's.
pub async fn add_credits(
    State(state): SharedState,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let body: CreditsBody = body::json(&headers, body).await?;
    let app = Arc::clone(&state);
    let work = async move {
        let own = app.adjustments.issuer();
        let limited = limit_caller(&body.limit, body.by, body.issuer, own)?;
        let author = caller.author();
        app.adjustments.add_credits(&limited, body.credits, body.id, &author, now()).await
    };
    let changed = state.run("credit_added", work).await?;
    let added = &changed.value;
    let status = if added.is_repeated { StatusCode::OK } else { StatusCode::CREATED };
    let body = json!({ "granted": added.granted, "id": added.id });
    Ok(state.changed_response(&changed, status, Some(body)))
}

/// Lists what callers were granted, or what the caller that the query names was.
pub async fn list_credits(
    State(state): SharedState,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let mut query = Query::parse(query)?;
    let (after, limit) = query.take_page()?;
    let selector = take_selector(&mut query)?;
    query.finish()?;
    let app = Arc::clone(&state);
    let work = async move {
        let Some(name) = selector.name else {
            return app.adjustments.credits(&after, limit).await;
        };
        let own = app.adjustments.issuer();
        let limited = limit_caller(&name, selector.by, selector.issuer, own)?;
        app.adjustments.credits_of(&limited).await
    };
    let page = state.run("credits", work).await?;
    Ok(list_response("credits", &page, shown_credits))
}

fn take_selector(query: &mut Query) -> Result<Selector, Problem> {
    let (name, issuer) = (query.take("name")?, query.take("issuer")?);
    let by: Option<Vec<CallerPart>> =
        query.take_all("by").iter().map(|text| CallerPart::parse(text).ok()).collect();
    let by = by.ok_or(Problem::QueryInvalid("by has no =; give by=subject=alice"))?;
    if name.is_none() && (issuer.is_some() || !by.is_empty()) {
        return Err(Problem::QueryInvalid("no limit; give its name as name"));
    }
    Ok(Selector { name, by, issuer })
}

/// The scope that these endpoints require.
const SCOPE: &str = "limits:admin";
