//! REDIS_URL: which Redis is behind the redis gateway, and how each of its servers is spoken to.

use rustls::ClientConfig;
use std::fmt;
use std::sync::Arc;

/// The Redis behind.
pub enum Target {
    Cluster { seeds: Vec<Address>, how: How },
    Sentinel { sentinels: Vec<Address>, asking: How, name: String, how: How },
    Single { address: Address, how: How },
}

/// Where a server is.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How a server is spoken to.
#[derive(Clone, Default)]
pub struct How {
    pub tls: Option<Arc<ClientConfig>>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
}

/// A password, which no log shows.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What REDIS_URL does not hold.
#[derive(Clone, Default)]
pub struct Extras {
    /// For rediss://.
    pub tls: Option<Arc<ClientConfig>>,
    pub sentinel_username: Option<String>,
    pub sentinel_password: Option<Secret>,
}

impl Target {
    /// Reads `redis://[user:password@]host[:port][/database]` (or rediss://, for TLS), with several
    /// hosts and a name behind them for Sentinels, with several hosts alone, or `?cluster`, for a
    /// Cluster. None if it is no such address.
    pub fn parse(url: &str, extras: &Extras) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let tls = match scheme {
            "redis" => None,
            "rediss" => Some(extras.tls.clone()?),
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
        let some = |text: &str| -> Option<Option<String>> {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
            Some((!decoded.is_empty()).then(|| decoded.into_owned()))
        };
        let how = How {
            tls: tls.clone(),
            username: some(username)?,
            password: some(password)?.map(Secret),
            database: 0,
        };
        // A name without a password logs nobody in.
        if how.username.is_some() && how.password.is_none() {
            return None;
        }
        let addresses = |port: u16| -> Option<Vec<Address>> {
            hosts.split(',').map(|host| Address::parse(host.trim(), port)).collect()
        };
        let database = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
        let (first, second) = path.split_once('/').unwrap_or((path, ""));
        if !first.is_empty() && first.parse::<u32>().is_err() {
            let asking = How {
                tls,
                username: extras.sentinel_username.clone(),
                password: extras.sentinel_password.clone(),
                database: 0,
            };
            let how = How { database: database(second)?, ..how };
            let name = some(first)??;
            return (!is_cluster).then_some(Self::Sentinel {
                sentinels: addresses(26379)?,
                asking,
                name,
                how,
            });
        }
        let database = database(path)?;
        let mut addresses = addresses(6379)?;
        if is_cluster || addresses.len() > 1 {
            // A Cluster has one database.
            return (database == 0).then_some(Self::Cluster { seeds: addresses, how });
        }
        Some(Self::Single { address: addresses.pop()?, how: How { database, ..how } })
    }
}

impl Address {
    /// Reads `host`, `host:port`, `[IPv6]` or `[IPv6]:port`.
    fn parse(text: &str, port: u16) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
            None if rest.is_empty() => port,
            None => return None,
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        (!host.is_empty() && host.chars().all(is_plain))
            .then(|| Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extras() -> Extras {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Extras {
            tls: Some(Arc::new(config)),
            sentinel_username: None,
            sentinel_password: Some(Secret("sentinels".into())),
        }
    }

    fn all(addresses: &[Address]) -> String {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    fn shown(how: &How) -> String {
        let password = how.password.as_ref().map(Secret::expose);
        let tls = if how.tls.is_some() { " tls" } else { "" };
        format!("{:?} {password:?} {}{tls}", how.username.as_deref(), how.database)
    }

    #[test]
    fn the_kind_of_redis_is_read_from_its_address() {
        fn check(url: &str, expect: Option<&str>) {
            let got = Target::parse(url, &extras()).map(|target| match target {
                Target::Cluster { seeds, how } => {
                    format!("cluster {} {}", all(&seeds), shown(&how))
                }
                Target::Sentinel { sentinels, asking, name, how } => {
                    format!("{name} of {} {} {}", all(&sentinels), shown(&asking), shown(&how))
                }
                Target::Single { address, how } => format!("{address} {}", shown(&how)),
            });
            assert_eq!(got.as_deref(), expect, "{url}");
        }
        check("redis://localhost", Some("localhost:6379 None None 0"));
        check("redis://user:p%40ss@h:1/3", Some("h:1 Some(\"user\") Some(\"p@ss\") 3"));
        check("redis://:p@w@h", Some("h:6379 None Some(\"p@w\") 0"));
        check("rediss://h", Some("h:6379 None None 0 tls"));
        check("redis://[::1]:7000", Some("::1:7000 None None 0"));
        let asking = "None Some(\"sentinels\") 0";
        let sentinels = |rest: &str| Some(format!("mymaster of s1:26379 s2:7 {asking} {rest}"));
        check("redis://s1,s2:7/mymaster", sentinels("None None 0").as_deref());
        check("redis://:pw@s1,s2:7/mymaster/2", sentinels("None Some(\"pw\") 2").as_deref());
        check("redis://s1/m", Some(format!("m of s1:26379 {asking} None None 0").as_str()));
        check("redis://n1,n2:7000,n3", Some("cluster n1:6379 n2:7000 n3:6379 None None 0"));
        check("rediss://u:p@n1?cluster", Some("cluster n1:6379 Some(\"u\") Some(\"p\") 0 tls"));
        check("redis://n1:7000?cluster=true", Some("cluster n1:7000 None None 0"));
        for wrong in [
            "redis://n1,n2/1",
            "redis://h/1/2",
            "redis://h?x=1",
            "redis://",
            "redis://a,,b",
            "redis://h:port",
            "redis://h:0",
            "redis://s1,s2/mymaster/x",
            "http://h",
            "h:6379",
            "redis://user@h",
            "redis://h h",
            "redis://[::1",
            "redis://n1/name?cluster",
        ] {
            check(wrong, None);
        }
        assert!(Target::parse("rediss://h", &Extras::default()).is_none());
        assert_eq!(format!("{:?}", Secret("hush".into())), "Secret");
    }
}
