//! Settings from flags, the environment and files.

use super::reader::{NAMES, SECRETS};
use super::{Config, ConfigError, SettingsReader};
use crate::cli::{Action, Cli, ServeArgs, SharedArgs};
use clap::Parser as _;
use portcullis_server::tls::TlsError;
use std::path::Path;

fn settings(arguments: &[&str]) -> (SharedArgs, ServeArgs) {
    let all = ["portcullis-auth", "serve"].iter().chain(arguments);
    let cli = Cli::try_parse_from(all).unwrap();
    match cli.action {
        Action::Serve(serve) => (cli.shared, *serve),
        _ => unreachable!(),
    }
}

fn read(
    arguments: &[&str],
    environment: &dyn Fn(&str) -> Option<String>,
    file: Option<&Path>,
) -> Result<Config, Vec<ConfigError>> {
    let (shared, serve) = settings(arguments);
    let mut reader = SettingsReader::new(environment, file);
    let config = reader.serve(&shared, &serve);
    if reader.errors.is_empty() { Ok(config.unwrap()) } else { Err(reader.errors) }
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
    use ConfigError as E;
    assert_eq!(
        errors.err().unwrap(),
        [
            E::IssuerNotAUrl,
            E::StoreUrlMissing,
            E::StoreTokenMissing,
            E::KeyPrefix,
            E::AudienceMissing,
            E::RecordEncryptionKey,
            E::EdgeAuthKey,
            E::MasterKeyMissing,
            E::SigningAlgorithm,
            E::AccessTokenFormat,
            E::CookieOrigins,
            E::ClientsMalformed,
            E::Listen { name: "AUTH_LISTEN", example: "127.0.0.1:8788" },
            E::Listen { name: "AUTH_ADMIN_LISTEN", example: "127.0.0.1:9788" },
            E::Number { name: "AUTH_CONNECTIONS_MAX", min: 1, max: 1_000_000 },
            E::Number { name: "AUTH_CONNECTIONS_PER_NETWORK", min: 1, max: 1_000_000 },
            E::Number { name: "AUTH_IDLE_SECONDS", min: 1, max: 3600 },
            E::Number { name: "AUTH_DRAIN_SECONDS", min: 1, max: 600 },
            E::Tls(TlsError::Incomplete),
            E::Number { name: "ACCESS_TOKEN_SECONDS", min: 1, max: 86_400 },
            E::Number { name: "TRUSTED_PROXY_HOPS", min: 0, max: 10 },
            E::Number { name: "LOGIN_ATTEMPTS_PER_USERNAME", min: 0, max: 1000 },
            E::Number { name: "LOGIN_ATTEMPTS_PER_ADDRESS", min: 0, max: 100_000 },
            E::Number { name: "SIGNING_KEY_SECONDS", min: 3600, max: 31_536_000 },
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
        let texts = errors.iter().map(ToString::to_string);
        texts.filter(|text| text.starts_with("DATABASE_URL: ")).collect::<Vec<_>>()
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
fn flags_override_the_environment_which_overrides_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = std::env::temp_dir().join(format!("{}.toml", crate::random::random_id()));
    let text = format!(
        "ISSUER = \"https://file.example\"\nAUDIENCE = \"file\"\nSTORE_URL = \"http://s\"\n\
         STORE_TOKEN = \"file\"\nMASTER_KEY = \"{}\"\nACCESS_TOKEN_SECONDS = 60\n",
        key()
    );
    std::fs::write(&file, &text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let environment = |name: &str| (name == "STORE_TOKEN").then(|| "environment".to_owned());
    let errors = read(&["--audience", "flag"], &environment, Some(&file)).err().unwrap();
    assert_eq!(errors, [ConfigError::FileExposed]);

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = read(&["--audience", "flag"], &environment, Some(&file)).ok().unwrap();
    let store = &config.store;
    assert_eq!((config.audience.as_str(), store.issuer.as_str()), ("flag", "https://file.example"));
    assert_eq!((store.token.as_str(), config.access_token_seconds), ("environment", 60));

    std::fs::write(&file, format!("{text}ISUER = \"x\"\n")).unwrap();
    let errors = read(&[], &environment, Some(&file)).err().unwrap();
    assert_eq!(errors, [ConfigError::NameUnknown("ISUER".into())]);
    std::fs::write(&file, format!("{text}CLIENT_ID = false\nAUDIT_DAYS = 91.0\n")).unwrap();
    let errors = read(&[], &environment, Some(&file)).err().unwrap();
    let names = ["AUDIT_DAYS", "CLIENT_ID"].map(|name| ConfigError::NotText(name.into()));
    assert_eq!(errors, names);
    std::fs::write(&file, format!("{text}REFRESH_IDLE_SECONDS = 60\nREFRESH_TOKEN_SECONDS = 60\n"))
        .unwrap();
    let errors = read(&["--access-token-seconds", "61"], &environment, Some(&file)).err().unwrap();
    assert_eq!(errors, [ConfigError::IdleShort]);
    std::fs::write(&file, "STORE_TOKEN = secret-word").unwrap();
    let errors = read(&["--audience", "a"], &environment, Some(&file)).err().unwrap();
    assert!(!errors[0].to_string().contains("secret-word"), "{}", errors[0]);
    std::fs::remove_file(&file).unwrap();
    let errors = read(&["--audience", "a"], &environment, Some(&std::env::temp_dir()));
    assert!(matches!(errors.err().unwrap().first(), Some(ConfigError::FileUnreadable(_))));
}

/// A file may hold each setting that has a flag, and the documentation has each of them.
#[test]
fn settings_have_one_name_in_flags_files_and_docs() {
    use clap::CommandFactory as _;
    let page = include_str!("../../../../docs/configuration.md");
    let mut command = Cli::command();
    command.build();
    let serve = command.find_subcommand("serve").unwrap();
    let flags: Vec<&str> =
        serve.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
    assert!(flags.len() > 15, "{flags:?}");
    for name in flags.iter().filter(|name| **name != "AUTH_CONFIG").chain(&SECRETS) {
        assert!(NAMES.contains(name), "{name}");
        assert!(page.contains(&format!("`{name}`")), "docs/configuration.md lacks {name}");
    }
    assert_eq!(NAMES.len(), flags.len() - 1 + SECRETS.len());
}

#[test]
fn misspelt_names_of_the_environment_are_reported() {
    let names = |names: &[&str]| {
        let mut reader = SettingsReader::new(&|_| None, None);
        reader.check_names(names.iter().map(|name| (*name).to_owned()));
        reader.errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&["REFRESH_GRACE_SECOND", "LOGIN_ATTEMPTS_PER_USER"]),
        [
            "REFRESH_GRACE_SECOND: unknown setting; rename it to REFRESH_GRACE_SECONDS, or unset it",
            "LOGIN_ATTEMPTS_PER_USER: unknown setting; rename it to LOGIN_ATTEMPTS_PER_USERNAME, or unset it",
        ]
    );
    let own = ["PATH", "HOME", "USER", "LANG", "AUTH_CONFIG", "AUTH_PORT", "PORTCULLIS_STORE"];
    assert_eq!(names(&[&own[..], &NAMES[..]].concat()), [""; 0]);
}
