//! The audit: security events, in an append-only table.

pub mod search;

use super::pool::{Db, Purpose, Tx, to_i64};
use crate::audit::Event;
use crate::random::random_id;
use portcullis_core::UnixSeconds;

/// The time and the events of a change.
pub struct AuditedChange<'a> {
    pub now: UnixSeconds,
    pub events: &'a [Event],
}

impl Db {
    /// Appends events that do not belong to a change.
    pub async fn record_events(
        &self,
        events: &[Event],
        now: UnixSeconds,
    ) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        self.append_events(&mut tx, events, now).await?;
        tx.commit().await
    }

    /// Appends events in the transaction of their change.
    pub(super) async fn append_events(
        &self,
        tx: &mut Tx,
        events: &[Event],
        now: UnixSeconds,
    ) -> Result<(), sqlx::Error> {
        for event in events {
            let action = event.client.action.as_deref();
            self.count(Purpose::Request);
            sqlx::query(
                "INSERT INTO audit (id, at, event, actor, user_id, session_id, address, device,
                 request_id, detail, by_user_id, reason)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            )
            .bind(random_id())
            .bind(to_i64(now.0))
            .bind(event.kind.name())
            .bind(event.actor.name())
            .bind(event.user_id.clone())
            .bind(event.session_id.clone())
            .bind(event.client.address.as_str())
            .bind(event.client.device.as_str())
            .bind(event.client.request_id.as_str())
            .bind(event.detail.as_str())
            .bind(action.map(|action| action.user_id.clone()))
            .bind(action.map_or("", |action| action.reason.as_str()))
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    }
}
