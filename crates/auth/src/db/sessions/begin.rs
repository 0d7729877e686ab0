//! Begins sessions.

use super::Session;
use super::end::{EndedSession, SessionSelector};
use super::issued::IssuedTokens;
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::db::outbox::OutboxRow;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use crate::db::users::User;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;

/// A login whose password was verified.
pub struct NewSession<'a> {
    pub session: &'a Session,
    pub user: &'a User,
    /// The new hash of the password, if the parameters of the old one are outdated.
    pub rehashed: Option<&'a str>,
    pub sessions_max: u32,
    pub client: &'a ClientInfo,
}

/// The consequences of a new session.
pub struct BegunSession {
    pub outbox_rows: Vec<OutboxRow>,
    pub events: Vec<Event>,
}

impl Db {
    /// Begins a session with its first tokens, and ends the least recently used sessions beyond the
    /// maximum. Returns `None` if the user's password has changed since it was verified, or the
    /// user's scope, or the user's access tokens were revoked. `revoke` returns the commands for
    /// the store that follow from the end of a session.
    pub async fn begin_session(
        &self,
        new: &NewSession<'_>,
        issued: IssuedTokens,
        revoke: impl Fn(&EndedSession) -> Vec<Command>,
    ) -> Result<Option<BegunSession>, sqlx::Error> {
        let NewSession { session, user, rehashed, sessions_max, client } = *new;
        let now = UnixSeconds(session.created_at);
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        // This locks the user's row. A concurrent change of the password waits, or has committed
        // before.
        let updated = sqlx::query(
            "UPDATE users SET password_hash = $1
             WHERE id = $2 AND password_hash = $3 AND disabled_at IS NULL
             AND COALESCE(tokens_revoked_at, 0) = $4 AND scope = $5",
        )
        .bind(rehashed.unwrap_or(&user.password_hash))
        .bind(user.id.as_str())
        .bind(user.password_hash.as_str())
        .bind(user.tokens_revoked_at.map_or(0, to_i64))
        .bind(user.scope.as_str())
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            return Ok(None);
        }
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO sessions (id, user_id, client_id, scope, created_at, expires_at,
             refreshed_at, device, address, country)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(session.id.as_str())
        .bind(session.user_id.as_str())
        .bind(session.client_id.as_str())
        .bind(session.scope.as_str())
        .bind(to_i64(session.created_at))
        .bind(to_i64(session.expires_at))
        .bind(to_i64(session.created_at))
        .bind(session.device.as_str())
        .bind(session.address.as_str())
        .bind(client.country.as_deref().unwrap_or_default())
        .execute(&mut *tx)
        .await?;
        self.insert_refresh_token(&mut tx, &issued, &session.id, session.created_at).await?;
        let mut outbox_rows = vec![self.enqueue(&mut tx, &session.id, issued.commands, now).await?];
        let event = |kind| Event::new(kind, Actor::User, client).user(&session.user_id);
        let mut events = vec![event(EventKind::Login).session(&session.id)];
        for id in self.sessions_over_max(&mut tx, session, sessions_max).await? {
            let selector = SessionSelector::One(&id);
            let ended = self.end_in(&mut tx, selector, "sessions_over_max", now, &revoke).await?;
            if ended.is_empty() {
                // The session has ended meanwhile.
                continue;
            }
            outbox_rows.extend(ended.into_iter().map(|ended| ended.outbox_row));
            let event = Event::new(EventKind::SessionsOverMax, Actor::Service, client);
            events.push(event.user(&session.user_id).session(&id));
        }
        if let Some(country) = &client.country
            && self.is_new_country(&mut tx, &session.user_id, country, now).await?
        {
            events.push(event(EventKind::CountryNew).session(&session.id).detail(country.clone()));
        }
        self.append_events(&mut tx, &events, now).await?;
        tx.commit().await?;
        Ok(Some(BegunSession { outbox_rows, events }))
    }

    /// Returns the user's sessions beyond the `sessions_max` most recently used ones, which include
    /// `new`.
    async fn sessions_over_max(
        &self,
        tx: &mut Tx,
        new: &Session,
        sessions_max: u32,
    ) -> Result<Vec<String>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT id FROM sessions
             WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND id <> $3
             ORDER BY refreshed_at DESC, created_at DESC LIMIT 1000 OFFSET $4",
        )
        .bind(new.user_id.as_str())
        .bind(to_i64(new.created_at))
        .bind(new.id.as_str())
        .bind(i64::from(sessions_max.saturating_sub(1)))
        .fetch_all(&mut **tx)
        .await?;
        rows.iter().map(|row| row.try_get("id")).collect()
    }

    /// Adds a country to the user's countries. Returns whether it is new and not the first one.
    async fn is_new_country(
        &self,
        tx: &mut Tx,
        user_id: &str,
        country: &str,
        now: UnixSeconds,
    ) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let inserted = sqlx::query(
            "INSERT INTO user_countries (user_id, country, first_seen_at) VALUES ($1, $2, $3)
             ON CONFLICT (user_id, country) DO NOTHING",
        )
        .bind(user_id)
        .bind(country)
        .bind(to_i64(now.0))
        .execute(&mut **tx)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(false);
        }
        self.count(Purpose::Request);
        let row = sqlx::query("SELECT COUNT(*) AS seen FROM user_countries WHERE user_id = $1")
            .bind(user_id)
            .fetch_one(&mut **tx)
            .await?;
        Ok(row.try_get::<i64, _>("seen")? > 1)
    }
}
