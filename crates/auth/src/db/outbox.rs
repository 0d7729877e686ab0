//! The outbox: commands for the store. They are committed together with their change, and kept
//! until the store has executed them.

use super::pool::{Db, Purpose, Tx, bounded, to_i64};
use crate::random::random_id;
use portcullis_core::UnixSeconds;
use redis_rest::{BodyBounds, Command, decode_pipeline, encode_pipeline};
use sqlx::{AssertSqlSafe, Row as _};

/// Committed commands for the store that may not be delivered yet. The column `commands` is of
/// version 1 if it is an array of commands. Any other text is of a newer version.
#[derive(Clone, Debug, Default)]
pub struct OutboxRow {
    pub id: String,
    pub commands: Vec<Command>,
    /// The id of the session, the user or the token that the commands belong to.
    pub about: String,
    /// When it was committed, in Unix seconds.
    pub created_at: u64,
}

/// Undelivered rows that follow each other.
pub struct OutboxPage {
    pub rows: Vec<OutboxRow>,
    /// How many rows between them are of a newer version, which only a newer program can deliver.
    pub newer: usize,
    /// The place of the last row; `None` if there is none.
    pub last: Option<OutboxPlace>,
}

/// The place of a row in the order of delivery.
pub struct OutboxPlace {
    created_at: i64,
    id: String,
}

/// The size and the age of the outbox.
pub struct Backlog {
    pub rows: i64,
    pub oldest_created_at: Option<i64>,
}

impl Db {
    /// Returns at most `limit` rows that follow `after`, oldest first.
    pub async fn outbox_rows(
        &self,
        after: Option<&OutboxPlace>,
        limit: u32,
    ) -> Result<OutboxPage, sqlx::Error> {
        self.count(Purpose::Outbox);
        let after = after.map_or((-1, ""), |place| (place.created_at, place.id.as_str()));
        let found = sqlx::query(
            "SELECT id, commands, about, created_at FROM outbox
             WHERE created_at > $1 OR (created_at = $1 AND id > $2)
             ORDER BY created_at, id LIMIT $3",
        )
        .bind(after.0)
        .bind(after.1)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        let mut page = OutboxPage { rows: Vec::new(), newer: 0, last: None };
        for row in &found {
            let (id, text): (String, String) = (row.try_get("id")?, row.try_get("commands")?);
            let created_at: i64 = row.try_get("created_at")?;
            page.last = Some(OutboxPlace { created_at, id: id.clone() });
            // One row that can't be read must not block the others.
            match decode_pipeline(text.as_bytes(), UNBOUNDED) {
                Ok(commands) => {
                    let (about, created_at) = (row.try_get("about")?, created_at.unsigned_abs());
                    page.rows.push(OutboxRow { id, commands, about, created_at });
                }
                Err(_) => page.newer += 1,
            }
        }
        Ok(page)
    }

    /// Returns how many rows are undelivered, and when the oldest was created.
    pub async fn outbox_backlog(&self) -> Result<Backlog, sqlx::Error> {
        self.count(Purpose::Outbox);
        let query =
            sqlx::query("SELECT COUNT(*) AS rows_left, MIN(created_at) AS oldest FROM outbox");
        let row = bounded(query.fetch_one(&self.readers)).await?;
        Ok(Backlog { rows: row.try_get("rows_left")?, oldest_created_at: row.try_get("oldest")? })
    }

    /// Returns whether rows that belong to `about` are undelivered.
    pub async fn has_outbox_rows(&self, about: &str) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query("SELECT id FROM outbox WHERE about = $1 LIMIT 1").bind(about);
        Ok(row.fetch_optional(&self.readers).await?.is_some())
    }

    /// Returns whether rows that belong to a user, or to a session or an API key of the user, are
    /// undelivered.
    pub async fn has_outbox_rows_of_user(&self, user_id: &str) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT id FROM outbox WHERE about = $1
             OR about IN (SELECT id FROM sessions WHERE user_id = $1)
             OR about IN (SELECT id FROM api_keys WHERE owner_kind = 'user' AND owner_id = $1)
             LIMIT 1",
        );
        Ok(row.bind(user_id).fetch_optional(&self.readers).await?.is_some())
    }

    /// Deletes a delivered row. Returns `false` if it was discarded during its delivery, or
    /// delivered by another process.
    pub async fn delete_outbox_row(&self, id: &str) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Outbox);
        let deleted =
            sqlx::query("DELETE FROM outbox WHERE id = $1").bind(id).execute(&self.writer).await?;
        Ok(deleted.rows_affected() == 1)
    }

    /// Adds a row with the commands that belong to the id `about`.
    pub(super) async fn enqueue(
        &self,
        tx: &mut Tx,
        about: &str,
        commands: Vec<Command>,
        now: UnixSeconds,
    ) -> Result<OutboxRow, sqlx::Error> {
        let id = random_id();
        self.count(Purpose::Request);
        sqlx::query("INSERT INTO outbox (id, commands, created_at, about) VALUES ($1, $2, $3, $4)")
            .bind(id.as_str())
            .bind(encode_pipeline(&commands))
            .bind(to_i64(now.0))
            .bind(about)
            .execute(&mut **tx)
            .await?;
        Ok(OutboxRow { id, commands, about: about.to_owned(), created_at: now.0 })
    }

    /// Replaces the undelivered rows of each id by one with its commands. The ids are fewer than a
    /// quarter of the parameters that a statement may have.
    pub(super) async fn replace_outbox_rows(
        &self,
        tx: &mut Tx,
        commands: Vec<(&str, Vec<Command>)>,
        now: UnixSeconds,
    ) -> Result<Vec<OutboxRow>, sqlx::Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let numbers = 1..=commands.len();
        let places = numbers.clone().map(|number| format!("${number}"));
        let places = places.collect::<Vec<_>>().join(", ");
        let values = numbers.map(|number| {
            let first = 4 * number - 3;
            format!("(${first}, ${}, ${}, ${})", first + 1, first + 2, first + 3)
        });
        let values = values.collect::<Vec<_>>().join(", ");
        self.count(Purpose::Request);
        let delete = format!("DELETE FROM outbox WHERE about IN ({places})");
        let mut delete = sqlx::query(AssertSqlSafe(delete));
        let insert =
            format!("INSERT INTO outbox (id, commands, created_at, about) VALUES {values}");
        let mut insert = sqlx::query(AssertSqlSafe(insert));
        let mut rows = Vec::new();
        for (about, commands) in commands {
            let (id, about) = (random_id(), about.to_owned());
            let row = OutboxRow { id, commands, about, created_at: now.0 };
            delete = delete.bind(row.about.clone());
            insert = insert.bind(row.id.clone()).bind(encode_pipeline(&row.commands));
            insert = insert.bind(to_i64(now.0)).bind(row.about.clone());
            rows.push(row);
        }
        delete.execute(&mut **tx).await?;
        self.count(Purpose::Request);
        insert.execute(&mut **tx).await?;
        Ok(rows)
    }

    /// Adds a row without commands, whose delivery writes the current state of `about`, unless
    /// there is a row about it.
    pub async fn enqueue_missing(&self, about: &str, now: UnixSeconds) -> Result<(), sqlx::Error> {
        self.count(Purpose::Outbox);
        sqlx::query(
            "INSERT INTO outbox (id, commands, created_at, about) SELECT $1, '[]', $2, $3
             WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE about = $3)",
        )
        .bind(random_id())
        .bind(to_i64(now.0))
        .bind(about)
        .execute(&self.writer)
        .await
        .map(|_| ())
    }

    /// Deletes the undelivered rows that belong to `about`, because a later change supersedes them.
    pub(super) async fn discard_outbox_rows(
        &self,
        tx: &mut Tx,
        about: &str,
    ) -> Result<(), sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query("DELETE FROM outbox WHERE about = $1")
            .bind(about)
            .execute(&mut **tx)
            .await
            .map(|_| ())
    }
}

/// The rows come from this service itself, so they need no bound.
const UNBOUNDED: BodyBounds = BodyBounds { commands_max: usize::MAX, words_max: usize::MAX };
