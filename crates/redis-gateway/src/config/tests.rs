use super::*;
use crate::token::TokenError;
use clap::Parser as _;

fn check(flags: &[&str], tokens: Option<&str>) -> Result<Config, Vec<ConfigError>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = Settings::parse_from([&["gateway"], flags].concat());
    Config::check(&settings, |name| tokens.filter(|_| name == "GATEWAY_TOKENS").map(str::to_owned))
}

#[test]
fn errors_are_reported_at_once() {
    let errors = check(
        &[
            "--listen=x",
            "--admin-listen=x",
            "--redis-url=http://x",
            "--deadline-ms=0",
            "--connections-max=0",
            "--connections-per-network=0",
            "--drain-seconds=0",
            "--streams-max=-1",
            "--idle-seconds=",
            "--redis-connections=65",
            "--threads=0",
            "--response-memory-mib=127",
            "--tls-cert-file=/none",
            "--redis-ca-file=/none",
            "--redis-cert-file=/none",
            "--tokens-file=/none",
        ],
        None,
    );
    use ConfigError::{
        AdminListen, Connections, ConnectionsPerNetwork, Deadline, Drain, Idle, Listen, RedisCa,
        RedisCertAlone, RedisConnections, RedisUrl, ResponseMemory, Streams, Threads, TlsAlone,
        Token,
    };
    let expect = [
        Deadline,
        Connections,
        Streams,
        ConnectionsPerNetwork,
        Idle,
        Drain,
        ResponseMemory,
        Threads,
        RedisConnections,
        Listen,
        AdminListen,
        RedisCa,
        RedisCertAlone,
        RedisUrl,
        TlsAlone,
        Token(TokenError::FileUnreadable),
    ];
    assert_eq!(errors.err().unwrap(), expect);
    let errors = check(
        &[
            "--tls-cert-file=/none",
            "--tls-key-file=/none",
            "--redis-cert-file=/none",
            "--redis-key-file=/none",
            "--redis-url=rediss://h",
        ],
        None,
    );
    use ConfigError::{RedisCert, RedisKey, TlsCert, TlsKey};
    let expect = [RedisCert, RedisKey, TlsCert, TlsKey, Token(TokenError::Missing)];
    assert_eq!(errors.err().unwrap(), expect);
}

#[test]
fn defaults_are_valid() {
    let tokens = Some("edge=0123456789abcdef0123456789abcdef");
    let config = check(&[], tokens).ok().unwrap();
    assert!(config.listen.ip().is_loopback());
    assert_eq!(config.timeout, Duration::from_secs(1));
    assert!(config.reloadable.tls.is_none());
}

#[test]
fn every_setting_is_documented() {
    use clap::CommandFactory as _;
    let text = include_str!("../../../../docs/redis-gateway.md");
    let command = Settings::command();
    let variables = command.get_arguments().filter_map(|argument| argument.get_env());
    let variables: Vec<&str> = variables.filter_map(|name| name.to_str()).collect();
    assert!(variables.len() > 10);
    for name in variables.into_iter().chain(["GATEWAY_TOKENS", "REDIS_SENTINEL_PASSWORD"]) {
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let mut names = rows.filter_map(|row| row.split('|').nth(1));
        let quoted = format!("`{name}`");
        assert!(
            names.any(|names| names.contains(&quoted)),
            "{name} is not in docs/redis-gateway.md"
        );
    }
}

#[test]
fn misspelt_names_of_the_environment_are_reported() {
    let check = |name: &str, expect: Option<&str>| {
        let errors = misspelt_names([name.to_owned()].into_iter());
        let expect = expect
            .map(|setting| format!("{name}: unknown setting; rename it to {setting}, or unset it"));
        assert_eq!(errors.first().map(ToString::to_string), expect);
    };
    check("GATEWAY_TOKEN", Some("GATEWAY_TOKENS"));
    check("GATEWAY_MAX_CONNECTIONS", Some("GATEWAY_REDIS_CONNECTIONS"));
    check("REDIS_URI", Some("REDIS_URL"));
    for own in ["GATEWAY_TOKENS", "REDIS_SENTINEL_PASSWORD", "GATEWAY_LISTEN", "PATH", "HOME"] {
        check(own, None);
    }
    check("GATEWAY_SERVICE_HOST", None);
    check("GATEWAY_PORT_8379_TCP_ADDR", None);
}
