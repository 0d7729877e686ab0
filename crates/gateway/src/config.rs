//! The gateway's settings, from flags and environment, with all faults reported together.

use clap::Parser;
use redis::IntoConnectionInfo as _;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use subtle::ConstantTimeEq as _;

/// Gives any Redis the Upstash REST protocol.
///
/// GATEWAY_TOKENS is read from the environment alone, since a command line can be seen by everybody on
/// the machine: a comma-separated list of name=token, each token at least 32 characters.
#[derive(Parser)]
#[command(version)]
pub struct Settings {
    /// Address and port to listen on.
    #[arg(long, env = "GATEWAY_LISTEN", default_value = "127.0.0.1:8379")]
    listen: String,
    /// The Redis behind: `redis://[user:password@]host:port/database`, or rediss:// for TLS.
    #[arg(
        long,
        env = "REDIS_URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true
    )]
    redis_url: String,
    /// How long one request may take, in milliseconds (1 to 60000).
    #[arg(long, env = "GATEWAY_DEADLINE_MS", default_value = "1000")]
    deadline_ms: String,
}

/// What was set, checked.
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The Redis behind.
    pub redis: redis::Client,
    /// How long one request may take.
    pub deadline: Duration,
    tokens: Vec<Token>,
}

struct Token {
    name: String,
    secret: String,
}

/// A setting that can't be used, and how to mend it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConfigError {
    Deadline,
    Listen,
    RedisUrl,
    TokenFormat,
    TokenShort,
    TokensMissing,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deadline => "GATEWAY_DEADLINE_MS: must be a whole number, 1 to 60000",
            Self::Listen => "GATEWAY_LISTEN: must be address:port, such as 127.0.0.1:8379",
            Self::RedisUrl => "REDIS_URL: must be redis://host:port or rediss://host:port",
            Self::TokenFormat => "GATEWAY_TOKENS: must be name=token, comma-separated",
            Self::TokenShort => "GATEWAY_TOKENS: a token is shorter than 32 characters",
            Self::TokensMissing => "GATEWAY_TOKENS: is not set; give name=token, comma-separated",
        })
    }
}

impl Config {
    /// Checks the settings, and reads the tokens from the environment.
    pub fn parse(settings: Settings) -> Result<Self, Vec<ConfigError>> {
        Self::check(settings, std::env::var("GATEWAY_TOKENS").ok().as_deref())
    }

    fn check(settings: Settings, tokens: Option<&str>) -> Result<Self, Vec<ConfigError>> {
        let mut faults = Vec::new();
        let listen = settings.listen.parse().ok();
        let deadline_ms = settings.deadline_ms.parse().ok().filter(|ms| (1..=60_000).contains(ms));
        let redis = open(&settings.redis_url);
        if deadline_ms.is_none() {
            faults.push(ConfigError::Deadline);
        }
        if listen.is_none() {
            faults.push(ConfigError::Listen);
        }
        if redis.is_none() {
            faults.push(ConfigError::RedisUrl);
        }
        let tokens = read_tokens(tokens, &mut faults);
        match (listen, redis, deadline_ms) {
            (Some(listen), Some(redis), Some(deadline_ms)) if faults.is_empty() => {
                Ok(Self { listen, redis, deadline: Duration::from_millis(deadline_ms), tokens })
            }
            _ => Err(faults),
        }
    }

    /// The name of the token, if it is one of ours. All of them are compared, each in constant time.
    pub fn token_name(&self, token: &str) -> Option<&str> {
        let mut found = None;
        for known in &self.tokens {
            if bool::from(known.secret.as_bytes().ct_eq(token.as_bytes())) {
                found = Some(known.name.as_str());
            }
        }
        found
    }
}

/// A peer that has vanished without a word is noticed by what is not acknowledged; otherwise its
/// connection would time out on every request for a quarter of an hour.
fn open(url: &str) -> Option<redis::Client> {
    let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(Duration::from_secs(2));
    let info = url.into_connection_info().ok()?.set_tcp_settings(tcp);
    redis::Client::open(info).ok()
}

fn read_tokens(text: Option<&str>, faults: &mut Vec<ConfigError>) -> Vec<Token> {
    let mut tokens = Vec::new();
    for entry in
        text.unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty())
    {
        match entry.split_once('=') {
            Some((name, secret)) if !name.is_empty() => {
                if secret.len() < 32 {
                    faults.push(ConfigError::TokenShort);
                }
                tokens.push(Token { name: name.to_owned(), secret: secret.to_owned() });
            }
            _ => faults.push(ConfigError::TokenFormat),
        }
    }
    if tokens.is_empty() && !faults.contains(&ConfigError::TokenFormat) {
        faults.push(ConfigError::TokensMissing);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "edge=0123456789abcdef0123456789abcdef";

    fn settings(listen: &str, redis_url: &str, deadline_ms: &str) -> Settings {
        Settings {
            listen: listen.into(),
            redis_url: redis_url.into(),
            deadline_ms: deadline_ms.into(),
        }
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let faults = Config::check(settings("x", "http://x", "0"), None).err().unwrap();
        use ConfigError::{Deadline, Listen, RedisUrl, TokensMissing};
        assert_eq!(faults, [Deadline, Listen, RedisUrl, TokensMissing]);
    }

    #[test]
    fn tokens_are_told_apart() {
        fn check(tokens: &str, expect: &[ConfigError]) {
            let config =
                Config::check(settings("127.0.0.1:0", "redis://localhost", "1"), Some(tokens));
            assert_eq!(config.err().unwrap_or_default(), expect, "{tokens}");
        }
        check(LONG, &[]);
        check("", &[ConfigError::TokensMissing]);
        check("edge", &[ConfigError::TokenFormat]);
        check("edge=short", &[ConfigError::TokenShort]);
        let two = format!("{LONG}, origin=fedcba9876543210fedcba9876543210");
        let config = Config::check(settings("127.0.0.1:0", "redis://localhost", "1"), Some(&two))
            .ok()
            .unwrap();
        assert_eq!(config.token_name("0123456789abcdef0123456789abcdef"), Some("edge"));
        assert_eq!(config.token_name("fedcba9876543210fedcba9876543210"), Some("origin"));
        assert_eq!(config.token_name("0123456789abcdef0123456789abcdeX"), None);
        assert_eq!(config.token_name(""), None);
    }
}
