mod every_setting;
mod srh;

use super::command_line::command;
use super::*;
use portcullis_server::settings::{Kind, Unset};

fn check(flags: &[&str], tokens: Option<&str>) -> Result<Config, Vec<String>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = ["gateway"].iter().chain(flags);
    let command_line = CommandLine::parse_from(arguments.map(Into::into)).unwrap();
    let sources = Sources {
        flags: command_line.flags,
        environment: &|name| tokens.filter(|_| name == "GATEWAY_TOKENS").map(str::to_owned),
        names: Vec::new(),
        file: None,
    };
    let config = Config::read(SettingsReader::new(&TABLE, sources));
    config.map_err(|errors| errors.iter().map(ToString::to_string).collect())
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
            "--idle-seconds=0",
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
    assert_eq!(
        errors.err().unwrap(),
        [
            "--deadline-ms: must be a whole number, 1 to 60000",
            "--connections-max: must be a whole number, 1 to 1000000",
            "--connections-per-network: must be a whole number, 1 to 1000000",
            "--idle-seconds: must be a whole number, 1 to 3600",
            "--drain-seconds: must be a whole number, 1 to 600",
            "--threads: must be a whole number, 1 to 256",
            "--redis-connections: must be a whole number, 1 to 64",
            "--streams-max: must be a whole number, 0 to 100000",
            "--response-memory-mib: must be a whole number, 128 to 1048576",
            "--listen: must be address:port, such as 127.0.0.1:8379",
            "--admin-listen: must be address:port, such as 127.0.0.1:9379",
            "--redis-ca-file: can't be read, or holds no certificate in PEM",
            "--redis-cert-file: needs REDIS_KEY_FILE as well; give both, or neither",
            "--redis-url: must be redis://host:port/database (rediss:// for TLS), \
             redis://sentinel,sentinel/name, redis://node,node or redis://node?cluster",
            "--tls-cert-file: needs GATEWAY_TLS_KEY_FILE as well; give both, or neither",
            "--tokens-file: can't be read: No such file or directory (os error 2); name a file",
        ]
    );
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
    let expect = [
        "--redis-cert-file: can't be read, or holds no certificate in PEM",
        "--redis-key-file: can't be read, or holds no private key in PEM",
        "--tls-cert-file: can't be read, or holds no certificate in PEM",
        "--tls-key-file: can't be read, or holds no private key in PEM",
        "GATEWAY_TOKENS: neither it nor GATEWAY_TOKENS_FILE nor tokens.file has a token; give \
         name=token",
    ];
    assert_eq!(errors.err().unwrap(), expect);
    let errors = check(&[], Some("secret-word")).err().unwrap();
    assert!(errors[0].starts_with("GATEWAY_TOKENS: entry 1 must be name=token"), "{errors:?}");
    assert!(!errors[0].contains("secret-word"));
}

#[test]
fn defaults_are_valid() {
    let tokens = Some("edge=0123456789abcdef0123456789abcdef");
    let config = check(&[], tokens).ok().unwrap();
    assert!(config.listen.ip().is_loopback());
    assert_eq!(config.timeout, Duration::from_secs(1));
    assert!(config.reloadable.tls.is_none());
    // What Compose gives for a variable that is not set.
    let empty = check(&["--idle-seconds=", "--tokens-file="], tokens).ok().unwrap();
    assert_eq!(empty.bounds.idle, Duration::from_secs(75));
}

#[test]
fn prefixes_of_variables_are_documented() {
    let page = include_str!("../../../../docs/configuration.md");
    let row = page.lines().find(|line| line.starts_with("| redis gateway | `")).unwrap();
    let expect: Vec<String> = TABLE.namespaces.iter().map(|name| format!("`{name}`")).collect();
    assert_eq!(row, format!("| redis gateway | {} |", expect.join(", ")));
}

/// The flags are the table's, and the documentation has a row for each setting.
#[test]
fn every_setting_is_documented() {
    let page = include_str!("../../../../docs/redis-gateway.md");
    let command = command();
    let variables = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
    let variables: Vec<&str> = variables.collect();
    let flagged = TABLE.settings.iter().filter(|setting| setting.flag.is_some());
    assert_eq!(variables.len(), flagged.count() + 1, "--config has no setting: {variables:?}");
    for setting in TABLE.settings {
        assert_eq!(variables.contains(&setting.variable), setting.flag.is_some());
        let place = format!("`{}`", setting.place());
        let variable = format!("`{}`", setting.variable);
        let has = |row: &&str| {
            let mut cells = row.split('|').skip(1);
            cells.next().is_some_and(|cell| cell.contains(&place))
                && cells.next().is_some_and(|cell| cell.contains(&variable))
        };
        let row = page.lines().filter(|line| line.starts_with("| `")).find(has);
        let row = row.unwrap_or_else(|| panic!("docs/redis-gateway.md lacks {place} {variable}"));
        if let Some(flag) = setting.flag {
            assert!(row.contains(&format!("`--{flag}`")), "{flag}: {row}");
        }
        if let Kind::Number { min, max, .. } = setting.kind {
            assert!(row.contains(&format!("{min} to {max}")), "{row}");
        }
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        if let Unset::Default(value) = setting.unset {
            assert!([value, &format!("`{value}`")].contains(&last), "{row}");
        }
    }
}
