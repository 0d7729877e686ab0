//! Searches the audit, newest first.

use crate::db::filter::{Filter, number, time};
use crate::db::list_place::ListPlace;
use crate::db::pool::Db;
use portcullis_core::TokenHash;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A search for security events.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AuditSearch {
    /// The first time, in Unix seconds.
    pub from: Option<u64>,
    /// The end, in Unix seconds, which is not included.
    pub to: Option<u64>,
    /// The names of events; empty for all.
    pub events: Vec<String>,
    pub actor: Option<String>,
    /// The user of the event, by id or name.
    pub user: Option<String>,
    /// The operator who acted in the console, by id or name.
    pub by: Option<String>,
    pub session_id: Option<String>,
    pub detail: Option<String>,
    /// What a username, an address, a request's id or a detail begins with; the id of a session; or
    /// the name in failed logins, whose detail is its hash.
    pub text: Option<String>,
    /// The last event of the page before.
    pub after: Option<ListPlace>,
    pub limit: u32,
}

/// A security event, as it was recorded.
pub struct AuditEntry {
    pub id: String,
    pub at: u64,
    pub event: String,
    pub actor: String,
    pub user_id: Option<String>,
    /// The user's name; `None` if the user is deleted.
    pub username: Option<String>,
    pub session_id: Option<String>,
    /// The operator who acted in the console.
    pub by_user_id: Option<String>,
    /// The operator's name; `None` if the operator is deleted.
    pub by_username: Option<String>,
    pub reason: String,
    pub address: String,
    pub device: String,
    pub request_id: String,
    pub detail: String,
}

impl AuditEntry {
    /// Returns the place in the list.
    pub fn place(&self) -> ListPlace {
        ListPlace { at: self.at, id: self.id.clone() }
    }
}

impl Db {
    /// Returns security events, newest first.
    pub async fn search_audit(&self, search: &AuditSearch) -> Result<Vec<AuditEntry>, sqlx::Error> {
        let mut filter = Filter::default();
        for (bound, at) in [(">=", search.from), ("<", search.to)] {
            if let Some(at) = at {
                let at = filter.number(at);
                filter.require(format!("at {bound} {at}"));
            }
        }
        match search.events.as_slice() {
            [] => {}
            [one] => filter.equal("event", one),
            several => {
                let places: Vec<String> = several.iter().map(|name| filter.text(name)).collect();
                filter.require(format!("event IN ({})", places.join(", ")));
            }
        }
        if let Some(actor) = &search.actor {
            filter.equal("actor", actor);
        }
        if let Some(id) = &search.session_id {
            filter.equal("session_id", id);
        }
        for (column, user) in [("user_id", &search.user), ("by_user_id", &search.by)] {
            let Some(user) = user else { continue };
            // A user's name equals another user's id only by intent: then the id counts.
            let id = self.id_of_user(user).await?;
            filter.equal(column, id.as_deref().unwrap_or(user));
        }
        if let Some(detail) = &search.detail {
            let condition = detail_is(&mut filter, detail);
            filter.require(condition);
        }
        if let Some(text) = &search.text {
            let is_rare = self.is_rare(text).await?;
            let matches = Matches::new(&mut filter, text);
            filter.require(match is_rare {
                true => format!("id IN ({})", matches.queries().join(" UNION ")),
                false => matches.scanned(),
            });
        }
        if let Some(ListPlace { at, id }) = &search.after {
            let (at, id) = (filter.number(*at), filter.text(id));
            filter.require(format!("(at, id) < ({at}, {id})"));
        }
        let (conditions, limit) = (filter.conditions(), filter.number(search.limit.into()));
        let statement = format!(
            "SELECT a.*, u.username, u.deleted_at AS user_deleted_at, o.username AS by_username,
             o.deleted_at AS by_deleted_at
             FROM (SELECT * FROM audit WHERE {conditions} ORDER BY at DESC, id DESC LIMIT {limit}) a
             LEFT JOIN users u ON u.id = a.user_id
             LEFT JOIN users o ON o.id = a.by_user_id
             ORDER BY a.at DESC, a.id DESC"
        );
        let rows = filter.fetch(self, &statement).await?;
        rows.iter().map(read).collect()
    }

    /// Returns whether few events match a text. Then their ids are fetched by indexes, and sorted.
    /// Otherwise a scan of the newest events soon finds enough.
    async fn is_rare(&self, text: &str) -> Result<bool, sqlx::Error> {
        let mut filter = Filter::default();
        let queries = Matches::new(&mut filter, text).queries();
        let limit = filter.number(RARE_MAX + 1);
        let parts = queries
            .iter()
            .enumerate()
            .map(|(place, query)| format!("SELECT id FROM ({query} LIMIT {limit}) part_{place}"));
        let parts: Vec<String> = parts.collect();
        let statement = format!("SELECT COUNT(*) AS found FROM ({}) f", parts.join(" UNION ALL "));
        let rows = filter.fetch(self, &statement).await?;
        let found = rows.first().map_or(Ok(0), |row| number(row, "found"))?;
        Ok(found <= RARE_MAX)
    }

    /// Returns the id of the user with an id or a name. The audit also has the ids of deleted ones.
    async fn id_of_user(&self, text: &str) -> Result<Option<String>, sqlx::Error> {
        if self.user_by_id(text).await?.is_some() {
            return Ok(Some(text.to_owned()));
        }
        Ok(self.user_by_name(text).await?.map(|user| user.id))
    }
}

/// The conditions of events that match a text. An index answers each of them.
struct Matches {
    conditions: Vec<String>,
    /// The condition of users' names.
    name: String,
}

impl Matches {
    fn new(filter: &mut Filter, text: &str) -> Self {
        let start: String = text.chars().take(DETAIL_START).collect();
        let mut detail = filter.begins("substr(detail, 1, 40)", &start);
        if start != text {
            detail = format!("({detail} AND {})", filter.begins("detail", text));
        }
        let session = filter.text(text);
        let failed_logins = detail_is(filter, &TokenHash::of(text).to_string());
        let name = filter.begins_in_any_case("username", text);
        let users = format!("SELECT id FROM users WHERE deleted_at IS NULL AND {name}");
        let conditions = vec![
            filter.begins("address", text),
            filter.begins("request_id", text),
            detail,
            failed_logins,
            format!("session_id = {session}"),
            format!("user_id IN ({users})"),
        ];
        Self { conditions, name }
    }

    /// Returns the condition for a scan by time. Its last term is never true, and has no index:
    /// otherwise SQLite would fetch all matches by the indexes of the others, and sort them.
    fn scanned(&self) -> String {
        format!("({} OR length(id) = 0)", self.conditions.join(" OR "))
    }

    /// Returns queries for the ids of the events.
    fn queries(&self) -> Vec<String> {
        let name = &self.name;
        let of_users = format!(
            "SELECT e.id FROM users n JOIN audit e ON e.user_id = n.id
             WHERE n.deleted_at IS NULL AND {}",
            name.replace("username", "n.username")
        );
        let own = self.conditions.iter().take(self.conditions.len().saturating_sub(1));
        let own = own.map(|condition| format!("SELECT id FROM audit WHERE {condition}"));
        own.chain([of_users]).collect()
    }
}

/// Returns the condition that an event has this detail.
fn detail_is(filter: &mut Filter, detail: &str) -> String {
    let start: String = detail.chars().take(DETAIL_START).collect();
    let (start, whole) = (filter.text(&start), filter.text(detail));
    format!("(substr(detail, 1, 40) /* bytewise */ = {start} AND detail = {whole})")
}

fn read(row: &AnyRow) -> Result<AuditEntry, sqlx::Error> {
    let name = |name: &str, deleted_at: &str| {
        let is_deleted = time(row, deleted_at)?.is_some();
        let name: Option<String> = row.try_get(name)?;
        Ok::<_, sqlx::Error>(name.filter(|_| !is_deleted))
    };
    Ok(AuditEntry {
        id: row.try_get("id")?,
        at: number(row, "at")?,
        event: row.try_get("event")?,
        actor: row.try_get("actor")?,
        user_id: row.try_get("user_id")?,
        username: name("username", "user_deleted_at")?,
        session_id: row.try_get("session_id")?,
        by_user_id: row.try_get("by_user_id")?,
        by_username: name("by_username", "by_deleted_at")?,
        reason: row.try_get("reason")?,
        address: row.try_get("address")?,
        device: row.try_get("device")?,
        request_id: row.try_get("request_id")?,
        detail: row.try_get("detail")?,
    })
}

/// The characters of a detail that its index has.
const DETAIL_START: usize = 40;
/// The most events that are sorted after they were found by indexes.
const RARE_MAX: u64 = 2000;
