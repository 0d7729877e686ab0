//! The keys that sign.

use super::{Db, Purpose, seconds};
use crate::audit::Event;
use crate::keys::KeyRow;
use portcullis_core::UnixSeconds;
use sqlx::Row as _;

impl Db {
    /// All keys, in their order.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, sqlx::Error> {
        self.count(Purpose::Upkeep);
        let rows = sqlx::query(
            "SELECT generation, kid, algorithm, public_jwk, sealed, created_at, active_from
             FROM signing_keys ORDER BY generation",
        )
        .fetch_all(&self.readers)
        .await?;
        let number = |row: &sqlx::any::AnyRow, name: &str| {
            row.try_get::<i64, _>(name).map(i64::unsigned_abs)
        };
        let rows = rows.iter().map(|row| {
            Ok(KeyRow {
                generation: number(row, "generation")?,
                kid: row.try_get("kid")?,
                algorithm: row.try_get("algorithm")?,
                public_jwk: row.try_get("public_jwk")?,
                sealed: row.try_get("sealed")?,
                created_at: number(row, "created_at")?,
                active_from: number(row, "active_from")?,
            })
        });
        rows.collect()
    }

    /// Adds a key; false if its place is taken.
    pub async fn add_key(&self, row: &KeyRow) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Upkeep);
        let done = sqlx::query(
            "INSERT INTO signing_keys
             (generation, kid, algorithm, public_jwk, sealed, created_at, active_from)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (generation) DO NOTHING",
        )
        .bind(seconds(row.generation))
        .bind(row.kid.as_str())
        .bind(row.algorithm.as_str())
        .bind(row.public_jwk.as_str())
        .bind(row.sealed.as_str())
        .bind(seconds(row.created_at))
        .bind(seconds(row.active_from))
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Lets a key sign from a moment on, if that is sooner.
    pub async fn activate_key(&self, generation: u64, from: u64) -> Result<(), sqlx::Error> {
        self.count(Purpose::Upkeep);
        sqlx::query(
            "UPDATE signing_keys SET active_from = $1 WHERE generation = $2 AND active_from > $1",
        )
        .bind(seconds(from))
        .bind(seconds(generation))
        .execute(&self.writer)
        .await
        .map(|_| ())
    }

    /// Lets the next key sign from now on.
    pub async fn rotate_keys(
        &self,
        next: u64,
        events: &[Event],
        now: UnixSeconds,
    ) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Upkeep);
        sqlx::query(
            "UPDATE signing_keys SET active_from = $1 WHERE generation = $2 AND active_from > $1",
        )
        .bind(seconds(now.0))
        .bind(seconds(next))
        .execute(&mut *tx)
        .await?;
        self.note(&mut tx, events, now.0).await?;
        tx.commit().await
    }

    /// Forgets all keys; how many that were.
    pub async fn withdraw_keys(
        &self,
        events: &[Event],
        now: UnixSeconds,
    ) -> Result<u64, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Upkeep);
        let gone = sqlx::query("DELETE FROM signing_keys").execute(&mut *tx).await?;
        self.note(&mut tx, events, now.0).await?;
        tx.commit().await?;
        Ok(gone.rows_affected())
    }

    /// Forgets a key.
    pub async fn drop_key(&self, generation: u64) -> Result<(), sqlx::Error> {
        self.count(Purpose::Upkeep);
        sqlx::query("DELETE FROM signing_keys WHERE generation = $1")
            .bind(seconds(generation))
            .execute(&self.writer)
            .await
            .map(|_| ())
    }

    /// Puts the same key there under another seal.
    pub async fn reseal_key(&self, generation: u64, sealed: &str) -> Result<(), sqlx::Error> {
        self.count(Purpose::Upkeep);
        sqlx::query("UPDATE signing_keys SET sealed = $1 WHERE generation = $2")
            .bind(sealed)
            .bind(seconds(generation))
            .execute(&self.writer)
            .await
            .map(|_| ())
    }
}
