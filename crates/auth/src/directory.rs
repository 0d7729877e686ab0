//! The changes of clients and users, by operators' commands and by endpoints.

pub mod clients;
pub mod users;

use crate::audit::{Actor, Audit, ClientInfo, Event, EventKind};
use crate::db::{Db, OutboxRow};
use crate::outbox::{Delivery, Publisher};
use crate::problem::Problem;
use portcullis_core::UnixSeconds;
use std::sync::Arc;

/// Clients and users, for one change.
pub struct Directory<'a> {
    pub db: &'a Db,
    pub publisher: &'a Arc<Publisher>,
    /// The log and the counters of events; `None` in a command.
    pub audit: Option<&'a Audit>,
    pub by: By<'a>,
    pub now: UnixSeconds,
}

/// Who makes a change.
pub struct By<'a> {
    pub actor: Actor,
    /// The subject of the access token; `None` for an operator.
    pub subject: Option<&'a str>,
    pub client: &'a ClientInfo,
}

impl Directory<'_> {
    /// Returns an event of this change.
    fn event(&self, kind: EventKind, detail: &str) -> Event {
        let by = self.by.subject.map(|subject| format!("by {subject}"));
        let parts = [Some(detail.to_owned()).filter(|detail| !detail.is_empty()), by];
        let detail: Vec<String> = parts.into_iter().flatten().collect();
        Event::new(kind, self.by.actor, self.by.client).detail(detail.join(", "))
    }

    fn record(&self, events: &[Event]) {
        if let Some(audit) = self.audit {
            audit.record(events);
        }
    }

    /// Delivers the rows of a change about `about`, or returns whether earlier rows are delivered.
    async fn deliver(&self, about: &str, rows: Vec<OutboxRow>) -> Result<Delivery, Problem> {
        match self.publisher.deliver(rows).await {
            Delivery::Done => Ok(self.publisher.delivery_of(about).await?),
            Delivery::Pending => Ok(Delivery::Pending),
        }
    }
}

/// The longest grace period of a replaced secret: 30 days.
pub const GRACE_SECONDS_MAX: u64 = 30 * 86_400;
/// The grace period of a replaced secret, if none is given: a day.
pub const GRACE_SECONDS: u64 = 86_400;
