//! The origin: the auth service behind the edge. It owns the truth, in a database; the store only
//! holds what the edge must know.
//!
//! `http.rs` takes requests, `session.rs` has the rules of login, refresh and logout, `token.rs` signs,
//! `password.rs` hashes, `attempts.rs` slows down
//! who guesses, `store.rs` talks to the store, `db.rs` has all SQL, `publish.rs` brings the store in step.

mod attempts;
mod client;
mod config;
mod db;
mod edge_metrics;
mod error;
mod http;
mod password;
mod publish;
mod session;
mod store;
mod token;

use clap::Parser as _;
use config::{Action, Config, Settings, UserAction};
use portcullis_core::UnixSeconds;
use std::io::Read as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .json()
        .with_span_list(false)
        .with_max_level(tracing::Level::INFO)
        .init();
    let settings = Settings::parse();
    let outcome = match &settings.action {
        Action::Migrate => db::Db::open(&settings.database).await.map(|_| ()).map_err(Into::into),
        Action::Serve(serve) => match Config::parse(serve) {
            Ok(config) => http::serve(config, &settings.database).await,
            Err(faults) => {
                for fault in faults {
                    tracing::error!(event = "configuration_faulty", %fault);
                }
                return ExitCode::from(2);
            }
        },
        Action::User { action: UserAction::Add(user) } => add_user(user, &settings.database).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(event = "stopped", %error);
            ExitCode::FAILURE
        }
    }
}

/// What a command may fail with, on its way to the log.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

async fn add_user(user: &config::NewUser, database: &config::Database) -> Outcome {
    let mut password = String::new();
    std::io::stdin().take(4096).read_to_string(&mut password)?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > password::PASSWORD_BYTES_MAX {
        return Err(format!(
            "give a password of 1 to {} bytes on standard input",
            password::PASSWORD_BYTES_MAX
        )
        .into());
    }
    let hash = password::hash(password)?;
    let db = db::Db::open(database).await?;
    let added =
        db.add_user(&token::random_name(), &user.username, &hash, &user.scope, now()).await?;
    if !added {
        return Err(format!("a user named {} exists already", user.username).into());
    }
    tracing::info!(event = "user_added", username = user.username, scope = user.scope);
    Ok(())
}

/// The only clock.
fn now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()))
}
