//! Users.

pub mod edit;
pub mod search;

use super::api_keys::{KeyCommands, Owner};
use super::audit::AuditedChange;
use super::clients::time;
use super::outbox::OutboxRow;
use super::pool::{Db, Purpose, to_i64};
use super::sessions::end::{EndedSession, SessionSelector};
use crate::audit::Event;
use crate::custom_claims::CustomClaims;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;

/// A user.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct User {
    pub id: String,
    pub username: String,
    pub password_hash: String,
    pub scope: String,
    pub disabled: bool,
    /// The claims that the user's tokens have beyond the standard ones.
    pub claims: CustomClaims,
    pub created_at: u64,
    /// The last time up to which the user's access tokens are revoked.
    pub tokens_revoked_at: Option<u64>,
}

/// A change of a user's password.
pub struct PasswordChange<'a> {
    pub user_id: &'a str,
    /// The hash that the user must still have; `None` for any.
    pub old_hash: Option<&'a str>,
    pub new_hash: &'a str,
    /// The session that must not end.
    pub except_session: Option<&'a str>,
}

impl Db {
    /// Adds a user. Returns `false` if the name is taken.
    pub async fn add_user(
        &self,
        user: &User,
        events: &[Event],
        now: UnixSeconds,
    ) -> Result<bool, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Setup);
        let inserted = sqlx::query(
            "INSERT INTO users (id, username, password_hash, scope, created_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (username) DO NOTHING",
        )
        .bind(user.id.as_str())
        .bind(user.username.as_str())
        .bind(user.password_hash.as_str())
        .bind(user.scope.as_str())
        .bind(to_i64(now.0))
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(false);
        }
        self.append_events(&mut tx, events, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Returns the user with a name.
    pub async fn user_by_name(&self, username: &str) -> Result<Option<User>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query("SELECT * FROM users WHERE username = $1 AND deleted_at IS NULL")
            .bind(username)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(read_user).transpose()
    }

    /// Returns the user with an id, even a deleted one, who is disabled.
    pub async fn user_by_id(&self, id: &str) -> Result<Option<User>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query("SELECT * FROM users WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(read_user).transpose()
    }

    /// Sets a password and ends the user's other sessions. Returns `None` if the user no longer has
    /// the old hash. `revoke` returns the commands for the store that follow from the end of a
    /// session.
    pub async fn set_password(
        &self,
        password: &PasswordChange<'_>,
        change: &AuditedChange<'_>,
        revoke: impl Fn(&EndedSession) -> Vec<Command>,
    ) -> Result<Option<Vec<EndedSession>>, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        let updated = sqlx::query(
            "UPDATE users SET password_hash = $1
             WHERE id = $2 AND (password_hash = $3 OR $3 IS NULL)",
        )
        .bind(password.new_hash)
        .bind(password.user_id)
        .bind(password.old_hash.map(str::to_owned))
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            return Ok(None);
        }
        let selector =
            SessionSelector::OfUser { user_id: password.user_id, except: password.except_session };
        let ended = self.end_in(&mut tx, selector, "password_changed", change.now, &revoke).await?;
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(Some(ended))
    }

    /// Disables a user, ends all sessions and withdraws the records of API keys, or enables the
    /// user again and returns the records. The tokens from before stay revoked, so that a store
    /// that lost the enabling is corrected like one that lost a revocation. Returns the outbox
    /// rows. Writes nothing if the user is already in that state. `commands` are those for the
    /// store that concern the user rather than a session, and `keys` returns those of an API key.
    pub async fn set_disabled(
        &self,
        user_id: &str,
        disabled: bool,
        commands: Vec<Command>,
        change: &AuditedChange<'_>,
        revoke: impl Fn(&EndedSession) -> Vec<Command>,
        keys: KeyCommands<'_>,
    ) -> Result<Vec<OutboxRow>, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        let update = match disabled {
            true => {
                "UPDATE users SET disabled_at = $1
                 WHERE id = $2 AND disabled_at IS NULL AND deleted_at IS NULL"
            }
            // A clock that was ahead may have written a later time.
            false => {
                "UPDATE users SET disabled_at = NULL, tokens_revoked_at =
                 CASE WHEN tokens_revoked_at > $1 THEN tokens_revoked_at ELSE $1 END
                 WHERE id = $2 AND disabled_at IS NOT NULL AND deleted_at IS NULL"
            }
        };
        let update = sqlx::query(update).bind(to_i64(change.now.0)).bind(user_id);
        if update.execute(&mut *tx).await?.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
        if disabled {
            let selector = SessionSelector::OfUser { user_id, except: None };
            let ended =
                self.end_in(&mut tx, selector, "user_disabled", change.now, &revoke).await?;
            rows.extend(ended.into_iter().map(|ended| ended.outbox_row));
        }
        let owner = Owner::user(user_id);
        rows.extend(self.publish_keys_of_owner(&mut tx, &owner, change.now, keys).await?);
        self.discard_outbox_rows(&mut tx, user_id).await?;
        rows.push(self.enqueue(&mut tx, user_id, commands, change.now).await?);
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(rows)
    }
}

fn read_user(row: &sqlx::any::AnyRow) -> Result<User, sqlx::Error> {
    let claims: Option<String> = row.try_get("claims")?;
    Ok(User {
        id: row.try_get("id")?,
        username: row.try_get("username")?,
        password_hash: row.try_get("password_hash")?,
        scope: row.try_get("scope")?,
        disabled: time(row, "disabled_at")?.is_some(),
        claims: CustomClaims::decode(claims.as_deref()),
        created_at: time(row, "created_at")?.unwrap_or_default(),
        tokens_revoked_at: time(row, "tokens_revoked_at")?,
    })
}
