//! Settings from flags, the environment and files.

mod every_setting;

use super::{Config, TABLE, read_config};
use crate::cli::{Cli, command};
use portcullis_server::settings::{Kind, SettingError, SettingsReader, Sources, Unset};
use std::path::Path;

fn read(
    arguments: &[&str],
    environment: &dyn Fn(&str) -> Option<String>,
    file: Option<&Path>,
) -> Result<Config, Vec<String>> {
    let all = ["portcullis-auth", "serve"].iter().chain(arguments);
    let cli = Cli::parse_from(all.map(Into::into)).unwrap();
    let sources = Sources { flags: cli.flags, environment, names: Vec::new(), file };
    let errors = |errors: Vec<SettingError>| errors.iter().map(ToString::to_string).collect();
    validate(SettingsReader::new(&TABLE, sources)).map_err(errors)
}

fn validate(mut reader: SettingsReader<'_>) -> Result<Config, Vec<SettingError>> {
    match read_config(&mut reader) {
        Some(config) if reader.is_valid() => Ok(config),
        _ => Err(reader.into_errors()),
    }
}

fn key() -> String {
    format!("a:{}", "A".repeat(43))
}

#[test]
fn errors_are_reported_all_at_once() {
    let arguments = [
        ["--listen", "x"],
        ["--admin-listen", "x"],
        ["--connections-max", "0"],
        ["--connections-per-network", "0"],
        ["--idle-seconds", "0"],
        ["--drain-seconds", "0"],
        ["--tls-cert-file", "/none"],
        ["--issuer", "auth/"],
        ["--access-token-seconds", "0"],
        ["--access-token-format", "saml"],
        ["--key-prefix", ":"],
        ["--signing-algorithm", "none"],
        ["--signing-key-seconds", "60"],
        ["--cookie-origins", "https://a.example/x"],
        ["--login-attempts-per-username", "1001"],
        ["--login-attempts-per-address", "many"],
        ["--trusted-proxy-hops", "11"],
    ];
    let errors = read(
        &arguments.concat(),
        &|name| {
            let malformed = ["EDGE_AUTH_KEY", "INTROSPECTION_CLIENTS", "RECORD_ENCRYPTION_KEY"];
            malformed.contains(&name).then(|| "edge".into())
        },
        None,
    );
    assert_eq!(
        errors.err().unwrap(),
        [
            "--issuer: must be http:// or https:// with a host, no slash at its end",
            "STORE_URL: is not set; give the store's REST URL",
            "STORE_TOKEN: is not set; give the store's bearer token, or name a file that has it: \
             STORE_TOKEN_FILE, store.token_file",
            "--key-prefix: may have letters, digits, - and _, 1 to 64 of them",
            "AUDIENCE: is not set; give the aud that the edge expects",
            "RECORD_ENCRYPTION_KEY: must be name:key, the key by openssl rand -base64 32",
            "EDGE_AUTH_KEY: must be 32 bytes in base64, by openssl rand -base64 32",
            "MASTER_KEY: is not set; make one by echo \"k1:$(openssl rand -base64 32)\" and keep it, \
             or name a file that has it: MASTER_KEY_FILE, signing.master_key_file",
            "--signing-algorithm: must be one of: EdDSA, ES256",
            "--access-token-format: must be one of: jwt, opaque",
            "--cookie-origins: must be origins as browsers send them, such as https://app.example",
            "INTROSPECTION_CLIENTS: must be name=secret, comma-separated, no name twice",
            "--listen: must be address:port, such as 127.0.0.1:8788",
            "--admin-listen: must be address:port, such as 127.0.0.1:9788",
            "--connections-max: must be a whole number, 1 to 1000000",
            "--connections-per-network: must be a whole number, 1 to 1000000",
            "--idle-seconds: must be a whole number, 1 to 3600",
            "--drain-seconds: must be a whole number, 1 to 600",
            "--tls-cert-file: needs AUTH_TLS_KEY_FILE as well; give both, or neither",
            "--access-token-seconds: must be a whole number, 1 to 86400",
            "--signing-key-seconds: must be a whole number, 3600 to 31536000, or 0",
            "--trusted-proxy-hops: must be a whole number, 0 to 10",
            "--login-attempts-per-username: must be a whole number, 0 to 1000",
            "--login-attempts-per-address: must be a whole number, 0 to 100000",
        ]
    );
}

#[test]
fn full_configuration_is_accepted() {
    let arguments =
        [["--issuer", "https://a.example"], ["--audience", "api"], ["--store-url", "http://s/"]];
    let secret = |name: &str| match name {
        "RECORD_ENCRYPTION_KEY" | "MASTER_KEY" => Some(key()),
        "INTROSPECTION_CLIENTS" | "STORE_TOKEN" => Some(format!("x={}", "s".repeat(32))),
        _ => None,
    };
    let config = read(&arguments.concat(), &secret, None).ok().unwrap();
    assert!(config.seal.is_some());
    assert_eq!(
        (config.store.url.as_str(), config.access_token_seconds, config.cookie_origins),
        ("http://s", 900, vec!["https://a.example".to_owned()])
    );
}

#[test]
fn database_must_be_a_file_or_a_server() {
    let faults = |url: &str| {
        let errors = read(&["--database-url", url], &|_| None, None).err().unwrap();
        let of_url = |text: &String| text.starts_with("--database-url: ");
        errors.into_iter().filter(of_url).collect::<Vec<_>>()
    };
    for memory in ["sqlite::memory:", "sqlite://:memory:", "sqlite://a.db?mode=memory", "sqlite://"]
    {
        let faults = faults(memory);
        assert!(faults.len() == 1 && faults[0].contains("sqlite://portcullis.db"), "{faults:?}");
    }
    for other in ["mysql://host/database", "portcullis.db"] {
        assert_eq!(faults(other).len(), 1, "{other}");
    }
    for good in ["sqlite://a.db", "sqlite:a.db?mode=rwc", "postgres://h/d", "postgresql://h/d"] {
        assert!(faults(good).is_empty(), "{good}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_errors() {
    let environment = |variables: &[(&str, String)]| {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        move |name: &str| {
            let own = variables.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
            own.or_else(|| match name {
                "ISSUER" => Some("https://a.example".to_owned()),
                "AUDIENCE" | "STORE_TOKEN" => Some("a".to_owned()),
                "STORE_URL" => Some("http://s".to_owned()),
                "MASTER_KEY" => Some(key()),
                _ => None,
            })
        }
    };
    for (variables, expect) in [
        (
            vec![("REFRESH_IDLE_SECONDS", "60".to_owned()), ("ACCESS_TOKEN_SECONDS", "61".into())],
            "REFRESH_IDLE_SECONDS: must not be shorter than ACCESS_TOKEN_SECONDS; raise it, or \
             lower that",
        ),
        (
            vec![("EDGE_AUTH_KEY_PREVIOUS", "A".repeat(43))],
            "EDGE_AUTH_KEY_PREVIOUS: needs EDGE_AUTH_KEY as well; give both, or neither",
        ),
        (
            vec![("RECORD_ENCRYPTION_KEY_PREVIOUS", key())],
            "RECORD_ENCRYPTION_KEY_PREVIOUS: needs RECORD_ENCRYPTION_KEY as well; give both, or \
             neither",
        ),
        (
            vec![("MASTER_KEY_PREVIOUS", key())],
            "MASTER_KEY_PREVIOUS: has the same name as MASTER_KEY; rename one of the keys",
        ),
        (
            vec![("INTROSPECTION_CLIENTS", "a=short".to_owned())],
            "INTROSPECTION_CLIENTS: a secret is shorter than 32 characters; give a longer one",
        ),
        (
            vec![("CONSOLE_LISTEN", "0.0.0.0:1".to_owned())],
            "CONSOLE_ORIGIN: is not set, and console.listen is an address of all interfaces; give \
             the origin that browsers open, such as https://console.example",
        ),
    ] {
        assert_eq!(read(&[], &environment(&variables), None).err().unwrap(), [expect]);
    }
    // A memcached has no tokens.
    let memcached =
        environment(&[("STORE_URL", "memcached://h:1".to_owned()), ("STORE_TOKEN", String::new())]);
    assert!(read(&[], &memcached, None).is_ok());
}

/// The flags are the table's, and the documentation has a row for each setting.
#[test]
fn settings_have_one_name_in_flags_files_and_docs() {
    let page = include_str!("../../../../docs/configuration.md");
    let page = page.split("## The auth service\n").nth(1).unwrap();
    let mut command = command();
    command.build();
    let serve = command.find_subcommand("serve").unwrap();
    let variables: Vec<&str> =
        serve.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
    let flagged = TABLE.settings.iter().filter(|setting| setting.flag.is_some());
    assert_eq!(variables.len(), flagged.count() + 1, "--config has no setting: {variables:?}");
    for setting in TABLE.settings {
        assert_eq!(variables.contains(&setting.variable), setting.flag.is_some());
        let place = format!("`{}`", setting.place());
        let has = |row: &&str| row.split('|').nth(1).is_some_and(|cell| cell.contains(&place));
        let row = page.lines().filter(|line| line.starts_with("| `")).find(has);
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md lacks {place}"));
        assert!(row.contains(&format!("`{}`", setting.variable)), "{row}");
        if let Some(flag) = setting.flag {
            assert!(row.contains(&format!("`--{flag}`")), "{flag}: {row}");
        }
        if let Kind::Number { min, max, .. } = setting.kind {
            assert!(row.contains(&format!("{min} to {max}")), "{row}");
        }
        if let Kind::OneOf(names) = setting.kind {
            assert!(names.iter().all(|name| row.contains(&format!("`{name}`"))), "{row}");
        }
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        match setting.unset {
            Unset::Default(value) => {
                assert!([value, &format!("`{value}`")].contains(&last), "{row}")
            }
            Unset::Required(_) => assert!(last.starts_with("required"), "{row}"),
            // A key has its row together with the one before it, which is never required.
            Unset::Otherwise(_) => {
                let is_alone = !row.split('|').nth(1).unwrap().contains(", ");
                assert!(!is_alone || !last.starts_with("required"), "{row}");
            }
        }
    }
}

#[test]
fn prefixes_of_variables_are_documented() {
    let page = include_str!("../../../../docs/configuration.md");
    let row = page.lines().find(|line| line.starts_with("| auth service | `")).unwrap();
    let expect: Vec<String> = TABLE.namespaces.iter().map(|name| format!("`{name}`")).collect();
    assert_eq!(row, format!("| auth service | {} |", expect.join(", ")));
}
