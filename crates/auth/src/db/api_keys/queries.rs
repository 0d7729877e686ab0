//! Queries about API keys.

use super::{
    ApiKey, KEY_RETENTION_SECONDS, KeySecret, KeySpec, KeyState, Owner, OwnerKind, OwnerState,
    owner_claims,
};
use crate::db::filter::Filter;
use crate::db::list_place::ListPlace;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use portcullis_core::UnixSeconds;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

/// A selection of keys.
pub enum KeySelector<'a> {
    /// Keys that are not revoked, of one owner or of all, by the time of their creation.
    Listed { owner: Option<&'a Owner>, after: ListPlace, limit: u32 },
    /// Those of them whose id is a text, or whose name or beginning starts with it.
    Found { text: &'a str, owner: Option<&'a Owner>, after: ListPlace, limit: u32 },
    /// Keys with these ids, fewer than a statement may have parameters.
    Ids(&'a [String]),
    /// Keys that were changed at or after a time, revoked ones too, by the time of their change.
    Changed { after: ListPlace, limit: u32 },
}

impl Db {
    /// Returns the state of the key that has a secret with this hash, even of an ended one.
    pub async fn key_by_hash(
        &self,
        hash: &str,
        now: UnixSeconds,
    ) -> Result<Option<KeyState>, sqlx::Error> {
        self.count(Purpose::Request);
        let condition = "k.id = (SELECT key_id FROM api_key_secrets WHERE hash = $2)";
        let rows = sqlx::query(statement("api_keys", condition))
            .bind(retained_since(now))
            .bind(hash)
            .fetch_all(&self.readers)
            .await?;
        Ok(read_states(&rows)?.pop().map(|(state, _)| state))
    }

    /// Returns the state of a key.
    pub async fn key_state(
        &self,
        id: &str,
        now: UnixSeconds,
    ) -> Result<Option<KeyState>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(statement("api_keys", "k.id = $2"))
            .bind(retained_since(now))
            .bind(id)
            .fetch_all(&self.readers)
            .await?;
        Ok(read_states(&rows)?.pop().map(|(state, _)| state))
    }

    /// Returns the state of a key, as a transaction sees it.
    pub(super) async fn key_state_in(
        &self,
        tx: &mut Tx,
        id: &str,
        now: UnixSeconds,
    ) -> Result<Option<KeyState>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(statement("api_keys", "k.id = $2"))
            .bind(retained_since(now))
            .bind(id)
            .fetch_all(&mut **tx)
            .await?;
        Ok(read_states(&rows)?.pop().map(|(state, _)| state))
    }

    /// Returns the states of keys, as a transaction sees them. Their ids are fewer than a statement
    /// may have parameters.
    pub(super) async fn key_states_in(
        &self,
        tx: &mut Tx,
        ids: &[String],
        now: UnixSeconds,
    ) -> Result<Vec<KeyState>, sqlx::Error> {
        self.count(Purpose::Request);
        let query = sqlx::query(statement("api_keys", &id_condition(ids.len())));
        let query = query.bind(retained_since(now));
        let query = ids.iter().fold(query, |query, id| query.bind(id.clone()));
        let rows = query.fetch_all(&mut **tx).await?;
        Ok(read_states(&rows)?.into_iter().map(|(state, _)| state).collect())
    }

    /// Returns the states of the selected keys, and the place of the last one; `None` if no key is
    /// selected.
    pub async fn key_states(
        &self,
        selector: &KeySelector<'_>,
        now: UnixSeconds,
    ) -> Result<(Vec<KeyState>, Option<ListPlace>), sqlx::Error> {
        self.count(Purpose::Outbox);
        let retained = retained_since(now);
        let rows = match selector {
            KeySelector::Listed { owner: Some(owner), after, limit } => {
                let keys = "(SELECT * FROM api_keys WHERE owner_kind = $2 AND owner_id = $3
                     AND revoked_at IS NULL
                     AND (created_at > $4 OR (created_at = $4 AND id > $5))
                     ORDER BY created_at, id LIMIT $6)";
                let query = sqlx::query(statement(keys, "k.revoked_at IS NULL"));
                let query = query.bind(retained).bind(owner.kind.name()).bind(owner.id.as_str());
                let query = query.bind(to_i64(after.at)).bind(after.id.as_str());
                query.bind(i64::from(*limit)).fetch_all(&self.readers).await?
            }
            KeySelector::Listed { owner: None, after, limit } => {
                let keys = "(SELECT * FROM api_keys WHERE revoked_at IS NULL
                     AND (created_at > $2 OR (created_at = $2 AND id > $3))
                     ORDER BY created_at, id LIMIT $4)";
                let query = sqlx::query(statement(keys, "k.revoked_at IS NULL")).bind(retained);
                let query = query.bind(to_i64(after.at)).bind(after.id.as_str());
                query.bind(i64::from(*limit)).fetch_all(&self.readers).await?
            }
            KeySelector::Found { text, owner, after, limit } => {
                let mut filter = Filter::default();
                filter.number(retained.unsigned_abs());
                filter.require("revoked_at IS NULL");
                let (at, id) = (filter.number(after.at), filter.text(&after.id));
                filter.require(format!("(created_at, id) > ({at}, {id})"));
                if let Some(owner) = owner {
                    filter.equal("owner_kind", owner.kind.name());
                    filter.equal("owner_id", &owner.id);
                }
                let (id, name) = (filter.text(text), filter.begins_in_any_case("name", text));
                let prefix = filter.begins("display_prefix", text);
                filter.require(format!(
                    "id IN (SELECT id FROM api_keys WHERE id = {id}
                     UNION SELECT id FROM api_keys WHERE {name}
                     UNION SELECT id FROM api_keys WHERE {prefix})"
                ));
                let (conditions, limit) = (filter.conditions(), filter.number((*limit).into()));
                let keys = format!(
                    "(SELECT * FROM api_keys WHERE {conditions}
                     ORDER BY created_at, id LIMIT {limit})"
                );
                let statement = statement(&keys, "k.revoked_at IS NULL");
                filter.fetch(self, &statement.0).await?
            }
            KeySelector::Ids(ids) => {
                let condition = id_condition(ids.len());
                let query = sqlx::query(statement("api_keys", &condition)).bind(retained);
                let query = ids.iter().fold(query, |query, id| query.bind(id.clone()));
                query.fetch_all(&self.readers).await?
            }
            KeySelector::Changed { after, limit } => {
                let keys = "(SELECT * FROM api_keys
                     WHERE changed_at > $2 OR (changed_at = $2 AND id > $3)
                     ORDER BY changed_at, id LIMIT $4)";
                let query = sqlx::query(changed_statement(keys)).bind(retained);
                let query = query.bind(to_i64(after.at)).bind(after.id.as_str());
                query.bind(i64::from(*limit)).fetch_all(&self.readers).await?
            }
        };
        let states = read_states(&rows)?;
        let by_change = matches!(selector, KeySelector::Changed { .. });
        let last = states.last().map(|(state, changed_at)| ListPlace {
            at: if by_change { *changed_at } else { state.key.created_at },
            id: state.key.id.clone(),
        });
        Ok((states.into_iter().map(|(state, _)| state).collect(), last))
    }
}

/// Returns the condition that selects keys by as many ids, which are $2 and so on.
fn id_condition(count: usize) -> String {
    let places = (0..count).map(|place| format!("${}", place + 2));
    format!("k.id IN ({})", places.collect::<Vec<_>>().join(", "))
}

/// Returns a query for the keys in `keys` that meet a condition: one row for each secret, oldest
/// first, of each key. $1 is the time since which ended secrets are retained.
fn statement(keys: &str, condition: &str) -> AssertSqlSafe<String> {
    ordered(keys, condition, "k.created_at")
}

fn changed_statement(keys: &str) -> AssertSqlSafe<String> {
    ordered(keys, "k.id IS NOT NULL", "k.changed_at")
}

fn ordered(keys: &str, condition: &str, order: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SELECT k.id, k.owner_kind, k.owner_id, k.name, k.display_prefix, k.scope, k.plan,
         k.quotas, k.networks, k.metadata, k.created_at, k.changed_at, k.expires_at, k.revoked_at,
         k.last_used_at, s.hash, s.ends_at,
         COALESCE(u.id, c.id) AS found_owner, COALESCE(u.scope, c.scope) AS owner_scope,
         COALESCE(u.claims, c.claims) AS owner_claims, c.plan AS owner_plan,
         COALESCE(u.disabled_at, c.disabled_at) AS owner_disabled_at,
         COALESCE(u.tokens_revoked_at, c.tokens_revoked_at) AS owner_tokens_revoked_at
         FROM {keys} k
         LEFT JOIN api_key_secrets s ON s.key_id = k.id AND (s.ends_at IS NULL OR s.ends_at > $1)
         LEFT JOIN users u ON k.owner_kind = 'user' AND u.id = k.owner_id
         LEFT JOIN clients c ON k.owner_kind = 'client' AND c.id = k.owner_id
         WHERE {condition} ORDER BY {order}, k.id, s.created_at, s.hash"
    ))
}

fn retained_since(now: UnixSeconds) -> i64 {
    to_i64(now.0.saturating_sub(KEY_RETENTION_SECONDS))
}

/// Joins the rows of each key. Returns each state with the time of its last change.
fn read_states(rows: &[AnyRow]) -> Result<Vec<(KeyState, u64)>, sqlx::Error> {
    let mut states: Vec<(KeyState, u64)> = Vec::new();
    for row in rows {
        let id: String = row.try_get("id")?;
        if states.last().is_none_or(|(state, _)| state.key.id != id) {
            let state =
                KeyState { key: read_key(row, id)?, secrets: Vec::new(), owner: read_owner(row)? };
            states.push((state, row.try_get::<i64, _>("changed_at")?.unsigned_abs()));
        }
        let hash: Option<String> = row.try_get("hash")?;
        if let (Some(hash), Some((state, _))) = (hash, states.last_mut()) {
            state.secrets.push(KeySecret { hash, ends_at: time(row, "ends_at")? });
        }
    }
    Ok(states)
}

/// Reads the owner of a key from its joined row; `None` if it does not exist.
fn read_owner(row: &AnyRow) -> Result<Option<OwnerState>, sqlx::Error> {
    if row.try_get::<Option<String>, _>("found_owner")?.is_none() {
        return Ok(None);
    }
    Ok(Some(OwnerState {
        scope: row.try_get::<Option<String>, _>("owner_scope")?.unwrap_or_default(),
        claims: owner_claims(row.try_get("owner_claims")?, row.try_get("owner_plan")?),
        disabled: time(row, "owner_disabled_at")?.is_some(),
        tokens_revoked_at: time(row, "owner_tokens_revoked_at")?,
    }))
}

fn read_key(row: &AnyRow, id: String) -> Result<ApiKey, sqlx::Error> {
    let kind: String = row.try_get("owner_kind")?;
    let kind = if kind == "client" { OwnerKind::Client } else { OwnerKind::User };
    let spec = KeySpec {
        name: row.try_get("name")?,
        scope: row.try_get("scope")?,
        plan: row.try_get("plan")?,
        quotas: decode(row, "quotas")?,
        networks: decode(row, "networks")?,
        metadata: decode(row, "metadata")?,
        expires_at: time(row, "expires_at")?,
    };
    Ok(ApiKey {
        id,
        owner: Owner { kind, id: row.try_get("owner_id")? },
        spec,
        display_prefix: row.try_get("display_prefix")?,
        created_at: row.try_get::<i64, _>("created_at")?.unsigned_abs(),
        revoked_at: time(row, "revoked_at")?,
        last_used_at: time(row, "last_used_at")?,
    })
}

fn time(row: &AnyRow, name: &str) -> Result<Option<u64>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(name)?.map(i64::unsigned_abs))
}

/// Decodes a column that contains JSON.
fn decode<T: DeserializeOwned>(row: &AnyRow, name: &str) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(name)?;
    serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
