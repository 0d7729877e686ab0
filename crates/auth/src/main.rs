//! The auth service: the auth service behind the edge. It owns the truth, in a database; the store only
//! holds what the edge must know.
//!
//! `http.rs` takes requests, `session.rs` has the rules of login, refresh and revocation, `keys.rs` the keys that
//! sign, `token.rs` the tokens' form, `password.rs` hashes, `attempts.rs` slows down who guesses, `db.rs` has all
//! SQL, `publish.rs` brings the store in step, `store.rs` talks to it, `upkeep.rs` looks after all that meanwhile,
//! `audit.rs` says what happened, and `admin.rs` has the operator's commands.

mod admin;
mod attempts;
mod audit;
mod client;
mod config;
mod db;
mod edge_metrics;
mod error;
mod http;
mod keys;
mod password;
mod publish;
mod session;
mod store;
mod token;
mod upkeep;

use admin::Admin;
use clap::Parser as _;
use config::{Action, ConfigError, Reader, SessionsAction, Settings, UserAction};
use db::{Db, Migrate};
use portcullis_core::UnixSeconds;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .json()
        .with_span_list(false)
        .with_max_level(tracing::Level::INFO)
        .init();
    match run(&Settings::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Misconfigured(faults)) => {
            for fault in faults {
                tracing::error!(event = "configuration_invalid", %fault);
            }
            ExitCode::from(2)
        }
        Err(Failure::Stopped(error)) => {
            tracing::error!(event = "stopped", %error);
            ExitCode::FAILURE
        }
    }
}

/// Why the program ends without having done what it was asked.
enum Failure {
    Misconfigured(Vec<ConfigError>),
    Stopped(Box<dyn std::error::Error + Send + Sync>),
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Stopped(error.into())
    }
}

/// What a command may fail with, on its way to the log.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

async fn run(settings: &Settings) -> Result<(), Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut reader = Reader::new(&environment, settings.file.as_deref());
    let url = reader.database_url(&settings.shared);
    let good = |reader: Reader<'_>| match reader.faults.is_empty() {
        true => Ok(()),
        false => Err(Failure::Misconfigured(reader.faults)),
    };
    let open = async |migrate| Db::open(&url, migrate).await;
    // What a command revokes is told to the store, so that it needs all that leads there.
    let link = match &settings.action {
        Action::Serve(serve) => {
            return match (reader.serve(&settings.shared, serve), reader.faults.is_empty()) {
                (Some(config), true) => Ok(http::serve(config).await?),
                _ => Err(Failure::Misconfigured(reader.faults)),
            };
        }
        Action::Migrate => {
            good(reader)?;
            return Ok(open(Migrate::Now).await.map(drop)?);
        }
        Action::Keys { action } => {
            good(reader)?;
            return Ok(admin::keys(&open(Migrate::Embedded).await?, action).await?);
        }
        Action::User { action: UserAction::Add { username, scope } } => {
            good(reader)?;
            return Ok(admin::add_user(&open(Migrate::Embedded).await?, username, scope).await?);
        }
        Action::Sessions { action: SessionsAction::List { username } } => {
            let idle = reader.idle_seconds(&settings.shared);
            good(reader)?;
            let db = open(Migrate::Embedded).await?;
            return Ok(admin::list_sessions(&db, username, idle).await?);
        }
        Action::Cleanup | Action::Reconcile | Action::Sessions { .. } | Action::User { .. } => {
            reader.link(&settings.shared)
        }
    };
    let (idle, audit) =
        (reader.idle_seconds(&settings.shared), reader.audit_seconds(&settings.shared));
    good(reader)?;
    let admin = Admin::new(open(Migrate::Embedded).await?, &link)?;
    match &settings.action {
        Action::Cleanup => admin.clean_up(idle, audit).await?,
        Action::Reconcile => admin.reconcile().await?,
        Action::Sessions { action } => admin.revoke(action).await?,
        Action::User { action } => admin.user(action).await?,
        Action::Keys { .. } | Action::Migrate | Action::Serve(_) => {}
    }
    Ok(())
}

/// The only clock.
fn now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()))
}
