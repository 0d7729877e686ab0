//! The service whose methods the other files of this module implement.

use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::db::Db;
use crate::outbox::{Delivery, Publisher};
use std::sync::Arc;

/// Blocks, quotas and credits.
pub struct Adjustments {
    pub(super) db: Arc<Db>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) issuer: String,
}

/// A change, and what follows from it.
pub struct Changed<T> {
    pub value: T,
    pub delivery: Delivery,
    /// The events that were committed.
    pub events: Vec<Event>,
}

/// A part of a list, and the id after which the next part begins.
pub struct Page<T> {
    pub entries: Vec<T>,
    pub next: Option<String>,
}

/// Who makes a change.
pub struct Author {
    actor: Actor,
    /// The user or the client, by id; `None` for an operator.
    id: Option<String>,
    client: ClientInfo,
}

impl Author {
    /// Returns an operator, who uses a command.
    pub fn operator() -> Self {
        Self { actor: Actor::Operator, id: None, client: ClientInfo::default() }
    }

    /// Returns an operator in the console, whose action `client` has.
    pub fn console(client: &ClientInfo) -> Self {
        Self { actor: Actor::Operator, id: None, client: client.clone() }
    }

    /// Returns the holder of a token.
    pub fn holder(actor: Actor, id: &str, client: &ClientInfo) -> Self {
        Self { actor, id: Some(id.to_owned()), client: client.clone() }
    }

    /// Returns the name in the database: `operator`, or `user:ID`.
    pub(super) fn name(&self) -> String {
        match &self.id {
            Some(id) => format!("{}:{id}", self.actor.name()),
            None => self.actor.name().to_owned(),
        }
    }

    pub(super) fn event(&self, kind: EventKind, detail: String) -> Event {
        let event = Event::new(kind, self.actor, &self.client).detail(detail);
        match &self.id {
            Some(id) if self.actor == Actor::User => event.user(id),
            Some(id) => {
                let detail = format!("{} by {}:{id}", event.detail, self.actor.name());
                event.detail(detail)
            }
            None => event,
        }
    }
}

impl Adjustments {
    /// Creates the service for the tokens of `issuer`.
    pub fn new(db: Arc<Db>, publisher: Arc<Publisher>, issuer: &str) -> Self {
        Self { db, publisher, issuer: issuer.to_owned() }
    }

    /// Returns the issuer that applies where none is named.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
}

impl<T> Page<T> {
    /// Cuts entries, of which one more than `limit` was queried.
    pub(super) fn new(mut entries: Vec<T>, limit: u32, id: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_last = entries.len() <= limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| !is_last).map(id);
        Self { entries, next }
    }
}
