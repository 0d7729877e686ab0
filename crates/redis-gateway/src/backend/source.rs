//! The server that a pool connects to.

use super::connection::DedicatedConnection;
use super::sentinel::{Sentinels, is_master};
use crate::redis_url::{Address, ConnectOptions};
use std::fmt;

/// The server that a pool connects to.
pub enum Source {
    /// A server with a fixed address.
    Fixed { address: Address, options: ConnectOptions },
    /// The master that the Sentinels currently name.
    Sentinel(Sentinels),
}

/// An open connection and the server that it leads to.
pub struct Opened {
    /// The server.
    pub address: Address,
    /// The connection, authenticated.
    pub connection: DedicatedConnection,
}

impl Source {
    /// Opens a connection to the current server. Returns `Err` with the reason, for the log.
    pub async fn open(&self) -> Result<Opened, String> {
        let (address, options) = match self {
            Self::Fixed { address, options } => (address.clone(), options),
            Self::Sentinel(sentinels) => (sentinels.master().await?, &sentinels.master_options),
        };
        let mut connection = DedicatedConnection::open(&address, options).await?;
        // A Sentinel may not know yet that another server was promoted.
        if matches!(self, Self::Sentinel(_)) && !is_master(&mut connection).await {
            return Err(format!("{address} is not the master"));
        }
        Ok(Opened { address, connection })
    }
}

/// Formats the server for the log.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { address, .. } => address.fmt(f),
            Self::Sentinel(sentinels) => write!(f, "the master {}", sentinels.master_name),
        }
    }
}
