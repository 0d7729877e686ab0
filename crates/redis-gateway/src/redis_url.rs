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
    pub host: String,
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
    pub tls: Option<Arc<ClientConfig>>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
}

/// A password, which `Debug` hides.
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

/// Settings that REDIS_URL does not contain.
#[derive(Clone, Default)]
pub struct ExtraOptions {
    /// For `rediss://`.
    pub tls: Option<Arc<ClientConfig>>,
    pub sentinel_username: Option<String>,
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
mod tests {
    use super::*;

    fn extra() -> ExtraOptions {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        ExtraOptions {
            tls: Some(Arc::new(config)),
            sentinel_username: None,
            sentinel_password: Some(Secret("sentinels".into())),
        }
    }

    fn all(addresses: &[Address]) -> String {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    fn shown(options: &ConnectOptions) -> String {
        let password = options.password.as_ref().map(Secret::expose);
        let tls = if options.tls.is_some() { " tls" } else { "" };
        format!("{:?} {password:?} {}{tls}", options.username.as_deref(), options.database)
    }

    #[test]
    fn url_determines_the_kind_of_deployment() {
        fn check(url: &str, expect: Option<&str>) {
            let got = Deployment::parse(url, &extra()).map(|deployment| match deployment {
                Deployment::Cluster { seeds, options } => {
                    format!("cluster {} {}", all(&seeds), shown(&options))
                }
                Deployment::Sentinel { sentinels, sentinel_options, master_name, options } => {
                    format!(
                        "{master_name} of {} {} {}",
                        all(&sentinels),
                        shown(&sentinel_options),
                        shown(&options)
                    )
                }
                Deployment::Standalone { address, options } => {
                    format!("{address} {}", shown(&options))
                }
            });
            assert_eq!(got.as_deref(), expect, "{url}");
        }
        check("redis://localhost", Some("localhost:6379 None None 0"));
        check("redis://user:p%40ss@h:1/3", Some("h:1 Some(\"user\") Some(\"p@ss\") 3"));
        check("redis://:p@w@h", Some("h:6379 None Some(\"p@w\") 0"));
        check("rediss://h", Some("h:6379 None None 0 tls"));
        check("redis://[::1]:7000", Some("::1:7000 None None 0"));
        let sentinel_options = "None Some(\"sentinels\") 0";
        let sentinels =
            |rest: &str| Some(format!("mymaster of s1:26379 s2:7 {sentinel_options} {rest}"));
        check("redis://s1,s2:7/mymaster", sentinels("None None 0").as_deref());
        check("redis://:pw@s1,s2:7/mymaster/2", sentinels("None Some(\"pw\") 2").as_deref());
        check(
            "redis://s1/m",
            Some(format!("m of s1:26379 {sentinel_options} None None 0").as_str()),
        );
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
        assert!(Deployment::parse("rediss://h", &ExtraOptions::default()).is_none());
        assert_eq!(format!("{:?}", Secret("hush".into())), "Secret");
    }
}
