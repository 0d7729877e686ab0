//! The auth service behind the edge: logins, refreshes, revocations and introspection. Its database
//! is the source of truth; the store holds only what the edge needs.

mod accounts;
mod admin;
mod audit;
mod clock;
mod config;
mod db;
mod edge_metrics;
mod error;
mod http;
mod keys;
mod problem;
mod publish;
mod random;
mod session;
mod store;
mod token;
mod upkeep;

pub use config::Settings;

use admin::Admin;
use config::{Action, ConfigError, Reader, SessionsAction, UserAction};
use db::{Db, Migrate};
use error::BoxError;
use std::process::ExitCode;

/// Runs a command and logs why it failed. Exits with 2 if the configuration is invalid.
pub async fn run(settings: &Settings) -> ExitCode {
    match dispatch(settings).await {
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

async fn dispatch(settings: &Settings) -> Result<(), Failure> {
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
