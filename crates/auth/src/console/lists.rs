//! What the endpoints of lists and of actions share.

use super::state::ConsoleState;
use crate::audit::{Actor, ClientInfo};
use crate::clock::now;
use crate::db::ListPlace;
use crate::directory::{By, Directory};
use crate::http::AppState;
use crate::http::query::{CURSOR_INVALID, Query};
use crate::outbox::Delivery;
use crate::problem::Problem;
use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// The id in a path.
pub type Id = Result<Path<String>, PathRejection>;

/// A body without members beyond `reason`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoMembers {}

/// The page that a query asks for, by time.
pub fn take_page(query: &mut Query) -> Result<(Option<ListPlace>, u32), Problem> {
    query.take_page_by_time_of(LIST_DEFAULT)
}

/// The page that a query asks for, whose cursor has this form.
pub fn take_page_by<T: DeserializeOwned>(query: &mut Query) -> Result<(Option<T>, u32), Problem> {
    let (after, limit) = query.take_page_within(LIST_DEFAULT, CURSOR_BYTES_MAX)?;
    if after.is_empty() {
        return Ok((None, limit));
    }
    let bytes = URL_SAFE_NO_PAD.decode(after).map_err(|_| CURSOR_INVALID)?;
    let place = serde_json::from_slice(&bytes).map_err(|_| CURSOR_INVALID)?;
    Ok((Some(place), limit))
}

/// Returns a place of a list as a cursor.
pub fn cursor(place: &impl Serialize) -> Result<String, Problem> {
    let bytes = serde_json::to_vec(place).map_err(|_| Problem::Internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Removes the entries beyond `limit`, of which one more was queried. Returns the place of the last
/// one that is left, unless it is the last one of all.
pub fn cut<T, P>(items: &mut Vec<T>, limit: u32, place: impl Fn(&T) -> P) -> Option<P> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_last = items.len() <= limit;
    items.truncate(limit);
    items.last().filter(|_| !is_last).map(place)
}

/// Returns a page of a list.
pub fn page(items: Vec<Value>, next: Option<String>) -> Response {
    Json(json!({ "items": items, "next": next })).into_response()
}

/// Returns the response to an action: what it changed, and whether the store has that. The status
/// is `done`, or 202 while the store does not.
pub fn acted(shown: Value, delivery: Delivery, done: StatusCode) -> Response {
    let (status, delivery) = match delivery {
        Delivery::Done => (done, "stored"),
        Delivery::Pending => (StatusCode::ACCEPTED, "pending"),
    };
    let mut members = match shown {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    members.insert("delivery".to_owned(), delivery.into());
    (status, Json(Value::Object(members))).into_response()
}

/// Returns clients and users, for a change by an operator.
pub fn directory<'a>(app: &'a AppState, client: &'a ClientInfo) -> Directory<'a> {
    Directory {
        db: &app.db,
        publisher: app.sessions.publisher(),
        audit: Some(app.sessions.audit()),
        by: By { actor: Actor::Operator, subject: None, client },
        now: now(),
    }
}

impl ConsoleState {
    /// Returns the time without a refresh after which a session ends.
    pub fn idle_seconds(&self) -> u64 {
        self.app.sessions.config().refresh_idle_seconds
    }
}

/// Reads an id. One that is not UTF-8, or has another form, belongs to nothing.
pub fn parse_id(id: Id, unknown: Problem) -> Result<String, Problem> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_id = |id: &String| (1..=64).contains(&id.len()) && id.bytes().all(is_allowed);
    id.ok().map(|Path(id)| id).filter(is_id).ok_or(unknown)
}

/// The number of entries without the parameter `limit`.
const LIST_DEFAULT: u32 = 50;
/// The most bytes of a cursor that has a name, which may be as long as a username.
const CURSOR_BYTES_MAX: usize = 1024;
