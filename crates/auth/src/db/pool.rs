//! The connection pools and the migrations.
//!
//! SQLite has one writer, for which other writers wait in this process, and several readers.
//! Searches and sums, which may read many rows, have connections of their own, so that logins never
//! wait for them.

use super::migrations;
use prometheus::{IntCounterVec, IntGauge, Opts};
use sqlx::any::AnyPoolOptions;
use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Executor as _, Row as _,
    Transaction,
};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The database.
pub struct Db {
    pub(super) readers: AnyPool,
    /// For lists with conditions of a request, and for sums.
    pub(super) searchers: AnyPool,
    pub(super) writer: AnyPool,
    begin: &'static str,
    queries: IntCounterVec,
}

/// A transaction.
pub(crate) type Tx = Transaction<'static, Any>;

/// The purpose of a query: a label of the counter of queries.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Maintenance,
    Outbox,
    Request,
    Series,
    Setup,
    Usage,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Maintenance => "upkeep",
            Self::Outbox => "outbox",
            Self::Request => "request",
            Self::Series => "series",
            Self::Setup => "setup",
            Self::Usage => "usage",
        }
    }
}

/// When to migrate outdated tables.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Migrate {
    /// Migrates SQLite. With Postgres, outdated tables are an error, because only a command
    /// migrates them.
    IfSqlite,
    /// Migrates both.
    Always,
}

impl Db {
    /// Opens the database at `url`.
    pub async fn open(url: &str, migrate: Migrate) -> Result<Self, String> {
        Self::connect(url, migrate).await.map_err(|error| format!("DATABASE_URL: {error}"))
    }

    async fn connect(url: &str, migrate: Migrate) -> Result<Self, String> {
        sqlx::any::install_default_drivers();
        let text = |error: sqlx::Error| error.to_string();
        let is_sqlite = url.starts_with("sqlite:");
        let url = match (is_sqlite, url.contains('?')) {
            (true, false) => format!("{url}?mode=rwc"),
            _ => url.to_owned(),
        };
        if is_sqlite {
            create_private_file(&url).map_err(|error| error.to_string())?;
        }
        // A pool would retry and then report a timeout. A single connection reports the cause at
        // once.
        let first = AnyConnection::connect(&url);
        let first = timeout(CONNECT_TIMEOUT, first).await.map_err(|_| "it does not answer")?;
        let mut first = first.map_err(text)?;
        if is_sqlite {
            first.execute(SQLITE_SETTINGS).await.map_err(text)?;
        }
        let migrator = if is_sqlite { migrations::sqlite() } else { migrations::postgres() };
        let newest = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
        let schema = schema_version(&mut first).await;
        if schema > newest {
            return Err(format!(
                "its tables are of schema {schema}, and this program knows schema {newest} at \
                 most; start the newer portcullis-auth, or restore the backup from before the \
                 upgrade"
            ));
        }
        if is_sqlite || migrate == Migrate::Always {
            migrator
                .run_direct(None, &mut first, false)
                .await
                .map_err(|error| error.to_string())?;
        } else if schema < newest {
            return Err("the tables are not up to date; run portcullis-auth migrate".to_owned());
        }
        first.close().await.map_err(text)?;
        let pool = async |connections_max: u32| {
            let options = AnyPoolOptions::new()
                .max_connections(connections_max)
                .acquire_timeout(Duration::from_secs(3))
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        let settings = if is_sqlite { SQLITE_SETTINGS } else { POSTGRES_SETTINGS };
                        connection.execute(settings).await?;
                        Ok(())
                    })
                });
            let options = if is_sqlite { options } else { with_bounded_checks(options) };
            options.connect(&url).await.map_err(text)
        };
        let (readers, writer, begin) = if is_sqlite {
            (pool(4).await?, pool(1).await?, "BEGIN IMMEDIATE")
        } else {
            let pool = pool(16).await?;
            (pool.clone(), pool, BEGIN_POSTGRES)
        };
        let searchers = pool(SEARCHERS_MAX).await?;
        let queries = Opts::new(
            "portcullis_auth_database_queries_total",
            "Queries sent to the database, by purpose.",
        );
        let queries =
            IntCounterVec::new(queries, &["purpose"]).map_err(|error| error.to_string())?;
        Ok(Self { readers, searchers, writer, begin, queries })
    }

    /// Returns the counter of queries, to be registered with the metrics.
    pub fn queries(&self) -> IntCounterVec {
        self.queries.clone()
    }

    /// Sets gauges to the number of connections: all of them, and the idle ones. Those for searches
    /// do not count, because no login could use an idle one.
    pub fn measure_pool(&self, all: &IntGauge, idle: &IntGauge) {
        let mut pools = vec![&self.readers];
        if !self.is_postgres() {
            pools.push(&self.writer);
        }
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        all.set(pools.iter().map(|pool| i64::from(pool.size())).sum());
        idle.set(pools.iter().map(|pool| number(pool.num_idle())).sum());
    }

    /// Runs a query. Returns `Err` if the database is unavailable.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        self.count(Purpose::Setup);
        bounded(async { sqlx::query("SELECT 1").execute(&self.readers).await.map(|_| ()) }).await
    }

    /// Checks all idle connections at once, and closes those whose server does not respond.
    pub async fn check_connections(&self) {
        let mut checks = JoinSet::new();
        for pool in [&self.readers, &self.searchers] {
            for _ in 0..pool.num_idle() {
                let pool = pool.clone();
                // The pool checks a connection when it hands it out and when it takes it back.
                checks.spawn(async move { pool.acquire().await.map(drop) });
            }
        }
        checks.join_all().await;
    }

    pub(super) fn is_postgres(&self) -> bool {
        self.begin == BEGIN_POSTGRES
    }

    /// Returns a statement that skips locked rows at its marker `/* skip locked */`. SQLite has one
    /// writer, so its rows are never locked.
    pub(super) fn skipping_locked(&self, statement: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(match self.is_postgres() {
            true => statement.replace("/* skip locked */", "FOR UPDATE SKIP LOCKED"),
            false => statement.to_owned(),
        })
    }

    /// Returns a statement that locks rows against changes at its marker `/* for share */`, or
    /// those of one table at `/* for share of u */`. SQLite's one writer needs no such lock.
    pub(super) fn sharing_lock(&self, statement: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(match self.is_postgres() {
            true => statement
                .replace("/* for share */", "FOR SHARE")
                .replace("/* for share of u */", "FOR SHARE OF u"),
            false => statement.to_owned(),
        })
    }

    /// Returns a statement that compares texts byte by byte at its marker `/* bytewise */`. SQLite
    /// does so anyway.
    pub(super) fn bytewise(&self, statement: &str) -> String {
        match self.is_postgres() {
            true => statement.replace("/* bytewise */", "COLLATE \"C\""),
            false => statement.to_owned(),
        }
    }

    /// Returns what to select rows from that are the elements of a JSON array, each as `value`. So
    /// one statement writes any number of rows. Without a condition, SQLite would read a following
    /// `ON CONFLICT` as that of a join.
    pub(super) fn json_rows(&self, parameter: &str) -> String {
        match self.is_postgres() {
            true => {
                format!("json_array_elements(CAST({parameter} AS JSON)) AS rows (value) WHERE true")
            }
            false => format!("json_each({parameter}) WHERE true"),
        }
    }

    /// Begins a transaction that may write.
    pub(super) async fn begin(&self) -> Result<Tx, sqlx::Error> {
        self.writer.begin_with(self.begin).await
    }

    /// Returns the number in the first row of a statement's result, or 0.
    #[cfg(test)]
    pub async fn query_number(&self, statement: &str) -> Result<i64, sqlx::Error> {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        let row = sqlx::query(statement).fetch_all(&self.writer).await?;
        row.first().map_or(Ok(0), |row| {
            row.try_get::<i64, _>(0).or_else(|_| row.try_get::<i32, _>(0).map(i64::from))
        })
    }

    /// Executes a statement.
    #[cfg(test)]
    pub async fn execute(&self, statement: &str) -> Result<(), sqlx::Error> {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        sqlx::query(statement).execute(&self.writer).await.map(|_| ())
    }

    /// Counts a query. Every query of this module is counted.
    pub(super) fn count(&self, purpose: Purpose) {
        self.queries.with_label_values(&[purpose.label()]).inc();
    }
}

/// Bounds the checks of a connection before and after its use. Without a bound, a frozen server
/// would keep each of its connections in use for ever.
fn with_bounded_checks(options: AnyPoolOptions) -> AnyPoolOptions {
    options
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(is_responsive(connection)))
        .after_release(|connection, _| Box::pin(is_responsive(connection)))
}

async fn is_responsive(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    let ping = timeout(PING_TIMEOUT, connection.ping()).await;
    ping.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
}

/// Waits for a query for a limited time. After that, the pool closes the query's connection if the
/// server does not respond.
pub(super) async fn bounded<T>(
    query: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(QUERY_TIMEOUT, query).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Creates the file of a new database, readable by its owner only, because it will contain password
/// hashes. SQLite creates its other files with the same mode.
fn create_private_file(url: &str) -> std::io::Result<()> {
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

/// Returns the version of the newest migration that the tables have; 0 if they have none.
async fn schema_version(connection: &mut AnyConnection) -> i64 {
    let row = sqlx::query("SELECT MAX(version) AS version FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await;
    let version = row.and_then(|row| row.try_get::<Option<i64>, _>("version"));
    version.ok().flatten().unwrap_or(0)
}

/// Converts a number for the database, which has signed integers only.
pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The connections for searches and sums.
const SEARCHERS_MAX: u32 = 2;
const PING_TIMEOUT: Duration = Duration::from_secs(1);
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// The server ends statements that this program no longer waits for: a request waits 10 s.
const POSTGRES_SETTINGS: &str =
    "SET statement_timeout = '8s'; SET idle_in_transaction_session_timeout = '10s';";

/// Readers don't wait for the writer; writers wait for each other. A commit is on disk when it
/// returns.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;";

/// The statement that begins a transaction on Postgres.
const BEGIN_POSTGRES: &str = "BEGIN";
