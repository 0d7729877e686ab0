//! Those who may log in.

use super::{Db, Ended, Grant, Purpose, Which, seconds};
use crate::audit::Event;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;

/// Somebody who may log in.
#[derive(Clone)]
pub struct User {
    pub id: String,
    pub username: String,
    pub password_hash: String,
    pub scope: String,
    pub disabled: bool,
}

impl Db {
    /// Adds a user; false if the name is taken.
    pub async fn add_user(
        &self,
        user: &User,
        events: &[Event],
        now: UnixSeconds,
    ) -> Result<bool, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Setup);
        let done = sqlx::query(
            "INSERT INTO users (id, username, password_hash, scope, created_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (username) DO NOTHING",
        )
        .bind(user.id.as_str())
        .bind(user.username.as_str())
        .bind(user.password_hash.as_str())
        .bind(user.scope.as_str())
        .bind(seconds(now.0))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        self.note(&mut tx, events, now.0).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The user of that name.
    pub async fn user(&self, username: &str) -> Result<Option<User>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT id, username, password_hash, scope, disabled_at FROM users WHERE username = $1",
        )
        .bind(username)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(user).transpose()
    }

    /// The user of that id.
    pub async fn user_of(&self, id: &str) -> Result<Option<User>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT id, username, password_hash, scope, disabled_at FROM users WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(user).transpose()
    }

    /// Sets a password and ends all sessions but `kept`; nothing, where `old_hash` is not the one that stands.
    pub async fn set_password(
        &self,
        user_id: &str,
        (old_hash, new_hash): (Option<&str>, &str),
        kept: Option<&str>,
        grant: &Grant<'_>,
        revoke: impl Fn(&Ended) -> Vec<Command>,
    ) -> Result<Option<Vec<Ended>>, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        let done = sqlx::query(
            "UPDATE users SET password_hash = $1
             WHERE id = $2 AND (password_hash = $3 OR $3 IS NULL)",
        )
        .bind(new_hash)
        .bind(user_id)
        .bind(old_hash.map(str::to_owned))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(None);
        }
        let which = Which::OfUser { user_id, kept };
        let ended = self.end_all(&mut tx, which, "password_changed", grant.now, &revoke).await?;
        self.note(&mut tx, grant.events, grant.now.0).await?;
        tx.commit().await?;
        Ok(Some(ended))
    }

    /// Disables a user and ends all sessions, or lets them log in again; `commands` is what the store must learn
    /// of it beyond the sessions.
    pub async fn set_disabled(
        &self,
        user_id: &str,
        disabled: bool,
        commands: Vec<Command>,
        grant: &Grant<'_>,
        revoke: impl Fn(&Ended) -> Vec<Command>,
    ) -> Result<Vec<super::Pending>, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        sqlx::query(
            "UPDATE users SET disabled_at = CASE WHEN $1 = 1 THEN COALESCE(disabled_at, $2) END
             WHERE id = $3",
        )
        .bind(i64::from(disabled))
        .bind(seconds(grant.now.0))
        .bind(user_id)
        .execute(&mut *tx)
        .await?;
        let mut pending = Vec::new();
        if disabled {
            let which = Which::OfUser { user_id, kept: None };
            let ended = self.end_all(&mut tx, which, "user_disabled", grant.now, &revoke).await?;
            pending.extend(ended.into_iter().map(|ended| ended.pending));
        }
        self.forget(&mut tx, user_id).await?;
        pending.push(self.enqueue(&mut tx, user_id, commands, grant.now.0).await?);
        self.note(&mut tx, grant.events, grant.now.0).await?;
        tx.commit().await?;
        Ok(pending)
    }
}

fn user(row: &sqlx::any::AnyRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.try_get("id")?,
        username: row.try_get("username")?,
        password_hash: row.try_get("password_hash")?,
        scope: row.try_get("scope")?,
        disabled: row.try_get::<Option<i64>, _>("disabled_at")?.is_some(),
    })
}
