//! Redis Sentinel: finds the current master.
//!
//! A Sentinel that is cut off from the others keeps naming a master that they have replaced. So a
//! majority must respond, and the newest configuration among their responses counts.

use super::connection::DedicatedConnection;
use super::protocol::role;
use crate::redis_url::{Address, ConnectOptions};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis_rest::{Command, Reply};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// The Sentinels that watch one master.
pub struct Sentinels {
    addresses: Vec<Address>,
    /// How to connect to the Sentinels.
    options: ConnectOptions,
    /// The name of the master in the Sentinels' configuration.
    pub master_name: String,
    /// How to connect to the servers that they watch.
    pub master_options: ConnectOptions,
    /// The newest epoch so far. A majority may still be as old as the one before a failover.
    epoch: AtomicU64,
}

/// A master, as one Sentinel names it.
struct NamedMaster {
    address: Address,
    /// The epoch of the Sentinel's configuration, which each failover increases.
    epoch: u64,
}

impl Sentinels {
    pub fn new(
        addresses: Vec<Address>,
        options: ConnectOptions,
        master_name: String,
        master_options: ConnectOptions,
    ) -> Self {
        Self { addresses, options, master_name, master_options, epoch: AtomicU64::new(0) }
    }

    /// Returns the address of the master in the newest configuration of a majority.
    ///
    /// Queries all Sentinels at once. Returns `Err` with the reason if fewer than a majority
    /// respond, or if all responses are older than an earlier response.
    pub async fn master(&self) -> Result<Address, String> {
        let majority = self.addresses.len() / 2 + 1;
        let mut answers: FuturesUnordered<_> =
            self.addresses.iter().map(|address| self.query_in_time(address)).collect();
        let mut newest: Option<NamedMaster> = None;
        let (mut count, mut errors) = (0, Vec::new());
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(master) => {
                    count += 1;
                    newest = newest.into_iter().chain([master]).max_by_key(|master| master.epoch);
                }
                Err(why) => errors.push(why),
            }
            if count >= majority
                && let Some(newest) = &newest
                && newest.epoch >= self.epoch.fetch_max(newest.epoch, Ordering::SeqCst)
            {
                return Ok(newest.address.clone());
            }
        }
        // All Sentinels agree on an older configuration only if they were set up again themselves.
        if count == self.addresses.len()
            && let Some(newest) = newest
        {
            self.epoch.store(newest.epoch, Ordering::SeqCst);
            return Ok(newest.address);
        }
        let all = self.addresses.len();
        errors.insert(0, format!("{count} of {all} Sentinels are up to date; {majority} must be"));
        Err(errors.join("; "))
    }

    async fn query_in_time(&self, address: &Address) -> Result<NamedMaster, String> {
        match timeout(QUERY_TIMEOUT, self.query(address)).await {
            Ok(Ok(master)) => Ok(master),
            Ok(Err(why)) => Err(format!("Sentinel {address}: {why}")),
            Err(_) => Err(format!("Sentinel {address}: no response in time")),
        }
    }

    async fn query(&self, address: &Address) -> Result<NamedMaster, String> {
        let mut connection = DedicatedConnection::open(address, &self.options).await?;
        let sentinel = |query: &str| Command::new("SENTINEL").arg(query).arg(&self.master_name);
        // The epoch is queried first, so that it is never newer than the address.
        let facts =
            connection.query(&sentinel("MASTER")).await.map_err(|error| error.to_string())?;
        let epoch = match &facts {
            Reply::Error(text) => return Err(text.clone()),
            facts => parse_epoch(facts).ok_or("a response without config-epoch")?,
        };
        // During a failover, this names the new master before SENTINEL MASTER does.
        let query = sentinel("GET-MASTER-ADDR-BY-NAME");
        match connection.query(&query).await.map_err(|error| error.to_string())? {
            Reply::Error(text) => Err(text),
            Reply::Null => Err(format!("does not know the master {}", self.master_name)),
            reply => {
                let address = parse_address(&reply).ok_or("a response without an address")?;
                Ok(NamedMaster { address, epoch })
            }
        }
    }
}

/// Returns the configuration's epoch in a reply to SENTINEL MASTER.
fn parse_epoch(facts: &Reply) -> Option<u64> {
    let Reply::Array(facts) = facts else { return None };
    let mut pairs = facts.chunks_exact(2).filter_map(|pair| match pair {
        [name, value] => Some((name.as_text()?, value.as_text()?)),
        _ => None,
    });
    pairs.find(|(name, _)| *name == "config-epoch")?.1.parse().ok()
}

/// Returns the address in a reply to SENTINEL GET-MASTER-ADDR-BY-NAME.
fn parse_address(reply: &Reply) -> Option<Address> {
    let Reply::Array(fields) = reply else { return None };
    let [host, port] = fields.as_slice() else { return None };
    Some(Address { host: host.as_text()?.to_owned(), port: port.as_text()?.parse().ok()? })
}

/// Returns whether a server reports that it is a master.
pub async fn is_master(connection: &mut DedicatedConnection) -> bool {
    match connection.query(&Command::new("ROLE")).await {
        // Without permission for ROLE, the Sentinels' response must be enough.
        Ok(Reply::Error(text)) => text.starts_with("NOPERM"),
        Ok(reply) => role(&reply) == Some("master"),
        Err(_) => false,
    }
}

/// The timeout is short: Sentinels are close by, and respond from memory.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Reply {
        Reply::Array(texts.iter().map(|text| Reply::text(text)).collect())
    }

    #[test]
    fn epoch_and_address_are_parsed() {
        let facts = ["name", "mymaster", "ip", "10.0.0.1", "config-epoch", "7", "quorum", "2"];
        assert_eq!(parse_epoch(&texts(&facts)), Some(7));
        assert_eq!(parse_epoch(&texts(&["config-epoch"])), None);
        assert_eq!(parse_epoch(&texts(&["config-epoch", "-1"])), None);
        assert_eq!(parse_epoch(&Reply::Null), None);
        let address = Address { host: "10.0.0.1".to_owned(), port: 6379 };
        assert_eq!(parse_address(&texts(&["10.0.0.1", "6379"])), Some(address));
        assert_eq!(parse_address(&texts(&["10.0.0.1", "70000"])), None);
        assert_eq!(parse_address(&texts(&["10.0.0.1"])), None);
    }
}
