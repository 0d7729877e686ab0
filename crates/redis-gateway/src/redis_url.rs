//! REDIS_URL: the kind of Redis deployment, and how to connect to its servers.

use rustls::ClientConfig;
use std::fmt;
use std::sync::Arc;

/// The Redis behind the gateway.
pub enum Deployment {
    Cluster {
        seeds: Vec<Address>,
        options: ConnectOptions,
    },
    Sentinel {
        sentinels: Vec<Address>,
        sentinel_options: ConnectOptions,
        master_name: String,
        options: ConnectOptions,
    },
    Standalone {
        address: Address,
        options: ConnectOptions,
    },
}

/// The address of a server.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How to connect to a server.
#[derive(Clone, Default)]
pub struct ConnectOptions {
    /// `None` connects in plain text.
    pub tls: Option<Arc<ClientConfig>>,
    /// The user of AUTH; `None` means Redis's user `default`.
    pub username: Option<String>,
    /// The password of AUTH; `None` sends no AUTH.
    pub password: Option<Secret>,
    /// The database of SELECT.
    pub database: u32,
}

/// A password, which `Debug` hides.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the text of a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for AUTH only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Settings that REDIS_URL does not contain.
#[derive(Clone, Default)]
pub struct ExtraOptions {
    /// For `rediss://`.
    pub tls: Option<Arc<ClientConfig>>,
    /// The user of AUTH at the Sentinels.
    pub sentinel_username: Option<String>,
    /// The password of AUTH at the Sentinels; `None` sends no AUTH.
    pub sentinel_password: Option<Secret>,
}

impl Deployment {
    /// Parses `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    ///
    /// Several hosts and a master's name mean Sentinels; several hosts alone, or `?cluster`, mean a
    /// Cluster. Returns `None` if the URL is malformed.
    pub fn parse(url: &str, extra: &ExtraOptions) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let tls = match scheme {
            "redis" => None,
            "rediss" => Some(extra.tls.clone()?),
            _ => return None,
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let is_cluster = match query {
            "" => false,
            "cluster" | "cluster=true" => true,
            _ => return None,
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (userinfo, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let options = ConnectOptions {
            tls: tls.clone(),
            username: decode(username)?,
            password: decode(password)?.map(Secret),
            database: 0,
        };
        // AUTH with a username needs a password.
        if options.username.is_some() && options.password.is_none() {
            return None;
        }
        let addresses = |port: u16| -> Option<Vec<Address>> {
            hosts.split(',').map(|host| Address::parse(host.trim(), port)).collect()
        };
        let database = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
        let (first, second) = path.split_once('/').unwrap_or((path, ""));
        if !first.is_empty() && first.parse::<u32>().is_err() {
            let sentinel_options = ConnectOptions {
                tls,
                username: extra.sentinel_username.clone(),
                password: extra.sentinel_password.clone(),
                database: 0,
            };
            let options = ConnectOptions { database: database(second)?, ..options };
            let master_name = decode(first)??;
            return (!is_cluster).then_some(Self::Sentinel {
                sentinels: addresses(26379)?,
                sentinel_options,
                master_name,
                options,
            });
        }
        let database = database(path)?;
        let mut addresses = addresses(6379)?;
        if is_cluster || addresses.len() > 1 {
            // A Cluster has only database 0.
            return (database == 0).then_some(Self::Cluster { seeds: addresses, options });
        }
        let options = ConnectOptions { database, ..options };
        Some(Self::Standalone { address: addresses.pop()?, options })
    }
}

/// Percent-decodes a part of a URL. An empty part is `Some(None)`; invalid UTF-8 is `None`.
fn decode(text: &str) -> Option<Option<String>> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
    Some((!decoded.is_empty()).then(|| decoded.into_owned()))
}

impl Address {
    /// Parses `host`, `host:port`, `[IPv6]` or `[IPv6]:port`.
    fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
            None if rest.is_empty() => default_port,
            None => return None,
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        (!host.is_empty() && host.chars().all(is_plain))
            .then(|| Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests;
