//! All SQL: one text for SQLite and Postgres, each query counted by what it is for.

use crate::config::ACCESS_TOKEN_SECONDS_MAX;
use crate::config::Database;
use portcullis_core::UnixSeconds;
use prometheus::IntCounterVec;
use redis_rest::{BodyBounds, Command, decode_pipeline, encode_pipeline};
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::migrate::Migrator;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Executor as _, Row as _, Transaction};
use std::time::Duration;

/// The database.
pub struct Db {
    pool: AnyPool,
    queries: IntCounterVec,
}

/// Somebody who may log in.
pub struct User {
    pub id: String,
    pub password_hash: String,
    pub scope: String,
    pub disabled: bool,
}

/// A login, for as long as it lasts.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: String,
    pub user_id: String,
    pub client_id: String,
    pub scope: String,
    pub created_at: u64,
    pub expires_at: u64,
}

/// Commands for the store that are committed but not known to be delivered.
pub struct Pending {
    pub id: String,
    pub commands: Vec<Command>,
}

/// What became of a refresh token that was presented.
pub enum Rotation {
    /// It was good; the session has a new one.
    Rotated(Session, Pending),
    /// It was spent before: the session is over.
    Reused(Session, Pending),
    /// Its new pair can't be signed; nothing has changed.
    Unsigned,
    /// The session is over, was revoked, or its user may not log in any more.
    Ended,
    /// Nobody was ever given it.
    Unknown,
}

/// What a query is for, in the counter of queries.
#[derive(Clone, Copy)]
enum Purpose {
    Outbox,
    Request,
    Setup,
}

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

impl Db {
    /// Opens the database and brings its tables up to date.
    pub async fn open(database: &Database) -> Result<Self, String> {
        Self::connect(&database.url).await.map_err(|error| format!("DATABASE_URL: {error}"))
    }

    async fn connect(url: &str) -> Result<Self, sqlx::Error> {
        sqlx::any::install_default_drivers();
        let sqlite = url.starts_with("sqlite:");
        let url = match (sqlite, url.contains('?')) {
            (true, false) => format!("{url}?mode=rwc"),
            _ => url.to_owned(),
        };
        // A pool would try for a while, and then say that it did; one connection says why at once.
        let mut first = AnyConnection::connect(&url).await?;
        if sqlite {
            first.execute(SQLITE_SETTINGS).await?;
        }
        first.close().await?;
        let pool = AnyPoolOptions::new()
            .max_connections(if sqlite { 4 } else { 16 })
            .acquire_timeout(Duration::from_secs(3))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if sqlite {
                        connection.execute(SQLITE_SETTINGS).await?;
                    }
                    Ok(())
                })
            })
            .connect(&url)
            .await?;
        let queries = prometheus::Opts::new(
            "portcullis_origin_database_queries_total",
            "Queries sent to the database, by what they are for.",
        );
        let queries = IntCounterVec::new(queries, &["purpose"])
            .map_err(|error| sqlx::Error::Configuration(Box::new(error)))?;
        let db = Self { pool, queries };
        let migrator = if sqlite { &SQLITE } else { &POSTGRES };
        migrator.run(&db.pool).await?;
        Ok(db)
    }

    /// The counter of queries, for the page of metrics.
    pub fn queries(&self) -> IntCounterVec {
        self.queries.clone()
    }

    /// Whether the database answers.
    pub async fn ready(&self) -> Result<(), sqlx::Error> {
        self.count(Purpose::Setup);
        sqlx::query("SELECT 1").execute(&self.pool).await.map(|_| ())
    }

    /// Adds a user; false if the name is taken.
    pub async fn add_user(
        &self,
        id: &str,
        username: &str,
        password_hash: &str,
        scope: &str,
        now: UnixSeconds,
    ) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Setup);
        let done = sqlx::query(
            "INSERT INTO users (id, username, password_hash, scope, created_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (username) DO NOTHING",
        )
        .bind(id)
        .bind(username)
        .bind(password_hash)
        .bind(scope)
        .bind(seconds(now.0))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The user of that name.
    pub async fn user(&self, username: &str) -> Result<Option<User>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT id, password_hash, scope, disabled_at FROM users WHERE username = $1",
        )
        .bind(username)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(User {
                id: row.try_get("id")?,
                password_hash: row.try_get("password_hash")?,
                scope: row.try_get("scope")?,
                disabled: row.try_get::<Option<i64>, _>("disabled_at")?.is_some(),
            })
        })
        .transpose()
    }

    /// Begins a session with its first refresh token, and what the store must learn of it.
    pub async fn begin_session(
        &self,
        session: &Session,
        refresh_hash: &str,
        access_hash: &str,
        commands: Vec<Command>,
    ) -> Result<Pending, sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO sessions (id, user_id, client_id, scope, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(session.id.as_str())
        .bind(session.user_id.as_str())
        .bind(session.client_id.as_str())
        .bind(session.scope.as_str())
        .bind(seconds(session.created_at))
        .bind(seconds(session.expires_at))
        .execute(&mut *tx)
        .await?;
        let hashes = (refresh_hash, access_hash);
        self.insert_refresh(&mut tx, hashes, &session.id, session.created_at).await?;
        let pending = self.enqueue(&mut tx, commands, session.created_at).await?;
        tx.commit().await?;
        Ok(pending)
    }

    /// Spends a refresh token and puts `new_hash` in its place, or ends the session of one that was
    /// spent before. `issue` and `revoke` say what the store must learn in either case. One
    /// compare-and-swap decides: of two that come at once, one finds the token spent.
    pub async fn rotate(
        &self,
        old_hash: &str,
        new_hash: &str,
        now: UnixSeconds,
        issue: impl FnOnce(&Session) -> Option<(String, Vec<Command>)>,
        revoke: impl FnOnce(&Session, Vec<String>) -> Vec<Command>,
    ) -> Result<Rotation, sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        self.count(Purpose::Request);
        let swapped = sqlx::query(
            "UPDATE refresh_tokens SET spent_at = $1 WHERE hash = $2 AND spent_at IS NULL",
        )
        .bind(seconds(now.0))
        .bind(old_hash)
        .execute(&mut *tx)
        .await?;
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT s.id, s.user_id, s.client_id, s.scope, s.created_at, s.expires_at, s.revoked_at, u.disabled_at
             FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id JOIN users u ON u.id = s.user_id
             WHERE r.hash = $1",
        )
        .bind(old_hash)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else {
            return Ok(Rotation::Unknown);
        };
        let session = session(&row)?;
        let ended = row.try_get::<Option<i64>, _>("revoked_at")?.is_some()
            || row.try_get::<Option<i64>, _>("disabled_at")?.is_some()
            || session.expires_at <= now.0;
        if ended {
            return Ok(Rotation::Ended);
        }
        let rotation = if swapped.rows_affected() == 1 {
            let Some((access_hash, commands)) = issue(&session) else {
                return Ok(Rotation::Unsigned);
            };
            let hashes = (new_hash, access_hash.as_str());
            self.insert_refresh(&mut tx, hashes, &session.id, now.0).await?;
            let pending = self.enqueue(&mut tx, commands, now.0).await?;
            Rotation::Rotated(session, pending)
        } else {
            let issued = self.end(&mut tx, &session.id, "refresh_token_reused", now).await?;
            let pending = self.enqueue(&mut tx, revoke(&session, issued), now.0).await?;
            Rotation::Reused(session, pending)
        };
        tx.commit().await?;
        Ok(rotation)
    }

    /// The session that a refresh token belongs to, spent or not.
    pub async fn session_of(&self, refresh_hash: &str) -> Result<Option<Session>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT s.id, s.user_id, s.client_id, s.scope, s.created_at, s.expires_at
             FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id WHERE r.hash = $1",
        )
        .bind(refresh_hash)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(session).transpose()
    }

    /// Whether a session goes on, and its user may have one.
    pub async fn session_lives(&self, id: &str, now: UnixSeconds) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > $2
             AND u.disabled_at IS NULL",
        )
        .bind(id)
        .bind(i64::try_from(now.0).unwrap_or(i64::MAX))
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.is_some())
    }

    /// Ends a session, again if need be, and says so to the store.
    pub async fn end_session(
        &self,
        session_id: &str,
        why: &str,
        now: UnixSeconds,
        revoke: impl FnOnce(Vec<String>) -> Vec<Command>,
    ) -> Result<Pending, sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        let issued = self.end(&mut tx, session_id, why, now).await?;
        let pending = self.enqueue(&mut tx, revoke(issued), now.0).await?;
        tx.commit().await?;
        Ok(pending)
    }

    /// What the store was not told yet, oldest first, `most` at a time.
    pub async fn pending(&self, most: u32) -> Result<Vec<Pending>, sqlx::Error> {
        self.count(Purpose::Outbox);
        let rows = sqlx::query("SELECT id, commands FROM outbox ORDER BY created_at, id LIMIT $1")
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                let text: String = row.try_get("commands")?;
                let commands = decode_pipeline(text.as_bytes(), NO_BOUNDS)
                    .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
                Ok(Pending { id: row.try_get("id")?, commands })
            })
            .collect()
    }

    /// Forgets what the store has been told.
    pub async fn delivered(&self, id: &str) -> Result<(), sqlx::Error> {
        self.count(Purpose::Outbox);
        sqlx::query("DELETE FROM outbox WHERE id = $1")
            .bind(id)
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    async fn insert_refresh(
        &self,
        tx: &mut Transaction<'static, Any>,
        (refresh_hash, access_hash): (&str, &str),
        session_id: &str,
        now: u64,
    ) -> Result<(), sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO refresh_tokens (hash, session_id, created_at, access_hash)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(refresh_hash)
        .bind(session_id)
        .bind(seconds(now))
        .bind(access_hash)
        .execute(&mut **tx)
        .await
        .map(|_| ())
    }

    /// Ends a session. Returns the hashes of the access tokens that were issued in it and may still live.
    async fn end(
        &self,
        tx: &mut Transaction<'static, Any>,
        session_id: &str,
        why: &str,
        now: UnixSeconds,
    ) -> Result<Vec<String>, sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query(
            "UPDATE sessions SET revoked_at = $1, revoked_why = $2 WHERE id = $3 AND revoked_at IS NULL",
        )
        .bind(seconds(now.0))
        .bind(why)
        .bind(session_id)
        .execute(&mut **tx)
        .await?;
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT access_hash FROM refresh_tokens
             WHERE session_id = $1 AND created_at > $2 AND access_hash IS NOT NULL
             ORDER BY created_at DESC LIMIT $3",
        )
        .bind(session_id)
        .bind(seconds(now.0.saturating_sub(ACCESS_TOKEN_SECONDS_MAX)))
        .bind(ISSUED_MAX)
        .fetch_all(&mut **tx)
        .await?;
        rows.iter().map(|row| row.try_get("access_hash")).collect()
    }

    async fn enqueue(
        &self,
        tx: &mut Transaction<'static, Any>,
        commands: Vec<Command>,
        now: u64,
    ) -> Result<Pending, sqlx::Error> {
        let id = crate::token::random_name();
        self.count(Purpose::Request);
        sqlx::query("INSERT INTO outbox (id, commands, created_at) VALUES ($1, $2, $3)")
            .bind(id.as_str())
            .bind(encode_pipeline(&commands))
            .bind(seconds(now))
            .execute(&mut **tx)
            .await?;
        Ok(Pending { id, commands })
    }

    fn count(&self, purpose: Purpose) {
        let purpose = match purpose {
            Purpose::Outbox => "outbox",
            Purpose::Request => "request",
            Purpose::Setup => "setup",
        };
        self.queries.with_label_values(&[purpose]).inc();
    }
}

fn session(row: &AnyRow) -> Result<Session, sqlx::Error> {
    let moment = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    Ok(Session {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        client_id: row.try_get("client_id")?,
        scope: row.try_get("scope")?,
        created_at: moment("created_at")?,
        expires_at: moment("expires_at")?,
    })
}

fn seconds(moment: u64) -> i64 {
    i64::try_from(moment).unwrap_or(i64::MAX)
}

/// Readers don't wait for the writer, writers wait for each other, and a commit is on disk when it
/// returns.
/// Of how many access tokens of one session the records are deleted; the marker is for the rest.
const ISSUED_MAX: i64 = 100;
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;";
/// What we wrote ourselves is read whole.
const NO_BOUNDS: BodyBounds = BodyBounds { commands_max: usize::MAX, words_max: usize::MAX };
