//! What the endpoints of blocks, quotas and credits share.

use super::caller::Caller;
use super::response::no_store;
use super::state::AppState;
use crate::adjustments::{Author, Changed, Page};
use crate::audit::Actor;
use crate::outbox::Delivery;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

impl Caller {
    /// Returns the author of a change by this token.
    pub fn author(&self) -> Author {
        let actor = if self.claims.sid.is_some() { Actor::User } else { Actor::Client };
        Author::holder(actor, &self.claims.sub, &self.client)
    }
}

impl AppState {
    /// Records the events of a change, and returns its response: status `done`, or 202 while the
    /// store does not have it.
    pub fn changed_response<T>(
        &self,
        changed: &Changed<T>,
        done: StatusCode,
        body: Option<Value>,
    ) -> Response {
        self.sessions.audit().record(&changed.events);
        let pending = (changed.delivery == Delivery::Pending)
            .then(|| json!("changed; the write to the store is retried"));
        let status = if pending.is_some() { StatusCode::ACCEPTED } else { done };
        let mut body = body;
        if let Some(pending) = pending {
            let body = body.get_or_insert_with(|| json!({}));
            if let Some(members) = body.as_object_mut() {
                members.insert("pending".to_owned(), pending);
            }
        }
        match body {
            Some(body) => (status, no_store(), Json(body)).into_response(),
            None => (status, no_store()).into_response(),
        }
    }
}

/// Returns the response with a page of a list, whose member is `name`.
pub fn list_response<T>(name: &str, page: &Page<T>, show: impl Fn(&T) -> Value) -> Response {
    let entries: Vec<Value> = page.entries.iter().map(show).collect();
    (no_store(), Json(json!({ name: entries, "next": page.next }))).into_response()
}
