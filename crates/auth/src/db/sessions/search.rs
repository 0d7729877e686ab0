//! Searches sessions, active and ended ones.

use super::{Session, seconds_before};
use crate::db::filter::{Filter, number, time};
use crate::db::list_place::ListPlace;
use crate::db::pool::{Db, Purpose};
use portcullis_core::UnixSeconds;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A search for sessions, newest first.
#[derive(Clone, Debug, Default)]
pub struct SessionSearch {
    /// An id, or what a username or an address begins with.
    pub text: Option<String>,
    pub id: Option<String>,
    pub user_id: Option<String>,
    /// Whether they are active; `None` for both.
    pub active: Option<bool>,
    /// Whether those that are not revoked come first. Such a list has one page.
    pub live_first: bool,
    /// The last session of the page before.
    pub after: Option<ListPlace>,
    pub limit: u32,
    pub now: UnixSeconds,
    pub idle_seconds: u64,
}

/// A session of a list.
pub struct ListedSession {
    pub session: Session,
    /// The user's name; `None` if the user is deleted.
    pub username: Option<String>,
    pub country: Option<String>,
    pub ended_at: Option<u64>,
    pub ended_why: Option<String>,
    /// How often it was refreshed.
    pub refreshes: u64,
}

/// A refresh token of a session, and what was issued with it.
pub struct RefreshEntry {
    pub at: u64,
    /// When it was exchanged for the next one.
    pub spent_at: Option<u64>,
    pub scope: String,
}

impl Db {
    /// Returns sessions, newest first.
    pub async fn search_sessions(
        &self,
        search: &SessionSearch,
    ) -> Result<Vec<ListedSession>, sqlx::Error> {
        let mut filter = Filter::default();
        if let Some(id) = &search.id {
            filter.equal("id", id);
        }
        if let Some(id) = &search.user_id {
            filter.equal("user_id", id);
        }
        if let Some(text) = &search.text {
            let (id, address) = (filter.text(text), filter.begins("address", text));
            let name = filter.begins_in_any_case("n.username", text);
            filter.require(format!(
                "id IN (SELECT id FROM sessions WHERE id = {id}
                 UNION SELECT id FROM sessions WHERE {address}
                 UNION SELECT o.id FROM users n JOIN sessions o ON o.user_id = n.id
                 WHERE n.deleted_at IS NULL AND {name})"
            ));
        }
        let idle = seconds_before(search.now, search.idle_seconds).unsigned_abs();
        if let Some(is_active) = search.active {
            let (now, idle) = (filter.number(search.now.0), filter.number(idle));
            filter.require(match is_active {
                true => {
                    format!("revoked_at IS NULL AND expires_at > {now} AND refreshed_at > {idle}")
                }
                false => format!(
                    "(revoked_at IS NOT NULL OR expires_at <= {now} OR refreshed_at <= {idle})"
                ),
            });
        }
        if let Some(ListPlace { at, id }) = &search.after {
            let (at, id) = (filter.number(*at), filter.text(id));
            filter.require(format!("(created_at, id) < ({at}, {id})"));
        }
        let (conditions, limit) = (filter.conditions(), filter.number(search.limit.into()));
        let live_first = match search.live_first {
            true => "CASE WHEN revoked_at IS NULL THEN 0 ELSE 1 END,",
            false => "",
        };
        let statement = format!(
            "SELECT s.*, u.username, u.deleted_at AS user_deleted_at,
             (SELECT COUNT(*) FROM refresh_tokens r WHERE r.session_id = s.id) AS tokens
             FROM (SELECT * FROM sessions WHERE {conditions}
             ORDER BY {live_first} created_at DESC, id DESC LIMIT {limit}) s
             JOIN users u ON u.id = s.user_id
             ORDER BY {live_first} s.created_at DESC, s.id DESC"
        );
        let rows = filter.fetch(self, &statement).await?;
        rows.iter().map(|row| read(row, search.now, search.idle_seconds)).collect()
    }

    /// Returns the newest refresh tokens of a session, without their hashes.
    pub async fn refreshes_of(&self, id: &str) -> Result<Vec<RefreshEntry>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT created_at, spent_at, access_scope FROM refresh_tokens WHERE session_id = $1
             ORDER BY created_at DESC LIMIT $2",
        );
        let rows = rows.bind(id).bind(REFRESHES_MAX).fetch_all(&self.readers).await?;
        let entry = |row: &AnyRow| {
            Ok(RefreshEntry {
                at: number(row, "created_at")?,
                spent_at: time(row, "spent_at")?,
                scope: row.try_get::<Option<String>, _>("access_scope")?.unwrap_or_default(),
            })
        };
        rows.iter().map(entry).collect()
    }
}

fn read(row: &AnyRow, now: UnixSeconds, idle_seconds: u64) -> Result<ListedSession, sqlx::Error> {
    let session = Session::read(row)?;
    let is_deleted = time(row, "user_deleted_at")?.is_some();
    let username: String = row.try_get("username")?;
    let country: String = row.try_get("country")?;
    let (ended_at, ended_why) = match time(row, "revoked_at")? {
        Some(at) => (Some(at), row.try_get("revoked_why")?),
        // The cleanup has not found it yet.
        None => {
            let idle_at = session.refreshed_at.saturating_add(idle_seconds);
            let at = session.expires_at.min(idle_at);
            let why = if at == idle_at { "idle" } else { "expired" };
            let is_over = at <= now.0;
            (is_over.then_some(at), is_over.then(|| why.to_owned()))
        }
    };
    Ok(ListedSession {
        username: (!is_deleted).then_some(username),
        country: Some(country).filter(|country| !country.is_empty()),
        ended_at,
        ended_why,
        refreshes: number(row, "tokens")?.saturating_sub(1),
        session,
    })
}

/// The refresh tokens of a session that are listed.
const REFRESHES_MAX: i64 = 100;
