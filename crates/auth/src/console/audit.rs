//! The endpoints of the console for the security events.

use super::export::{CSV_CUT, ExportFile, Part, export};
use super::lists::{cut, page, take_page};
use super::state::{ConsoleState, SharedConsole};
use crate::clock::now;
use crate::db::{AuditEntry, AuditSearch, ListPlace};
use crate::http::AppState;
use crate::http::query::Query;
use crate::problem::Problem;
use crate::usage::{read_time, write_csv_line};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new().route("/audit", get(list))
}

/// The form of an answer.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Form {
    Csv,
    Json,
    /// One JSON object a line.
    JsonLines,
}

/// Searches the security events, newest first, or exports them.
async fn list(State(state): SharedConsole, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut query = Query::parse(query)?;
    let form = match query.take("format")?.as_deref() {
        None | Some("" | "json") => Form::Json,
        Some("csv") => Form::Csv,
        Some("jsonl") => Form::JsonLines,
        Some(_) => return Err(Problem::QueryInvalid("format is unknown; give csv or jsonl")),
    };
    let (after, limit) = take_page(&mut query)?;
    let mut time = |name: &str| match query.take_text(name)? {
        None => Ok(None),
        Some(text) => read_time(&text).map(Some).ok_or(Problem::QueryInvalid(TIME)),
    };
    let (from, to) = (time("from")?, time("to")?);
    let events = query.take_text("event")?.unwrap_or_default();
    let events = events.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let text = query.take_text("q")?;
    // A text that many events have, and none of those that other conditions admit, would scan all.
    let from = from.or_else(|| {
        text.as_ref().map(|_| to.unwrap_or_else(|| now().0).saturating_sub(TEXT_SECONDS))
    });
    let search = AuditSearch {
        from,
        to,
        events,
        actor: query.take_text("actor")?,
        user: query.take_text("user")?,
        by: query.take_text("by")?,
        session_id: query.take_text("session")?,
        detail: None,
        text,
        after,
        limit: limit + 1,
    };
    query.finish()?;
    if form != Form::Json {
        return export_all(&state.app, search, form).await;
    }
    let app = Arc::clone(&state.app);
    let work = async move { Ok(app.db.search_audit(&search).await?) };
    let mut entries = state.app.run("console_audit", work).await?;
    let next = cut(&mut entries, limit, |entry| entry.place().cursor());
    Ok(page(entries.iter().map(shown_event).collect(), next))
}

async fn export_all(
    app: &Arc<AppState>,
    search: AuditSearch,
    form: Form,
) -> Result<Response, Problem> {
    let app = Arc::clone(app);
    let read = move |after: Option<ListPlace>| {
        let (app, is_first) = (Arc::clone(&app), after.is_none());
        let after = after.or_else(|| search.after.clone());
        let search = AuditSearch { after, limit: PART_ROWS + 1, ..search.clone() };
        async move {
            let own = Arc::clone(&app);
            let work = async move { Ok(own.db.search_audit(&search).await?) };
            let mut entries = app.run("console_audit_exported", work).await?;
            let next = cut(&mut entries, PART_ROWS, AuditEntry::place);
            Ok(Part { text: form.text(&entries, is_first), rows: entries.len(), next })
        }
    };
    let file = match form {
        Form::Csv => {
            let media_type = "text/csv; charset=utf-8; header=present";
            ExportFile { name: "audit.csv", media_type, cut: CSV_CUT }
        }
        Form::Json | Form::JsonLines => {
            let media_type = "application/jsonl; charset=utf-8";
            ExportFile { name: "audit.jsonl", media_type, cut: JSON_CUT }
        }
    };
    export(file, read).await
}

impl Form {
    /// Returns events in this form.
    fn text(self, entries: &[AuditEntry], is_first: bool) -> String {
        let mut text = String::new();
        if self != Self::Csv {
            for entry in entries {
                text += &shown_event(entry).to_string();
                text.push('\n');
            }
            return text;
        }
        if is_first {
            write_csv_line(COLUMNS, &mut text);
        }
        for entry in entries {
            let shown = shown_event(entry);
            let cells = COLUMNS.map(|name| match shown.get(name) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            });
            write_csv_line(cells.iter().map(String::as_str), &mut text);
        }
        text
    }
}

/// Returns an event as JSON.
pub fn shown_event(entry: &AuditEntry) -> Value {
    json!({
        "id": entry.id,
        "at": entry.at,
        "event": entry.event,
        "actor": entry.actor,
        "by": entry.by_username.as_ref().or(entry.by_user_id.as_ref()),
        "by_user_id": entry.by_user_id,
        "reason": entry.reason,
        "user_id": entry.user_id,
        "username": entry.username,
        "session_id": entry.session_id,
        "address": entry.address,
        "device": entry.device,
        "request_id": entry.request_id,
        "detail": entry.detail,
    })
}

const TIME: &str = "from or to is invalid; give Unix seconds, or a date such as 2026-11-30";
/// The columns of CSV: the members of an event.
const COLUMNS: [&str; 14] = [
    "id",
    "at",
    "event",
    "actor",
    "by",
    "by_user_id",
    "reason",
    "user_id",
    "username",
    "session_id",
    "address",
    "device",
    "request_id",
    "detail",
];
/// How far a search text goes back without `from`.
const TEXT_SECONDS: u64 = 30 * 86_400;
/// The last line of JSON lines that lack rows.
const JSON_CUT: &str = "{\"error\":\"export_cut\",\"rows_max\":100000}\n";
/// The rows of an export that are read at once.
const PART_ROWS: u32 = 1000;
