//! Searches users by their names.

use super::{User, read_user};
use crate::db::filter::{Filter, number, time};
use crate::db::pool::{Db, to_i64};
use portcullis_core::UnixSeconds;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A search for users, by the order of their names.
#[derive(Clone, Debug, Default)]
pub struct UserSearch {
    /// What the names begin with, in lower or upper case.
    pub prefix: Option<String>,
    /// Whether they are disabled; `None` for both.
    pub disabled: Option<bool>,
    /// The last user of the page before.
    pub after: Option<NamePlace>,
    pub limit: u32,
    pub now: UnixSeconds,
    pub idle_seconds: u64,
}

/// The place of a user in a list by names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NamePlace {
    /// The name in lower case.
    pub name: String,
    pub id: String,
}

/// A user of a list.
pub struct ListedUser {
    pub user: User,
    pub place: NamePlace,
    pub disabled_at: Option<u64>,
    /// The number of active sessions.
    pub sessions: u64,
    /// The last login or refresh.
    pub last_seen_at: Option<u64>,
}

impl Db {
    /// Returns users in the order of their names.
    pub async fn search_users(&self, search: &UserSearch) -> Result<Vec<ListedUser>, sqlx::Error> {
        let mut filter = Filter::default();
        filter.require("deleted_at IS NULL");
        match search.disabled {
            Some(true) => filter.require("disabled_at IS NOT NULL"),
            Some(false) => filter.require("disabled_at IS NULL"),
            None => {}
        }
        if let Some(prefix) = &search.prefix {
            let condition = filter.begins_in_any_case("username", prefix);
            filter.require(condition);
        }
        if let Some(NamePlace { name, id }) = &search.after {
            let (name, id) = (filter.text(name), filter.text(id));
            filter.require(format!("(lower(username) /* bytewise */, id) > ({name}, {id})"));
        }
        let rows = self.listed_users(filter, search.limit, search.now, search.idle_seconds).await?;
        rows.iter().map(read).collect()
    }

    /// Returns the user with an id as a list has it.
    pub async fn user_in_list(
        &self,
        id: &str,
        now: UnixSeconds,
        idle_seconds: u64,
    ) -> Result<Option<ListedUser>, sqlx::Error> {
        let mut filter = Filter::default();
        filter.require("deleted_at IS NULL");
        filter.equal("id", id);
        let rows = self.listed_users(filter, 1, now, idle_seconds).await?;
        rows.first().map(read).transpose()
    }

    async fn listed_users(
        &self,
        mut filter: Filter,
        limit: u32,
        now: UnixSeconds,
        idle_seconds: u64,
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        let conditions = filter.conditions();
        let limit = filter.number(limit.into());
        let (now, idle) = (filter.number(now.0), filter.number(now.0.saturating_sub(idle_seconds)));
        let statement = format!(
            "SELECT u.*, lower(u.username) AS name_key,
             (SELECT COUNT(*) FROM sessions s WHERE s.user_id = u.id AND s.revoked_at IS NULL
              AND s.expires_at > {now} AND s.refreshed_at > {idle}) AS sessions,
             (SELECT MAX(s.refreshed_at) FROM sessions s WHERE s.user_id = u.id) AS last_seen_at
             FROM (SELECT * FROM users WHERE {conditions}
             ORDER BY lower(username) /* bytewise */, id LIMIT {limit}) u
             ORDER BY lower(u.username) /* bytewise */, u.id"
        );
        filter.fetch(self, &statement).await
    }

    /// Returns the countries of a user's logins, the newest first.
    pub async fn user_countries(&self, id: &str) -> Result<Vec<(String, u64)>, sqlx::Error> {
        self.count(crate::db::pool::Purpose::Request);
        let rows = sqlx::query(
            "SELECT country, first_seen_at FROM user_countries WHERE user_id = $1
             ORDER BY first_seen_at DESC, country LIMIT $2",
        );
        let rows = rows.bind(id).bind(to_i64(COUNTRIES_MAX)).fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| Ok((row.try_get("country")?, number(row, "first_seen_at")?)))
            .collect()
    }
}

fn read(row: &AnyRow) -> Result<ListedUser, sqlx::Error> {
    let user = read_user(row)?;
    Ok(ListedUser {
        place: NamePlace { name: row.try_get("name_key")?, id: user.id.clone() },
        disabled_at: time(row, "disabled_at")?,
        sessions: number(row, "sessions")?,
        last_seen_at: time(row, "last_seen_at")?,
        user,
    })
}

/// A number above that of the countries of the world.
const COUNTRIES_MAX: u64 = 300;
