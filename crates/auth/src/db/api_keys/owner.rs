//! The owners of API keys: users and clients.

use super::{Owner, OwnerKind, OwnerState};
use crate::custom_claims::CustomClaims;
use crate::db::clients::time;
use crate::db::pool::{Db, Purpose, Tx};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// The columns of an owner, as [`read_owner`] reads them after [`OWNER_JOIN`].
pub const OWNER_COLUMNS: &str = "COALESCE(u.id, c.id) AS found_owner,
     COALESCE(u.scope, c.scope) AS owner_scope, COALESCE(u.claims, c.claims) AS owner_claims,
     c.plan AS owner_plan, COALESCE(u.disabled_at, c.disabled_at) AS owner_disabled_at,
     COALESCE(u.tokens_revoked_at, c.tokens_revoked_at) AS owner_tokens_revoked_at";

/// Joins the owner of each key `k`. A deleted owner does not exist any more.
pub const OWNER_JOIN: &str = "LEFT JOIN users u
     ON k.owner_kind = 'user' AND u.id = k.owner_id AND u.deleted_at IS NULL
     LEFT JOIN clients c
     ON k.owner_kind = 'client' AND c.id = k.owner_id AND c.deleted_at IS NULL";

/// Reads the owner of a key from its joined row; `None` if it does not exist.
pub fn read_owner(row: &AnyRow) -> Result<Option<OwnerState>, sqlx::Error> {
    if row.try_get::<Option<String>, _>("found_owner")?.is_none() {
        return Ok(None);
    }
    let claims: Option<String> = row.try_get("owner_claims")?;
    let mut claims = CustomClaims::decode(claims.as_deref()).members().clone();
    if let Some(plan) = row.try_get::<Option<String>, _>("owner_plan")? {
        claims.insert("plan".to_owned(), plan.into());
    }
    Ok(Some(OwnerState {
        scope: row.try_get::<Option<String>, _>("owner_scope")?.unwrap_or_default(),
        claims,
        disabled: time(row, "owner_disabled_at")?.is_some(),
        tokens_revoked_at: time(row, "owner_tokens_revoked_at")?,
    }))
}

impl Db {
    /// Returns what an owner gives to its keys; `None` if it does not exist.
    pub async fn key_owner(&self, owner: &Owner) -> Result<Option<OwnerState>, sqlx::Error> {
        self.count(Purpose::Request);
        let query = format!(
            "SELECT {OWNER_COLUMNS}
             FROM (SELECT CAST($1 AS TEXT) AS owner_kind, CAST($2 AS TEXT) AS owner_id) k
             {OWNER_JOIN}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(owner.kind.name())
            .bind(owner.id.as_str())
            .fetch_one(&self.readers)
            .await?;
        read_owner(&row)
    }

    /// Locks the row of an owner, so that it can neither be disabled nor get another key before the
    /// transaction ends. Returns `false` if it does not exist or is disabled.
    pub(super) async fn lock_key_owner(
        &self,
        tx: &mut Tx,
        owner: &Owner,
    ) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let update = match owner.kind {
            OwnerKind::Client => {
                "UPDATE clients SET disabled_at = NULL
                 WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL"
            }
            OwnerKind::User => {
                "UPDATE users SET disabled_at = NULL
                 WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL"
            }
        };
        let locked = sqlx::query(update).bind(owner.id.as_str()).execute(&mut **tx).await?;
        Ok(locked.rows_affected() == 1)
    }
}
