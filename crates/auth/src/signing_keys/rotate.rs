//! The rotation of signing keys by an operator.

use super::schedule::{KeyRole, PUBLISH_SECONDS, key_role};
use crate::audit::Event;
use crate::db::{Db, KeyRow};
use portcullis_core::UnixSeconds;
use std::fmt;

/// The reason why keys can't be rotated.
#[derive(Debug)]
pub enum RotateError {
    Database(sqlx::Error),
    /// There is no next key yet.
    NoNextKey,
    /// Verifiers may not know the next key yet.
    TooNew {
        /// The time until it can sign.
        seconds: u64,
    },
}

impl From<sqlx::Error> for RotateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl fmt::Display for RotateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => error.fmt(f),
            Self::NoNextKey => {
                f.write_str("no next key exists yet; a running server makes one within 10 s")
            }
            Self::TooNew { seconds } => {
                write!(f, "the next key is too new for verifiers to know it; retry in {seconds} s")
            }
        }
    }
}

/// Lets the next key sign from now on, and returns it. `event` is recorded with the key's id.
pub async fn rotate(db: &Db, event: Event, now: UnixSeconds) -> Result<KeyRow, RotateError> {
    let rows = db.signing_keys().await?;
    let next = rows.iter().find(|row| key_role(row, &rows, now) == KeyRole::Next);
    let next = next.ok_or(RotateError::NoNextKey)?;
    let published_at = next.created_at.saturating_add(PUBLISH_SECONDS);
    if published_at > now.0 {
        return Err(RotateError::TooNew { seconds: published_at - now.0 });
    }
    db.rotate_signing_keys(next.generation, &[event.detail(next.kid.clone())], now).await?;
    Ok(next.clone())
}
