//! The auth service behind the edge: logins, refreshes, revocations and introspection. Its database
//! is the source of truth; the store holds only what the edge needs.
//!
//! `main.rs` is all there is around it:
//!
//! ```no_run
//! use clap::Parser as _;
//! use portcullis_auth::Cli;
//! use portcullis_server::Log;
//!
//! # async fn program() -> std::process::ExitCode {
//! let cli = Cli::parse_from(["portcullis-auth", "serve", "--listen", "127.0.0.1:8788"]);
//! portcullis_auth::run(&cli, Log::start("auth")).await
//! # }
//! ```

mod accounts;
mod admin;
mod audit;
mod cli;
mod clock;
mod config;
mod db;
mod error;
mod http;
mod maintenance;
mod outbox;
mod problem;
mod random;
mod sessions;
mod signing_keys;
mod store;
mod token;

#[cfg(test)]
mod testing;

pub use cli::Cli;

use admin::Admin;
use cli::{Action, SessionsAction, UserAction};
use config::{ConfigError, SettingsReader};
use db::{Db, Migrate};
use error::BoxError;
use portcullis_server::Log;
use std::process::ExitCode;

/// Runs a command and logs why it failed. Exits with 2 if the configuration is invalid.
pub async fn run(cli: &Cli, log: Log) -> ExitCode {
    match dispatch(cli, log).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Misconfigured(errors)) => {
            for error in errors {
                tracing::error!(event = "configuration_invalid", fault = %error);
            }
            ExitCode::from(2)
        }
        Err(Failure::Stopped(error)) => {
            tracing::error!(event = "stopped", %error);
            ExitCode::FAILURE
        }
    }
}

/// The reason why a command failed.
enum Failure {
    Misconfigured(Vec<ConfigError>),
    Stopped(BoxError),
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Stopped(error.into())
    }
}

async fn dispatch(cli: &Cli, log: Log) -> Result<(), Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut reader = SettingsReader::new(&environment, cli.file.as_deref());
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    reader.check_names(names);
    let url = reader.database_url(&cli.shared);
    let check = |reader: SettingsReader<'_>| match reader.errors.is_empty() {
        true => Ok(()),
        false => Err(Failure::Misconfigured(reader.errors)),
    };
    let open = async |migrate| Db::open(&url, migrate).await;
    // The commands that change the store, too, need its settings.
    let store = match &cli.action {
        Action::Serve(serve) => {
            return match (reader.serve(&cli.shared, serve), reader.errors.is_empty()) {
                (Some(config), true) => Ok(http::serve(config, log).await?),
                _ => Err(Failure::Misconfigured(reader.errors)),
            };
        }
        Action::Migrate => {
            check(reader)?;
            return Ok(open(Migrate::Always).await.map(drop)?);
        }
        Action::Keys { action } => {
            check(reader)?;
            return Ok(admin::keys(&open(Migrate::IfSqlite).await?, action).await?);
        }
        Action::User { action: UserAction::Add { username, scope } } => {
            check(reader)?;
            return Ok(admin::add_user(&open(Migrate::IfSqlite).await?, username, scope).await?);
        }
        Action::Sessions { action: SessionsAction::List { username } } => {
            let idle_seconds = reader.idle_seconds(&cli.shared);
            check(reader)?;
            let db = open(Migrate::IfSqlite).await?;
            return Ok(admin::list_sessions(&db, username, idle_seconds).await?);
        }
        Action::Cleanup | Action::Reconcile | Action::Sessions { .. } | Action::User { .. } => {
            reader.store(&cli.shared)
        }
    };
    let (idle_seconds, audit_seconds) =
        (reader.idle_seconds(&cli.shared), reader.audit_seconds(&cli.shared));
    check(reader)?;
    let admin = Admin::new(open(Migrate::IfSqlite).await?, &store)?;
    match &cli.action {
        Action::Cleanup => admin.clean_up(idle_seconds, audit_seconds).await?,
        Action::Reconcile => admin.reconcile().await?,
        Action::Sessions { action } => admin.revoke(action).await?,
        Action::User { action } => admin.user(action).await?,
        Action::Keys { .. } | Action::Migrate | Action::Serve(_) => {}
    }
    Ok(())
}
