//! What the endpoints of blocks, quotas and credits share.

use super::caller::Caller;
use super::response::no_store;
use super::state::AppState;
use crate::adjustments::{Author, Changed, LIST_MAX, Page};
use crate::audit::Actor;
use crate::outbox::Delivery;
use crate::problem::Problem;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

/// The parameters of a query, in their order.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a query. Returns an error if it is malformed.
    pub fn parse(query: Option<String>) -> Result<Self, Problem> {
        let query = query.unwrap_or_default();
        let malformed = Problem::QueryInvalid("the query is malformed; encode it as a form");
        let pairs = serde_urlencoded::from_str(&query).map_err(|_| malformed)?;
        Ok(Self(pairs))
    }

    /// Removes a parameter, and returns its value.
    ///
    /// # Errors
    ///
    /// [`Problem::QueryInvalid`] if it is there twice.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.take_all(name);
        let value = values.pop();
        match values.is_empty() {
            true => Ok(value),
            false => Err(Problem::QueryInvalid("a parameter is there twice; give it once")),
        }
    }

    /// Removes all parameters of a name, and returns their values.
    pub fn take_all(&mut self, name: &str) -> Vec<String> {
        let (own, rest) = std::mem::take(&mut self.0).into_iter().partition(|pair| pair.0 == name);
        self.0 = rest;
        let own: Vec<(String, String)> = own;
        own.into_iter().map(|(_, value)| value).collect()
    }

    /// Removes the parameters of a list: after which id it begins, and how long it is.
    pub fn take_page(&mut self) -> Result<(String, u32), Problem> {
        let after = self.take("after")?.unwrap_or_default();
        if after.len() > 256 || after.contains('\0') {
            return Err(Problem::QueryInvalid("after is invalid; give next of a response"));
        }
        let limit = match self.take("limit")? {
            None => LIST_DEFAULT,
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit));
                limit.ok_or(Problem::QueryInvalid("limit is out of bounds; give 1 to 1000"))?
            }
        };
        Ok((after, limit))
    }

    /// Checks that no parameter is left.
    pub fn finish(self) -> Result<(), Problem> {
        let problem = "a parameter is unknown; see the documentation of the endpoint";
        self.0.is_empty().then_some(()).ok_or(Problem::QueryInvalid(problem))
    }
}

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

/// The number of entries without the parameter `limit`.
const LIST_DEFAULT: u32 = 100;
