//! The gateway: the Upstash REST protocol on one side, a Redis on the other.
//!
//! `http.rs` speaks the protocol, `command.rs` decides what may be sent over a shared connection,
//! `backend.rs` talks to Redis, `config.rs` reads the settings.

mod backend;
mod command;
mod config;
mod http;

use backend::Backend;
use clap::Parser as _;
use config::{Config, Settings};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .json()
        .with_current_span(false)
        .with_max_level(tracing::Level::INFO)
        .init();
    let config = match Config::parse(Settings::parse()) {
        Ok(config) => config,
        Err(faults) => {
            for fault in faults {
                tracing::error!(event = "configuration_faulty", %fault);
            }
            return ExitCode::from(2);
        }
    };
    match serve(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(event = "stopped", %error);
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("can't listen on {}: {error}", config.listen))?;
    let backend = Backend::new(&config)?;
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(event = "listening", address = %listener.local_addr()?);
    axum::serve(listener, http::router(config, backend)?)
        .with_graceful_shutdown(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!(event = "draining");
        })
        .await?;
    Ok(())
}
