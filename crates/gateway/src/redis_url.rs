//! REDIS_URL: which Redis is behind the gateway, and how each of its servers is spoken to.

use crate::backend::{Address, AskSentinels, Seeds};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisResult, TlsCertificates,
    TlsMode,
};
use std::sync::Arc;
use std::time::Duration;

/// The Redis behind.
pub enum Target {
    Cluster(Seeds),
    Sentinel(Arc<AskSentinels>),
    Single(Client),
}

/// What REDIS_URL does not hold.
#[derive(Clone, Default)]
pub struct Extras {
    pub certificates: Option<TlsCertificates>,
    pub sentinel_username: Option<String>,
    pub sentinel_password: Option<String>,
}

impl Target {
    /// Reads `redis://[user:password@]host[:port][/database]` (or rediss://, for TLS), with several
    /// hosts and a name behind them for Sentinels, with several hosts alone, or `?cluster`, for a
    /// Cluster. None if it is no such address, or a certificate is none.
    pub fn parse(url: &str, extras: &Extras) -> Option<Self> {
        let parts = Parts::split(url)?;
        let first = parts.info(parts.hosts.first()?)?;
        let is_name = |path: &str| !path.is_empty() && path.parse::<u32>().is_err();
        let (path, database) = match parts.path.split_once('/') {
            Some((path, database)) => (path, Some(database)),
            None => (parts.path, None),
        };
        if is_name(path) && !parts.cluster {
            let database = database.map_or(Some(0), |database| database.parse::<u32>().ok())?;
            parts.sentinel(path, database, &first, extras).map(Self::Sentinel)
        } else if parts.hosts.len() > 1 || parts.cluster {
            // A Cluster has one database.
            matches!(parts.path, "" | "0").then_some(())?;
            parts.cluster(first, extras).map(Self::Cluster)
        } else {
            database.is_none().then_some(())?;
            open(first, extras).map(Self::Single)
        }
    }
}

/// The pieces of an address.
struct Parts<'a> {
    tls: bool,
    userinfo: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    cluster: bool,
}

impl<'a> Parts<'a> {
    fn split(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        let (rest, query) =
            rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let cluster = match query {
            None => false,
            Some("cluster" | "cluster=true") => true,
            Some(_) => return None,
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (userinfo, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
        (!hosts.iter().any(|host| host.is_empty())).then_some(Self {
            tls,
            userinfo,
            hosts,
            path,
            cluster,
        })
    }

    /// How one of the hosts is reached, and how a server of these is spoken to.
    fn info(&self, host: &str) -> Option<ConnectionInfo> {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let at = if self.userinfo.is_empty() { "" } else { "@" };
        let single = self.hosts.len() == 1 && !self.cluster && self.path.parse::<u32>().is_ok();
        let path = if single { self.path } else { "" };
        let url = format!("{scheme}://{}{at}{host}/{path}", self.userinfo);
        Some(url.into_connection_info().ok()?.set_tcp_settings(tcp()))
    }

    fn address(&self, host: &str, port: u16) -> Option<Address> {
        let info = self.info(host)?;
        match info.addr() {
            ConnectionAddr::Tcp(name, found)
            | ConnectionAddr::TcpTls { host: name, port: found, .. } => {
                let stated = host.rsplit(':').next().is_some_and(|end| end.parse::<u16>().is_ok());
                Some(Address { host: name.clone(), port: if stated { *found } else { port } })
            }
            _ => None,
        }
    }

    fn addresses(&self, port: u16) -> Option<Vec<Address>> {
        self.hosts.iter().map(|host| self.address(host, port)).collect()
    }

    fn cluster(&self, first: ConnectionInfo, extras: &Extras) -> Option<Seeds> {
        let addresses = self.addresses(6379)?;
        let (tls, extras) = (self.tls, extras.clone());
        open(first.clone(), &extras)?;
        let open = move |address: &Address| {
            let address = at(tls, address);
            open(first.clone().set_addr(address), &extras)
        };
        Some(Seeds { addresses, open: Box::new(open) })
    }

    fn sentinel(
        &self,
        name: &str,
        database: u32,
        first: &ConnectionInfo,
        extras: &Extras,
    ) -> Option<Arc<AskSentinels>> {
        let sentinels: Vec<ConnectionAddr> =
            self.addresses(26379)?.iter().map(|address| at(self.tls, address)).collect();
        let (name, settings) = (name.to_owned(), first.redis_settings().clone());
        let (tls, extras) = (self.tls, extras.clone());
        let ask = move || -> RedisResult<_> {
            let kind = SentinelServerType::Master;
            let mut builder = SentinelClientBuilder::new(sentinels.clone(), name.clone(), kind)?
                .set_client_to_redis_db(database.into())
                .set_client_to_redis_tcp_settings(tcp())
                .set_client_to_sentinel_tcp_settings(tcp());
            if let Some(username) = settings.username() {
                builder = builder.set_client_to_redis_username(username);
            }
            if let Some(password) = settings.password() {
                builder = builder.set_client_to_redis_password(password);
            }
            if let Some(username) = &extras.sentinel_username {
                builder = builder.set_client_to_sentinel_username(username);
            }
            if let Some(password) = &extras.sentinel_password {
                builder = builder.set_client_to_sentinel_password(password);
            }
            if tls {
                builder = builder
                    .set_client_to_redis_tls_mode(TlsMode::Secure)
                    .set_client_to_sentinel_tls_mode(TlsMode::Secure);
                if let Some(certificates) = &extras.certificates {
                    builder = builder
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_certificates(certificates.clone());
                }
            }
            builder.build()
        };
        ask().ok()?;
        Some(Arc::new(ask))
    }
}

fn at(tls: bool, address: &Address) -> ConnectionAddr {
    let (host, port) = (address.host.clone(), address.port);
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn open(info: ConnectionInfo, extras: &Extras) -> Option<Client> {
    let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    match &extras.certificates {
        Some(certificates) if tls => Client::build_with_tls(info, certificates.clone()).ok(),
        Some(_) | None => Client::open(info).ok(),
    }
}

/// A peer that has vanished without a word is noticed by what is not acknowledged; otherwise its
/// connection would time out on every request for a quarter of an hour.
fn tcp() -> redis::io::tcp::TcpSettings {
    let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(Duration::from_secs(2));
    tcp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_redis_is_read_from_its_address() {
        fn check(url: &str, expect: Option<&str>) {
            let got = Target::parse(url, &Extras::default()).map(|target| match target {
                Target::Cluster(seeds) => {
                    let all = seeds.addresses.iter();
                    let all: Vec<String> = all.map(|a| format!("{}:{}", a.host, a.port)).collect();
                    format!("cluster {}", all.join(" "))
                }
                Target::Sentinel(_) => "sentinel".to_owned(),
                Target::Single(client) => {
                    let info = client.get_connection_info();
                    format!("single {} {}", info.addr(), info.redis_settings().db())
                }
            });
            assert_eq!(got.as_deref(), expect, "{url}");
        }
        check("redis://localhost", Some("single localhost:6379 0"));
        check("redis://user:p%40ss@h:1/3", Some("single h:1 3"));
        check("rediss://h", Some("single h:6379 0"));
        check("redis://[::1]:7000", Some("single ::1:7000 0"));
        check("redis://s1:26379,s2:26379/mymaster", Some("sentinel"));
        check("redis://:pw@s1,s2/mymaster/2", Some("sentinel"));
        check("redis://s1/mymaster", Some("sentinel"));
        check("redis://n1,n2:7000,n3", Some("cluster n1:6379 n2:7000 n3:6379"));
        check("rediss://u:p@n1?cluster", Some("cluster n1:6379"));
        check("redis://n1:7000?cluster=true", Some("cluster n1:7000"));
        check("redis://n1,n2/1", None);
        check("redis://h/1/2", None);
        check("redis://h?x=1", None);
        check("redis://", None);
        check("redis://a,,b", None);
        check("redis://h:port", None);
        check("redis://s1,s2/mymaster/x", None);
        check("http://h", None);
        check("h:6379", None);
    }

    #[test]
    fn credentials_reach_the_servers() {
        let Some(Target::Cluster(seeds)) =
            Target::parse("redis://u:p%40@n1,n2", &Extras::default())
        else {
            panic!("no cluster")
        };
        let client = (seeds.open)(&Address { host: "n9".into(), port: 7 }).unwrap();
        let info = client.get_connection_info();
        assert_eq!(info.addr().to_string(), "n9:7");
        assert_eq!(info.redis_settings().username(), Some("u"));
        assert_eq!(info.redis_settings().password(), Some("p@"));
    }
}
