//! What the store must learn: committed with the change that it follows from, and kept until the store has it.

use super::{Db, Purpose, Tx, seconds};
use redis_rest::{BodyBounds, Command, decode_pipeline, encode_pipeline};
use sqlx::Row as _;

/// Commands for the store that are committed but not known to be delivered.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    pub id: String,
    pub commands: Vec<Command>,
    /// Whose it is: a session's, a user's, or a token's.
    pub about: String,
    pub created_at: u64,
}

impl Db {
    /// What the store was not told yet and stands behind `after`, oldest first, `most` at a time.
    pub async fn pending(
        &self,
        after: Option<&Pending>,
        most: u32,
    ) -> Result<Vec<Pending>, sqlx::Error> {
        self.count(Purpose::Outbox);
        let after = after.map_or((-1, ""), |row| (seconds(row.created_at), row.id.as_str()));
        let rows = sqlx::query(
            "SELECT id, commands, about, created_at FROM outbox
             WHERE created_at > $1 OR (created_at = $1 AND id > $2)
             ORDER BY created_at, id LIMIT $3",
        )
        .bind(after.0)
        .bind(after.1)
        .bind(i64::from(most))
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let text: String = row.try_get("commands")?;
                let commands = decode_pipeline(text.as_bytes(), NO_BOUNDS)
                    .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
                Ok(Pending {
                    id: row.try_get("id")?,
                    commands,
                    about: row.try_get("about")?,
                    created_at: row.try_get::<i64, _>("created_at")?.unsigned_abs(),
                })
            })
            .collect()
    }

    /// How many rows the store was not told yet, and since when the oldest waits.
    pub async fn backlog(&self) -> Result<(i64, Option<i64>), sqlx::Error> {
        self.count(Purpose::Outbox);
        let row =
            sqlx::query("SELECT COUNT(*) AS rows_left, MIN(created_at) AS oldest FROM outbox")
                .fetch_one(&self.readers)
                .await?;
        Ok((row.try_get("rows_left")?, row.try_get("oldest")?))
    }

    /// Forgets what the store has been told; false where it was taken back meanwhile, or somebody else told it.
    pub async fn delivered(&self, id: &str) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Outbox);
        let gone =
            sqlx::query("DELETE FROM outbox WHERE id = $1").bind(id).execute(&self.writer).await?;
        Ok(gone.rows_affected() == 1)
    }

    /// Adds what the store must learn about a session or a user.
    pub(super) async fn enqueue(
        &self,
        tx: &mut Tx,
        about: &str,
        commands: Vec<Command>,
        now: u64,
    ) -> Result<Pending, sqlx::Error> {
        let id = crate::random::random_id();
        self.count(Purpose::Request);
        sqlx::query("INSERT INTO outbox (id, commands, created_at, about) VALUES ($1, $2, $3, $4)")
            .bind(id.as_str())
            .bind(encode_pipeline(&commands))
            .bind(seconds(now))
            .bind(about)
            .execute(&mut **tx)
            .await?;
        Ok(Pending { id, commands, about: about.to_owned(), created_at: now })
    }

    /// Takes back what the store was not told yet, since what follows makes it void.
    pub(super) async fn forget(&self, tx: &mut Tx, about: &str) -> Result<(), sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query("DELETE FROM outbox WHERE about = $1")
            .bind(about)
            .execute(&mut **tx)
            .await
            .map(|_| ())
    }
}

/// What we wrote ourselves is read whole.
const NO_BOUNDS: BodyBounds = BodyBounds { commands_max: usize::MAX, words_max: usize::MAX };
