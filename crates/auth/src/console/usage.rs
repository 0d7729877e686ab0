//! The endpoint of the console for usage.

use super::export::{CSV_CUT, ExportFile, Part, export};
use super::state::{ConsoleState, SharedConsole};
use crate::clock::now;
use crate::db::UsageValue;
use crate::http::usage_page;
use crate::problem::Problem;
use crate::usage::{USAGE_PAGE_MAX, UsageFormat, UsageQuestion};
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new().route("/usage", get(usage))
}

/// Returns what the counts of requests add up to: a page as JSON, or all rows as CSV.
async fn usage(State(state): SharedConsole, RawQuery(text): RawQuery) -> Result<Response, Problem> {
    let text = text.unwrap_or_default();
    let parameters: Vec<(String, String)> = serde_urlencoded::from_str(&text)
        .map_err(|_| Problem::QueryInvalid("the query is not form-encoded"))?;
    // A form sends its empty fields, too.
    let named = parameters.iter().filter(|(_, value)| !value.is_empty());
    let named = named.map(|(name, value)| (name.as_str(), value.as_str()));
    let question = UsageQuestion::read(named, now()).map_err(Problem::QueryInvalid)?;
    if question.format != Some(UsageFormat::Csv) {
        let page = usage_page(&state.app, question.query.clone()).await?;
        return Ok(Json(question.json(&page)).into_response());
    }
    let app = Arc::clone(&state.app);
    let read = move |after: Option<Vec<UsageValue>>| {
        let (app, mut question, is_first) = (Arc::clone(&app), question.clone(), after.is_none());
        question.query.after = after.or(question.query.after);
        // The client's limit is that of a page. Each part sums up all rows again.
        question.query.limit = USAGE_PAGE_MAX;
        async move {
            let page = usage_page(&app, question.query.clone()).await?;
            let last = page.rows.last().filter(|_| page.has_more);
            let next = last.map(|row| row.values.clone());
            Ok(Part { text: question.csv(&page, is_first), rows: page.rows.len(), next })
        }
    };
    let media_type = "text/csv; charset=utf-8; header=present";
    export(ExportFile { name: "usage.csv", media_type, cut: CSV_CUT }, read).await
}
