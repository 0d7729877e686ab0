//! The auth service behind the edge: logins, refreshes, revocations and introspection. Its database
//! is the source of truth; the store holds only what the edge needs.
//!
//! `main.rs` is all there is around it:
//!
//! ```no_run
//! use portcullis_auth::Cli;
//! use portcullis_server::Log;
//!
//! # async fn program() -> std::process::ExitCode {
//! let cli = Cli::parse();
//! portcullis_auth::run(&cli, Log::start("auth")).await
//! # }
//! ```

mod accounts;
mod adjustments;
mod admin;
mod api_keys;
mod audit;
mod cli;
mod clients;
mod clock;
mod config;
mod console;
mod custom_claims;
mod db;
mod directory;
mod error;
mod http;
mod maintenance;
mod outbox;
mod problem;
mod random;
mod scope;
mod series;
mod sessions;
mod signing_keys;
mod steps;
mod store;
mod token;
mod usage;
mod was;

#[cfg(test)]
mod testing;

pub use cli::Cli;

use admin::{Admin, KeptSeconds};
use cli::{Action, ClientAction, SessionsAction, UserAction};
use config::{
    TABLE, read_api_keys, read_audit_seconds, read_config, read_database_url, read_health_check,
    read_idle_seconds, read_records, read_store, read_usage_seconds,
};
use db::{Db, Migrate};
use error::BoxError;
use portcullis_server::Log;
use portcullis_server::settings::{SettingError, SettingsReader, Sources};
use std::process::ExitCode;

/// Runs a command, and logs why it failed. Exits with 2 if the configuration is invalid.
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
        Err(Failure::Unhealthy) => ExitCode::FAILURE,
    }
}

/// The reason why a command failed.
enum Failure {
    Misconfigured(Vec<SettingError>),
    Stopped(BoxError),
    /// The checked server is unhealthy. The command has printed why.
    Unhealthy,
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Stopped(error.into())
    }
}

async fn dispatch(cli: &Cli, log: Log) -> Result<(), Failure> {
    if let Action::Completions(options) = &cli.action {
        return Ok(options.print(cli::command())?);
    }
    let environment = |name: &str| std::env::var(name).ok();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let sources = Sources {
        flags: cli.flags.clone(),
        environment: &environment,
        names: names.collect(),
        file: cli.file.as_deref(),
    };
    let mut reader = SettingsReader::new(&TABLE, sources);
    let url = read_database_url(&mut reader);
    let check = |reader: SettingsReader<'_>| match reader.into_errors() {
        errors if errors.is_empty() => Ok(()),
        errors => Err(Failure::Misconfigured(errors)),
    };
    let open = async |migrate| Db::open(&url, migrate).await;
    // The commands that also change the store need its settings.
    let store = match &cli.action {
        Action::Serve => {
            return match (read_config(&mut reader), reader.is_valid()) {
                (Some(config), true) => Ok(http::serve(config, log).await?),
                _ => Err(Failure::Misconfigured(reader.into_errors())),
            };
        }
        Action::Health(options) => {
            return match (read_health_check(&mut reader, *options), reader.is_valid()) {
                (Some(check), true) if check.run() => Ok(()),
                (Some(_), true) => Err(Failure::Unhealthy),
                _ => Err(Failure::Misconfigured(reader.into_errors())),
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
        Action::User { action: UserAction::List } => {
            check(reader)?;
            return Ok(admin::users::list_users(&open(Migrate::IfSqlite).await?).await?);
        }
        Action::Client { action: ClientAction::List } => {
            check(reader)?;
            return Ok(admin::clients::list(&open(Migrate::IfSqlite).await?).await?);
        }
        Action::Sessions { action: SessionsAction::List { username } } => {
            let idle_seconds = read_idle_seconds(&mut reader);
            check(reader)?;
            let db = open(Migrate::IfSqlite).await?;
            return Ok(admin::list_sessions(&db, username, idle_seconds).await?);
        }
        Action::Usage(options) => {
            check(reader)?;
            return Ok(admin::usage(&open(Migrate::IfSqlite).await?, options).await?);
        }
        Action::Block(_)
        | Action::Blocks
        | Action::Cleanup
        | Action::Client { .. }
        | Action::Completions(_)
        | Action::Credit { .. }
        | Action::Key { .. }
        | Action::Limit { .. }
        | Action::Reconcile
        | Action::Sessions { .. }
        | Action::Unblock(_)
        | Action::User { .. } => read_store(&mut reader),
    };
    let kept = KeptSeconds {
        idle: read_idle_seconds(&mut reader),
        audit: read_audit_seconds(&mut reader),
        usage: read_usage_seconds(&mut reader),
    };
    let (key_settings, records) = (read_api_keys(&mut reader), read_records(&mut reader));
    check(reader)?;
    let admin = Admin::new(open(Migrate::IfSqlite).await?, &store, records)?;
    match &cli.action {
        Action::Block(options) => admin.block(options).await?,
        Action::Blocks => admin.blocks().await?,
        Action::Credit { action } => admin.credit(action).await?,
        Action::Limit { action } => admin.limit(action).await?,
        Action::Unblock(options) => admin.unblock(options).await?,
        Action::Key { action } => admin.api_keys(action, key_settings).await?,
        Action::Cleanup => admin.clean_up(&kept).await?,
        Action::Client { action } => admin.client(action).await?,
        Action::Reconcile => admin.reconcile().await?,
        Action::Sessions { action } => admin.revoke(action).await?,
        Action::User { action } => admin.user(action).await?,
        Action::Completions(_)
        | Action::Health(_)
        | Action::Keys { .. }
        | Action::Migrate
        | Action::Serve
        | Action::Usage(_) => {}
    }
    Ok(())
}
