//! The Sentinels: who is the master now.

use super::connection::Own;
use crate::redis_url::{Address, How};
use futures_util::future::select_ok;
use redis_rest::{Command, Reply};
use std::time::Duration;
use tokio::time::timeout;

pub struct Sentinels {
    addresses: Vec<Address>,
    /// How they are spoken to.
    asking: How,
    pub name: String,
    /// How the servers that they watch are spoken to.
    pub how: How,
}

impl Sentinels {
    pub fn new(addresses: Vec<Address>, asking: How, name: String, how: How) -> Self {
        Self { addresses, asking, name, how }
    }

    /// The master's address, by the first Sentinel that tells it; all are asked at once.
    pub async fn master(&self) -> Result<Address, String> {
        let asked = self.addresses.iter().map(|address| {
            Box::pin(async move {
                match timeout(ASK_MAX, self.ask(address)).await {
                    Ok(Ok(master)) => Ok(master),
                    Ok(Err(why)) => Err(format!("Sentinel {address}: {why}")),
                    Err(_) => Err(format!("Sentinel {address}: no answer in time")),
                }
            })
        });
        select_ok(asked).await.map(|(master, _)| master)
    }

    async fn ask(&self, address: &Address) -> Result<Address, String> {
        let mut own = Own::open(address, &self.asking).await?;
        let ask = Command::new("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        match own.ask(&ask).await.map_err(|error| error.to_string())? {
            Reply::Array(words) => match words.as_slice() {
                [host, port] => host
                    .as_text()
                    .zip(port.as_text().and_then(|port| port.parse().ok()))
                    .map(|(host, port)| Address { host: host.to_owned(), port })
                    .ok_or_else(|| "an address that is none".to_owned()),
                _ => Err("an answer of another shape".to_owned()),
            },
            Reply::Null => Err(format!("knows no master {}", self.name)),
            Reply::Error(text) => Err(text),
            Reply::Bulk(_) | Reply::Integer(_) | Reply::Status(_) => {
                Err("an answer of another shape".to_owned())
            }
        }
    }
}

/// Whether a server calls itself a master.
pub async fn is_master(own: &mut Own) -> bool {
    match own.ask(&Command::new("ROLE")).await {
        Ok(Reply::Array(role)) => role.first().and_then(Reply::as_text) == Some("master"),
        // Who may not ask for the role has the Sentinel's word alone.
        Ok(Reply::Error(text)) => text.starts_with("NOPERM"),
        Ok(_) | Err(_) => false,
    }
}

const ASK_MAX: Duration = Duration::from_secs(1);
