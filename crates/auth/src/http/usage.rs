//! The endpoint of usage.

use super::caller::Caller;
use super::response::no_store;
use super::state::{AppState, SharedState};
use crate::clock::now;
use crate::db::{UsagePage, UsageQuery};
use crate::problem::Problem;
use crate::usage::{UsageFormat, UsageQuestion};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Returns what the counts of requests add up to. With the scope `usage:read`, it is about the
/// caller's own requests; with `usage:admin`, about all.
pub async fn usage(
    State(state): SharedState,
    caller: Caller,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let is_admin = caller.has("usage:admin");
    if !is_admin {
        caller.require("usage:read")?;
    }
    let text = text.unwrap_or_default();
    let parameters: Vec<(String, String)> = serde_urlencoded::from_str(&text)
        .map_err(|_| Problem::QueryInvalid("the query is not form-encoded"))?;
    let named = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut question = UsageQuestion::read(named, now()).map_err(Problem::QueryInvalid)?;
    if !is_admin {
        let (own, issuer) = (&caller.claims.sub, &state.sessions.config().store.issuer);
        let filter = &mut question.query.filter;
        for (wanted, allowed) in [(&filter.subject, own), (&filter.issuer, issuer)] {
            if wanted.as_ref().is_some_and(|wanted| wanted != allowed) {
                return Err(Problem::ScopeInsufficient);
            }
        }
        (filter.subject, filter.issuer) = (Some(own.clone()), Some(issuer.clone()));
    }
    let page = usage_page(&state, question.query.clone()).await?;
    let format = question.format.unwrap_or_else(|| accepted(&headers));
    let vary = (header::VARY, "accept");
    if format == UsageFormat::Json {
        return Ok((no_store(), [vary], Json(question.json(&page))).into_response());
    }
    let types = [vary, (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")];
    let mut response = (no_store(), types, question.csv(&page, true)).into_response();
    if let Some(next) = UsageQuestion::next(&page) {
        let others = parameters.iter().filter(|(name, _)| name != "after");
        let others = others.map(|(name, value)| (name.as_str(), value.as_str()));
        let query: Vec<(&str, &str)> = others.chain([("after", next.as_str())]).collect();
        let query = serde_urlencoded::to_string(query).map_err(|_| Problem::Internal)?;
        let link = HeaderValue::try_from(format!("</auth/usage?{query}>; rel=\"next\""));
        response.headers_mut().insert(header::LINK, link.map_err(|_| Problem::Internal)?);
    }
    Ok(response)
}

/// Returns one page of usage.
pub async fn usage_page(state: &Arc<AppState>, query: UsageQuery) -> Result<UsagePage, Problem> {
    let app = Arc::clone(state);
    let work = async move {
        // More of them would wait for a connection anyway, and some without success.
        let _permit = QUERIES.acquire().await.map_err(|_| Problem::Internal)?;
        Ok(app.db.usage(&query).await?)
    };
    state.run("usage", work).await
}

/// Returns the form that the client accepts: CSV if `Accept` names it, otherwise JSON.
fn accepted(headers: &HeaderMap) -> UsageFormat {
    let fields =
        headers.get_all(header::ACCEPT).into_iter().filter_map(|field| field.to_str().ok());
    let mut types = fields.flat_map(|field| field.split(','));
    let names_csv = types.any(|one| {
        one.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/csv")
    });
    if names_csv { UsageFormat::Csv } else { UsageFormat::Json }
}

/// The questions that are answered at once, as many as there are connections for them.
static QUERIES: Semaphore = Semaphore::const_new(2);
