//! The signing keys, encrypted under the master key.

use super::pool::{Db, Purpose, to_i64};
use crate::audit::Event;
use portcullis_core::UnixSeconds;
use sqlx::Row as _;

/// A signing key. Of the active keys, the one with the highest generation signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRow {
    pub generation: u64,
    pub kid: String,
    pub algorithm: String,
    pub public_jwk: String,
    pub sealed: String,
    pub created_at: u64,
    pub active_from: u64,
}

impl Db {
    /// Returns all keys, by generation.
    pub async fn signing_keys(&self) -> Result<Vec<KeyRow>, sqlx::Error> {
        self.count(Purpose::Maintenance);
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

    /// Adds a key. Returns `false` if its generation exists already.
    pub async fn add_signing_key(&self, row: &KeyRow) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Maintenance);
        let inserted = sqlx::query(
            "INSERT INTO signing_keys
             (generation, kid, algorithm, public_jwk, sealed, created_at, active_from)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (generation) DO NOTHING",
        )
        .bind(to_i64(row.generation))
        .bind(row.kid.as_str())
        .bind(row.algorithm.as_str())
        .bind(row.public_jwk.as_str())
        .bind(row.sealed.as_str())
        .bind(to_i64(row.created_at))
        .bind(to_i64(row.active_from))
        .execute(&self.writer)
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    /// Moves a key's activation from the time `before` to `after`. Changes nothing if it was moved
    /// meanwhile, for example by an operator.
    pub async fn reschedule_signing_key(
        &self,
        generation: u64,
        before: u64,
        after: u64,
    ) -> Result<(), sqlx::Error> {
        self.count(Purpose::Maintenance);
        sqlx::query(
            "UPDATE signing_keys SET active_from = $1 WHERE generation = $2 AND active_from = $3",
        )
        .bind(to_i64(after))
        .bind(to_i64(generation))
        .bind(to_i64(before))
        .execute(&self.writer)
        .await
        .map(|_| ())
    }

    /// Activates the key of generation `next` now. Writes nothing if it is active already.
    pub async fn rotate_signing_keys(
        &self,
        next: u64,
        events: &[Event],
        now: UnixSeconds,
    ) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Maintenance);
        let update =
            "UPDATE signing_keys SET active_from = $1 WHERE generation = $2 AND active_from > $1";
        let update = sqlx::query(update).bind(to_i64(now.0)).bind(to_i64(next));
        if update.execute(&mut *tx).await?.rows_affected() == 0 {
            return tx.rollback().await;
        }
        self.append_events(&mut tx, events, now).await?;
        tx.commit().await
    }

    /// Deletes all keys and returns their number.
    pub async fn withdraw_signing_keys(
        &self,
        events: &[Event],
        now: UnixSeconds,
    ) -> Result<u64, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Maintenance);
        let deleted = sqlx::query("DELETE FROM signing_keys").execute(&mut *tx).await?;
        if deleted.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(0);
        }
        self.append_events(&mut tx, events, now).await?;
        tx.commit().await?;
        Ok(deleted.rows_affected())
    }

    /// Deletes a key.
    pub async fn delete_signing_key(&self, generation: u64) -> Result<(), sqlx::Error> {
        self.count(Purpose::Maintenance);
        sqlx::query("DELETE FROM signing_keys WHERE generation = $1")
            .bind(to_i64(generation))
            .execute(&self.writer)
            .await
            .map(|_| ())
    }

    /// Replaces the encrypted form of a key by another encrypted form of the same key.
    pub async fn reseal_signing_key(
        &self,
        generation: u64,
        sealed: &str,
    ) -> Result<(), sqlx::Error> {
        self.count(Purpose::Maintenance);
        sqlx::query("UPDATE signing_keys SET sealed = $1 WHERE generation = $2")
            .bind(sealed)
            .bind(to_i64(generation))
            .execute(&self.writer)
            .await
            .map(|_| ())
    }
}
