//! Redis Sentinel: finds the current master.

use super::connection::DedicatedConnection;
use super::protocol::role;
use crate::redis_url::{Address, ConnectOptions};
use futures_util::future::select_ok;
use redis_rest::{Command, Reply};
use std::time::Duration;
use tokio::time::timeout;

/// The Sentinels that watch one master.
pub struct Sentinels {
    pub addresses: Vec<Address>,
    /// How to connect to the Sentinels.
    pub options: ConnectOptions,
    pub master_name: String,
    /// How to connect to the servers that they watch.
    pub master_options: ConnectOptions,
}

impl Sentinels {
    /// Returns the master's address from the first Sentinel that names one.
    ///
    /// All Sentinels are queried at once. Returns `Err` with the reason if none names a master.
    pub async fn master(&self) -> Result<Address, String> {
        let queries = self.addresses.iter().map(|address| {
            Box::pin(async move {
                match timeout(QUERY_TIMEOUT, self.query(address)).await {
                    Ok(Ok(master)) => Ok(master),
                    Ok(Err(why)) => Err(format!("Sentinel {address}: {why}")),
                    Err(_) => Err(format!("Sentinel {address}: no answer in time")),
                }
            })
        });
        select_ok(queries).await.map(|(master, _)| master)
    }

    async fn query(&self, address: &Address) -> Result<Address, String> {
        let mut connection = DedicatedConnection::open(address, &self.options).await?;
        let query = Command::new("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master_name);
        match connection.query(&query).await.map_err(|error| error.to_string())? {
            Reply::Array(fields) => match fields.as_slice() {
                [host, port] => host
                    .as_text()
                    .zip(port.as_text().and_then(|port| port.parse().ok()))
                    .map(|(host, port)| Address { host: host.to_owned(), port })
                    .ok_or_else(|| "an address that is none".to_owned()),
                _ => Err("an answer of another shape".to_owned()),
            },
            Reply::Null => Err(format!("knows no master {}", self.master_name)),
            Reply::Error(text) => Err(text),
            Reply::Bulk(_) | Reply::Integer(_) | Reply::Status(_) => {
                Err("an answer of another shape".to_owned())
            }
        }
    }
}

/// Returns whether a server says that it is a master.
pub async fn is_master(connection: &mut DedicatedConnection) -> bool {
    match connection.query(&Command::new("ROLE")).await {
        // Without permission for ROLE, the Sentinel's answer has to do.
        Ok(Reply::Error(text)) => text.starts_with("NOPERM"),
        Ok(reply) => role(&reply) == Some("master"),
        Err(_) => false,
    }
}

/// Sentinels are close by, and their answer comes from memory.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
