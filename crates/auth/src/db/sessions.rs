//! Sessions and their tokens.

pub mod begin;
pub mod end;
pub mod issued;
mod queries;
pub mod rotate;
pub mod search;

use super::pool::to_i64;
use portcullis_core::UnixSeconds;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A session, from a login to its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    pub id: String,
    pub user_id: String,
    pub client_id: String,
    pub scope: String,
    pub created_at: u64,
    pub expires_at: u64,
    /// The time of the login or of the last refresh.
    pub refreshed_at: u64,
    pub device: String,
    pub address: String,
}

impl Session {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let time = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        Ok(Self {
            id: row.try_get("id")?,
            user_id: row.try_get("user_id")?,
            client_id: row.try_get("client_id")?,
            scope: row.try_get("scope")?,
            created_at: time("created_at")?,
            expires_at: time("expires_at")?,
            refreshed_at: time("refreshed_at")?,
            device: row.try_get("device")?,
            address: row.try_get("address")?,
        })
    }
}

/// Returns the time that lies `seconds` before `now`.
fn seconds_before(now: UnixSeconds, seconds: u64) -> i64 {
    to_i64(now.0.saturating_sub(seconds))
}
