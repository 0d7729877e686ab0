//! Credits: the sum that a caller of a limit was granted, and each grant.

use super::LimitCaller;
use crate::db::audit::AuditedChange;
use crate::db::copied::sample_statement;
use crate::db::outbox::OutboxRow;
use crate::db::pool::{Db, Purpose, to_i64};
use redis_rest::Command;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// The credits that a caller was granted in all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CreditBalance {
    pub caller: LimitCaller,
    pub granted: u64,
    pub created_at: u64,
    pub changed_at: u64,
    /// Who granted last.
    pub actor: String,
}

impl CreditBalance {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let number = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        Ok(Self {
            caller: LimitCaller::read(row)?,
            granted: number("granted")?,
            created_at: number("created_at")?,
            changed_at: number("changed_at")?,
            actor: row.try_get("actor")?,
        })
    }
}

/// One grant.
pub struct CreditGrant<'a> {
    pub caller: &'a LimitCaller,
    /// Names the grant, so that it counts once however often it is sent.
    pub id: &'a str,
    /// How many credits to add; below 0 to take some back.
    pub credits: i64,
    pub actor: &'a str,
}

/// The result of a grant.
#[derive(Debug, Eq, PartialEq)]
pub enum Granted {
    Added {
        granted: u64,
    },
    /// The same grant was added before.
    Repeated {
        granted: u64,
    },
    /// Another grant has this id.
    IdTaken,
    /// The sum would be below 0 or above its bound.
    OutOfRange,
}

/// Returns the commands for the store that follow from a grant.
pub type CreditCommands<'a> = &'a (dyn Fn(&CreditBalance) -> Vec<Command> + Sync);

/// Returns what the outbox rows of a balance are about.
pub fn about_credits(id: &str) -> String {
    format!("{ABOUT_CREDITS}{id}")
}

/// What the outbox rows of a balance are about, before its id.
pub const ABOUT_CREDITS: &str = "credits/";

impl Db {
    /// Adds a grant to its caller's credits. Returns the outbox row if it was added.
    pub async fn add_credits(
        &self,
        grant: &CreditGrant<'_>,
        granted_max: u64,
        commands: CreditCommands<'_>,
        change: &AuditedChange<'_>,
    ) -> Result<(Granted, Option<OutboxRow>), sqlx::Error> {
        let (caller, now) = (grant.caller, change.now);
        let id = caller.id();
        let mut tx = self.begin().await?;
        // Adds the row or locks it, so that grants of one caller wait for each other.
        self.count(Purpose::Request);
        let row = sqlx::query(
            "INSERT INTO credit_balances (id, hash, limit_name, issuer, parts, granted, created_at,
             changed_at, actor) VALUES ($1, $2, $3, $4, $5, 0, $6, $6, $7)
             ON CONFLICT (id) DO UPDATE SET granted = credit_balances.granted
             RETURNING granted",
        )
        .bind(id.as_str())
        .bind(caller.hash.as_str())
        .bind(caller.limit.as_str())
        .bind(caller.issuer.as_str())
        .bind(caller.parts.as_str())
        .bind(to_i64(now.0))
        .bind(grant.actor)
        .fetch_one(&mut *tx)
        .await?;
        let granted: i64 = row.try_get("granted")?;
        self.count(Purpose::Request);
        let same = sqlx::query(
            "SELECT credits FROM credit_grants WHERE balance_id = $1 AND grant_id = $2",
        );
        let same = same.bind(id.as_str()).bind(grant.id).fetch_optional(&mut *tx).await?;
        if let Some(same) = same {
            tx.rollback().await?;
            let is_same = same.try_get::<i64, _>("credits")? == grant.credits;
            let repeated = Granted::Repeated { granted: granted.unsigned_abs() };
            return Ok((if is_same { repeated } else { Granted::IdTaken }, None));
        }
        let sum = granted.checked_add(grant.credits).and_then(|sum| u64::try_from(sum).ok());
        let Some(granted) = sum.filter(|sum| *sum <= granted_max) else {
            tx.rollback().await?;
            return Ok((Granted::OutOfRange, None));
        };
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO credit_grants (balance_id, grant_id, credits, created_at, actor)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id.as_str())
        .bind(grant.id)
        .bind(grant.credits)
        .bind(to_i64(now.0))
        .bind(grant.actor)
        .execute(&mut *tx)
        .await?;
        self.count(Purpose::Request);
        let row = sqlx::query(
            "UPDATE credit_balances SET granted = $1, changed_at = $2, actor = $3 WHERE id = $4
             RETURNING hash, limit_name, issuer, parts, granted, created_at, changed_at, actor",
        )
        .bind(to_i64(granted))
        .bind(to_i64(now.0))
        .bind(grant.actor)
        .bind(id.as_str())
        .fetch_one(&mut *tx)
        .await?;
        let balance = CreditBalance::read(&row)?;
        let about = about_credits(&id);
        self.discard_outbox_rows(&mut tx, &about).await?;
        let row = self.enqueue(&mut tx, &about, commands(&balance), now).await?;
        self.append_events(&mut tx, change.events, now).await?;
        tx.commit().await?;
        Ok((Granted::Added { granted }, Some(row)))
    }

    /// Returns at most `limit` balances, those with ids after `after`.
    pub async fn credit_balances(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<Vec<CreditBalance>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT hash, limit_name, issuer, parts, granted, created_at, changed_at, actor
             FROM credit_balances WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(CreditBalance::read).collect()
    }

    /// Returns the balance with an id.
    pub async fn credit_balance(&self, id: &str) -> Result<Option<CreditBalance>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT hash, limit_name, issuer, parts, granted, created_at, changed_at, actor
             FROM credit_balances WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(CreditBalance::read).transpose()
    }

    /// Returns at most `limit` balances that were changed after `place`: a time and an id.
    pub async fn changed_credits(
        &self,
        place: (u64, &str),
        limit: u32,
    ) -> Result<Vec<CreditBalance>, sqlx::Error> {
        self.count(Purpose::Maintenance);
        let rows = sqlx::query(
            "SELECT hash, limit_name, issuer, parts, granted, created_at, changed_at, actor
             FROM credit_balances WHERE changed_at > $1 OR (changed_at = $1 AND id > $2)
             ORDER BY changed_at, id LIMIT $3",
        )
        .bind(to_i64(place.0))
        .bind(place.1)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(CreditBalance::read).collect()
    }

    /// Returns some balances that the store should have, which were not changed after
    /// `changed_before`: the first ones after a random hash, and then the first of all.
    pub async fn sample_credits(
        &self,
        hash: &str,
        changed_before: u64,
    ) -> Result<Vec<CreditBalance>, sqlx::Error> {
        self.count(Purpose::Maintenance);
        let rows = sqlx::query(sample_statement(
            "hash, limit_name, issuer, parts, granted, created_at, changed_at, actor",
            "credit_balances",
            "changed_at < $2",
        ))
        .bind(hash)
        .bind(to_i64(changed_before))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(CreditBalance::read).collect()
    }
}
