//! All SQL: one text for SQLite and Postgres, each query counted by what it is for.
//!
//! A change and all that follows from it is one transaction: rows, what the store must learn, and the events for the
//! audit. SQLite has one writer, for which the others wait in this process, and readers beside it.

mod keys;
mod outbox;
mod sessions;
mod upkeep;
mod users;

pub use outbox::Pending;
pub use sessions::{Asked, Ended, Grant, Issued, Rotation, Session, Which};
pub use upkeep::{Revoked, RevokedKind};
pub use users::User;

use crate::audit::Event;
use portcullis_core::UnixSeconds;
use prometheus::{IntCounterVec, IntGauge, Opts};
use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Executor as _, SqlStr, Transaction};
use std::time::Duration;

/// The database.
pub struct Db {
    readers: AnyPool,
    writer: AnyPool,
    begin: &'static str,
    queries: IntCounterVec,
}

type Tx = Transaction<'static, Any>;

/// What a query is for, in the counter of queries.
#[derive(Clone, Copy)]
enum Purpose {
    Outbox,
    Request,
    Setup,
    Upkeep,
}

/// What is done about tables that are not up to date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Migrate {
    /// They are brought up to date on SQLite; on Postgres that is for `migrate`, and a fault.
    Embedded,
    /// They are brought up to date.
    Now,
}

/// Returns the migrations of one database, in order. `sqlx::migrate!` would do the same, but its
/// crate of macros compiles both database drivers a second time, for the build machine.
macro_rules! migrations {
    ($folder:literal) => {
        Migrator::with_migrations(vec![
            migration(
                1,
                "start",
                include_str!(concat!("../migrations/", $folder, "/0001_start.sql")),
            ),
            migration(
                2,
                "access hash",
                include_str!(concat!("../migrations/", $folder, "/0002_access_hash.sql")),
            ),
            migration(
                3,
                "sessions end to end",
                include_str!(concat!("../migrations/", $folder, "/0003_sessions_end_to_end.sql")),
            ),
        ])
    };
}

fn migration(version: i64, description: &'static str, sql: &'static str) -> Migration {
    let sql = SqlStr::from_static(sql);
    Migration::new(version, description.into(), MigrationType::Simple, sql, false)
}

impl Db {
    /// Opens the database at `url`.
    pub async fn open(url: &str, migrate: Migrate) -> Result<Self, String> {
        Self::connect(url, migrate).await.map_err(|error| format!("DATABASE_URL: {error}"))
    }

    async fn connect(url: &str, migrate: Migrate) -> Result<Self, String> {
        sqlx::any::install_default_drivers();
        let said = |error: sqlx::Error| error.to_string();
        let sqlite = url.starts_with("sqlite:");
        let url = match (sqlite, url.contains('?')) {
            (true, false) => format!("{url}?mode=rwc"),
            _ => url.to_owned(),
        };
        if sqlite {
            make_private(&url).map_err(|error| error.to_string())?;
        }
        // A pool would try for a while, and then say that it did; one connection says why at once.
        let mut first = AnyConnection::connect(&url).await.map_err(said)?;
        if sqlite {
            first.execute(SQLITE_SETTINGS).await.map_err(said)?;
        }
        let migrator = if sqlite { migrations!("sqlite") } else { migrations!("postgres") };
        if sqlite || migrate == Migrate::Now {
            migrator
                .run_direct(None, &mut first, false)
                .await
                .map_err(|error| error.to_string())?;
        } else {
            is_current(&mut first, &migrator).await?;
        }
        first.close().await.map_err(said)?;
        let pool = async |most: u32| {
            let options = AnyPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(Duration::from_secs(3))
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        if sqlite {
                            connection.execute(SQLITE_SETTINGS).await?;
                        }
                        Ok(())
                    })
                });
            options.connect(&url).await.map_err(said)
        };
        let (readers, writer, begin) = if sqlite {
            (pool(4).await?, pool(1).await?, "BEGIN IMMEDIATE")
        } else {
            let pool = pool(16).await?;
            (pool.clone(), pool, "BEGIN")
        };
        let queries = Opts::new(
            "portcullis_auth_database_queries_total",
            "Queries sent to the database, by what they are for.",
        );
        let queries =
            IntCounterVec::new(queries, &["purpose"]).map_err(|error| error.to_string())?;
        Ok(Self { readers, writer, begin, queries })
    }

    /// The counter of queries, for the page of metrics.
    pub fn queries(&self) -> IntCounterVec {
        self.queries.clone()
    }

    /// Connections of the pools, as gauges for the page of metrics: all, and those that nobody uses.
    pub fn measure_pool(&self, all: &IntGauge, idle: &IntGauge) {
        let mut pools = vec![&self.readers];
        if self.begin != "BEGIN" {
            pools.push(&self.writer);
        }
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        all.set(pools.iter().map(|pool| i64::from(pool.size())).sum());
        idle.set(pools.iter().map(|pool| number(pool.num_idle())).sum());
    }

    /// Whether the database answers.
    pub async fn ready(&self) -> Result<(), sqlx::Error> {
        self.count(Purpose::Setup);
        sqlx::query("SELECT 1").execute(&self.readers).await.map(|_| ())
    }

    /// A transaction that writes.
    async fn begin(&self) -> Result<Tx, sqlx::Error> {
        self.writer.begin_with(self.begin).await
    }

    /// Notes events with the change that they tell of.
    async fn note(&self, tx: &mut Tx, events: &[Event], now: u64) -> Result<(), sqlx::Error> {
        for event in events {
            self.count(Purpose::Request);
            sqlx::query(
                "INSERT INTO audit (id, at, event, actor, user_id, session_id, address, device,
                 request_id, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(crate::token::random_name())
            .bind(seconds(now))
            .bind(event.happened.name())
            .bind(event.actor.name())
            .bind(event.user_id.clone())
            .bind(event.session_id.clone())
            .bind(event.whence.address.as_str())
            .bind(event.whence.device.as_str())
            .bind(event.whence.request_id.as_str())
            .bind(event.detail.as_str())
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    }

    /// Notes events that change nothing else.
    pub async fn note_alone(&self, events: &[Event], now: UnixSeconds) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        self.note(&mut tx, events, now.0).await?;
        tx.commit().await
    }

    /// The number that a statement gives.
    #[cfg(test)]
    pub async fn number(&self, statement: &str) -> Result<i64, sqlx::Error> {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        let row = sqlx::query(statement).fetch_all(&self.writer).await?;
        row.first().map_or(Ok(0), |row| {
            use sqlx::Row as _;
            row.try_get::<i64, _>(0).or_else(|_| row.try_get::<i32, _>(0).map(i64::from))
        })
    }

    fn count(&self, purpose: Purpose) {
        let purpose = match purpose {
            Purpose::Outbox => "outbox",
            Purpose::Request => "request",
            Purpose::Setup => "setup",
            Purpose::Upkeep => "upkeep",
        };
        self.queries.with_label_values(&[purpose]).inc();
    }
}

/// Makes the file of a database that is not there yet, for its owner alone: it holds the hashes of passwords. What SQLite
/// puts beside it has the same mode.
fn make_private(url: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() || path.starts_with(':') {
        return Ok(());
    }
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Whether the tables are those that this program knows.
async fn is_current(connection: &mut AnyConnection, migrator: &Migrator) -> Result<(), String> {
    use sqlx::Row as _;
    let newest = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
    let row = sqlx::query("SELECT MAX(version) AS version FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await;
    let version = row.and_then(|row| row.try_get::<Option<i64>, _>("version"));
    match version.ok().flatten() {
        Some(version) if version == newest => Ok(()),
        Some(version) if version > newest => {
            Err("the tables are of a newer version of this program".to_owned())
        }
        _ => Err("the tables are not up to date; run portcullis-auth migrate".to_owned()),
    }
}

fn seconds(moment: u64) -> i64 {
    i64::try_from(moment).unwrap_or(i64::MAX)
}

/// Readers don't wait for the writer, writers wait for each other, and a commit is on disk when it
/// returns.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;";
