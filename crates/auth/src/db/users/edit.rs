//! Lists, changes and deletes users.

use super::{User, read_user};
use crate::audit::Event;
use crate::db::api_keys::{KeyCommands, Owner};
use crate::db::audit::AuditedChange;
use crate::db::clients::tokens::CLOCK_SKEW_SECONDS;
use crate::db::clients::{Changed, time};
use crate::db::list_place::ListPlace;
use crate::db::outbox::OutboxRow;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use crate::db::sessions::end::{EndedSession, SessionSelector};
use crate::scope::ConsoleAccess;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;

/// A change of a user.
pub struct UserChange<'a, Edit, Events, Commands> {
    pub id: &'a str,
    /// Returns the changed user, or why the change is refused.
    pub edit: Edit,
    /// Whether the access tokens that were issued before are revoked.
    pub revokes_tokens: bool,
    /// Returns the events of the change from the first to the second user.
    pub events: Events,
    /// Returns the commands that give the store the state of one of the user's API keys.
    pub keys: KeyCommands<'a>,
    /// Returns the commands for the store that revoke the user's access tokens: from the user and
    /// the hashes of tokens whose records are deleted.
    pub commands: Commands,
    pub now: UnixSeconds,
}

impl Db {
    /// Returns at most `limit` users that follow `after`, oldest first.
    pub async fn users(
        &self,
        after: Option<&ListPlace>,
        limit: u32,
    ) -> Result<Vec<User>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT * FROM users WHERE deleted_at IS NULL
             AND (created_at > $1 OR (created_at = $1 AND id > $2))
             ORDER BY created_at, id LIMIT $3",
        )
        .bind(after.map_or(-1, |place| to_i64(place.at)))
        .bind(after.map_or("", |place| place.id.as_str()))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(read_user).collect()
    }

    /// Returns a user who is not deleted.
    pub async fn listed_user(&self, id: &str) -> Result<Option<User>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query("SELECT * FROM users WHERE id = $1 AND deleted_at IS NULL");
        row.bind(id).fetch_optional(&self.readers).await?.as_ref().map(read_user).transpose()
    }

    /// Changes scope and claims of a user. The user's sessions get the scope, so that their next
    /// refreshes return tokens with both.
    pub async fn change_user<E>(
        &self,
        change: UserChange<
            '_,
            impl FnOnce(User) -> Result<User, E>,
            impl FnOnce(&User, &User) -> Vec<Event>,
            impl FnOnce(&User, &[String]) -> Vec<Command>,
        >,
    ) -> Result<Changed<User, E>, sqlx::Error> {
        let now = change.now;
        let mut tx = self.begin().await?;
        let Some(before) = self.lock_user(&mut tx, change.id).await? else {
            return Ok(Changed::Unknown);
        };
        let mut after = match (change.edit)(before.clone()) {
            Ok(after) => after,
            Err(error) => return Ok(Changed::Refused(error)),
        };
        if change.revokes_tokens {
            after.tokens_revoked_at = Some(self.newest_refresh(&mut tx, &before, now).await?);
        }
        if after == before {
            tx.rollback().await?;
            return Ok(Changed::Done { after, events: Vec::new(), outbox_rows: Vec::new() });
        }
        self.count(Purpose::Request);
        sqlx::query(
            "UPDATE users SET scope = $1, claims = $2, tokens_revoked_at = $3 WHERE id = $4",
        )
        .bind(after.scope.as_str())
        .bind(after.claims.encode())
        .bind(after.tokens_revoked_at.map(to_i64))
        .bind(change.id)
        .execute(&mut *tx)
        .await?;
        if after.scope != before.scope {
            self.count(Purpose::Request);
            sqlx::query("UPDATE sessions SET scope = $1 WHERE user_id = $2 AND revoked_at IS NULL")
                .bind(after.scope.as_str())
                .bind(change.id)
                .execute(&mut *tx)
                .await?;
            if ConsoleAccess::of(&after.scope).is_none() {
                self.end_console_sessions(&mut tx, change.id).await?;
            }
        }
        let mut outbox_rows = Vec::new();
        let is_other = (&after.scope, &after.claims) != (&before.scope, &before.claims);
        if is_other || change.revokes_tokens {
            let owner = Owner::user(change.id);
            outbox_rows = self.publish_keys_of_owner(&mut tx, &owner, now, change.keys).await?;
        }
        if change.revokes_tokens {
            let hashes = self.recent_access_tokens(&mut tx, change.id, now).await?;
            let commands = (change.commands)(&after, &hashes);
            self.discard_outbox_rows(&mut tx, change.id).await?;
            outbox_rows.push(self.enqueue(&mut tx, change.id, commands, now).await?);
        }
        let events = (change.events)(&before, &after);
        self.append_events(&mut tx, &events, now).await?;
        tx.commit().await?;
        Ok(Changed::Done { after, events, outbox_rows })
    }

    /// Deletes a user: ends all sessions and API keys, and erases name, password, scope, claims,
    /// addresses, devices and countries, and names and metadata of keys. The row stays, because the
    /// audit names its id. Returns `None` if there is no such user. `commands` are those that
    /// revoke the user's tokens.
    pub async fn delete_user(
        &self,
        id: &str,
        commands: Vec<Command>,
        change: &AuditedChange<'_>,
        revoke: impl Fn(&EndedSession) -> Vec<Command>,
        keys: KeyCommands<'_>,
    ) -> Result<Option<Vec<OutboxRow>>, sqlx::Error> {
        let mut tx = self.begin().await?;
        if self.lock_user(&mut tx, id).await?.is_none() {
            return Ok(None);
        }
        let selector = SessionSelector::OfUser { user_id: id, except: None };
        let ended = self.end_in(&mut tx, selector, "user_deleted", change.now, &revoke).await?;
        let mut rows: Vec<OutboxRow> = ended.into_iter().map(|ended| ended.outbox_row).collect();
        self.count(Purpose::Request);
        sqlx::query(
            "UPDATE users SET deleted_at = $1, disabled_at = $1, username = $2, password_hash = '',
             scope = '', claims = NULL WHERE id = $3",
        )
        .bind(to_i64(change.now.0))
        .bind(format!("deleted:{id}"))
        .bind(id)
        .execute(&mut *tx)
        .await?;
        for erase in [
            "UPDATE api_keys SET name = '', metadata = '{}', networks = '[]'
             WHERE owner_kind = 'user' AND owner_id = $1",
            "UPDATE sessions SET device = '', address = '', country = '', scope = ''
             WHERE user_id = $1",
            "DELETE FROM user_countries WHERE user_id = $1",
        ] {
            self.count(Purpose::Request);
            sqlx::query(erase).bind(id).execute(&mut *tx).await?;
        }
        let owner = Owner::user(id);
        rows.extend(self.end_keys_of_owner(&mut tx, &owner, change.now, keys).await?);
        self.discard_outbox_rows(&mut tx, id).await?;
        rows.push(self.enqueue(&mut tx, id, commands, change.now).await?);
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(Some(rows))
    }

    /// Locks the row of a user who is not deleted, and returns it.
    async fn lock_user(&self, tx: &mut Tx, id: &str) -> Result<Option<User>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "UPDATE users SET scope = scope WHERE id = $1 AND deleted_at IS NULL RETURNING *",
        )
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
        row.as_ref().map(read_user).transpose()
    }

    /// Returns the time up to which a revocation at `now` revokes a user's access tokens: not
    /// before the newest one, which another process may have issued by a clock that is ahead.
    async fn newest_refresh(
        &self,
        tx: &mut Tx,
        user: &User,
        now: UnixSeconds,
    ) -> Result<u64, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT MAX(refreshed_at) AS refreshed_at FROM sessions
             WHERE user_id = $1 AND revoked_at IS NULL",
        );
        let row = row.bind(user.id.as_str()).fetch_one(&mut **tx).await?;
        let newest = time(&row, "refreshed_at")?.unwrap_or_default();
        let newest = newest.max(user.tokens_revoked_at.map_or(0, |at| at.saturating_add(1)));
        Ok(newest.clamp(now.0, now.plus(CLOCK_SKEW_SECONDS).0))
    }

    /// Returns the hashes of the newest access tokens of a user's active sessions.
    async fn recent_access_tokens(
        &self,
        tx: &mut Tx,
        user_id: &str,
        now: UnixSeconds,
    ) -> Result<Vec<String>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT r.access_hash FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id
             WHERE s.user_id = $1 AND s.revoked_at IS NULL AND r.access_hash IS NOT NULL
             AND r.access_expires_at > $2 ORDER BY r.created_at DESC LIMIT 100",
        )
        .bind(user_id)
        .bind(to_i64(now.0))
        .fetch_all(&mut **tx)
        .await?;
        rows.iter().map(|row| row.try_get("access_hash")).collect()
    }
}
