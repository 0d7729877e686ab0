//! Each setting, given by each source, and wrong in each way.

use crate::config::table::{REDIS_CA_FILE, REDIS_CERT_FILE, REDIS_KEY_FILE, TABLE};
use crate::config::{Config, Secret};
use crate::redis_url::Deployment;
use portcullis_server::settings::cases::{Case, Example, Folder, Suite};
use portcullis_server::settings::{Kind, Setting, SettingError, SettingsReader, Sources};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A configuration, and the paths in it that it does not show.
struct Seen {
    config: Config,
    redis_files: [Option<PathBuf>; 3],
}

fn read(mut reader: SettingsReader<'_>) -> Result<Seen, Vec<SettingError>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let redis_files =
        [&REDIS_CA_FILE, &REDIS_CERT_FILE, &REDIS_KEY_FILE].map(|setting| reader.path(setting));
    Ok(Seen { config: Config::read(reader)?, redis_files })
}

/// Returns a folder with two equal certificates and keys, and files of tokens.
fn folder() -> Folder {
    let folder = Folder::new();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for number in ["1", "2"] {
        folder.write(&format!("cert-{number}.pem"), &cert.pem());
        folder.write(&format!("key-{number}.pem"), &signing_key.serialize_pem());
    }
    for (name, letter) in [("base-file", "0"), ("one", "1"), ("two", "2")] {
        let secret = letter.repeat(32);
        let token = format!("[[token]]\nname = '{name}'\nsecret = '{secret}'\nrole = 'full'\n");
        folder.write(&format!("{name}.toml"), &token);
    }
    folder.write("otlp-headers", "api-key=secret\n");
    folder.write("no-tokens.toml", "[[token]]\nname = 'a b'\nsecret = 'x'\nrole = 'full'\n");
    folder
}

#[test]
fn every_setting_is_read_from_each_source_and_checked() {
    let folder = folder();
    // The system's authorities would be loaded each time.
    let base = [
        ("GATEWAY_TOKENS", format!("base={}", "b".repeat(32))),
        ("GATEWAY_TOKENS_FILE", folder.file("base-file.toml")),
        ("REDIS_CA_FILE", folder.file("cert-1.pem")),
    ];
    let cases = [server_cases(&folder), redis_cases(&folder), telemetry_cases()];
    let suite = Suite {
        table: TABLE,
        cases: cases.into_iter().flatten().collect(),
        base: base.to_vec(),
        read,
        folder: folder.path().to_owned(),
    };
    let (failures, checks) = suite.run();
    assert!(failures.is_empty(), "{} of {checks}:\n{}", failures.len(), failures.join("\n"));
    assert!(checks > 25 * TABLE.settings.len(), "{checks}");
}

fn server_cases(folder: &Folder) -> Vec<Case<Seen>> {
    fn tokens(seen: &Seen) -> String {
        let names = seen.config.reloadable.tokens.names();
        names.filter(|name| !name.starts_with("base")).collect()
    }
    fn certificate(seen: &Seen) -> String {
        let (certificate, _) = seen.config.reloadable_files.certificate.paths();
        assert_eq!(certificate.is_some(), seen.config.reloadable.tls.is_some());
        certificate.map(|path| path.display().to_string()).unwrap_or_default()
    }
    fn key(seen: &Seen) -> String {
        let (_, key) = seen.config.reloadable_files.certificate.paths();
        key.map(|path| path.display().to_string()).unwrap_or_default()
    }
    let [cert, other_cert, own_key, other_key] =
        ["cert-1.pem", "cert-2.pem", "key-1.pem", "key-2.pem"].map(|name| folder.file(name));
    let files = ["one.toml", "two.toml"].map(|name| folder.file(name));
    let variables = ["one", "two"].map(|name| format!("{name}={}", "s".repeat(32)));
    vec![
        Case::new("GATEWAY_LISTEN", ["127.0.0.1:1", "[::1]:2"], |seen: &Seen| {
            seen.config.listen.to_string()
        }),
        Case::new("GATEWAY_ADMIN_LISTEN", ["127.0.0.1:1", "[::1]:2"], |seen: &Seen| {
            seen.config.admin_listen.to_string()
        }),
        Case::new("GATEWAY_TLS_CERT_FILE", [&cert, &other_cert], certificate)
            .with("GATEWAY_TLS_KEY_FILE", &own_key)
            .invalid("/none", "can't be read, or holds no certificate in PEM"),
        Case::new("GATEWAY_TLS_KEY_FILE", [&own_key, &other_key], key)
            .with("GATEWAY_TLS_CERT_FILE", &cert)
            .invalid("/none", "can't be read, or holds no private key in PEM"),
        Case::new("GATEWAY_CONNECTIONS_MAX", ["7", "8"], |seen: &Seen| {
            seen.config.bounds.connections_max.to_string()
        }),
        Case::new("GATEWAY_CONNECTIONS_PER_NETWORK", ["7", "8"], |seen: &Seen| {
            seen.config.bounds.anonymous_per_network_max.to_string()
        }),
        Case::new("GATEWAY_IDLE_SECONDS", ["7", "8"], |seen: &Seen| {
            seen.config.bounds.idle.as_secs().to_string()
        }),
        Case::new("GATEWAY_DRAIN_SECONDS", ["7", "8"], |seen: &Seen| {
            seen.config.bounds.drain.as_secs().to_string()
        }),
        Case::new("GATEWAY_STREAMS_MAX", ["7", "8"], |seen: &Seen| {
            seen.config.streams_max.to_string()
        }),
        Case::new("GATEWAY_RESPONSE_MEMORY_MIB", ["129", "130"], |seen: &Seen| {
            seen.config.response_memory_mib.to_string()
        }),
        Case::new("GATEWAY_THREADS", ["201", "202"], |seen: &Seen| seen.config.threads.to_string()),
        Case::new("GATEWAY_TOKENS_FILE", [&files[0], &files[1]], tokens)
            .seen(["one", "two"])
            .invalid("/none", "can't be read"),
        Case::new("GATEWAY_TOKENS", [&variables[0], &variables[1]], tokens)
            .seen(["one", "two"])
            .invalid("hush", "entry 1 must be name=token")
            .variable_only(),
    ]
}

fn redis_cases(folder: &Folder) -> Vec<Case<Seen>> {
    fn redis_file(seen: &Seen, at: usize) -> String {
        seen.redis_files[at].as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }
    fn address(seen: &Seen) -> String {
        match &seen.config.redis[0].deployment {
            Deployment::Standalone { address, options } => {
                format!("{address}/{}", options.database)
            }
            _ => String::new(),
        }
    }
    let [cert, other_cert, own_key, other_key] =
        ["cert-1.pem", "cert-2.pem", "key-1.pem", "key-2.pem"].map(|name| folder.file(name));
    let sentinels = "redis://s1:1,s2:1/mymaster";
    vec![
        Case::new("REDIS_URL", ["redis://a:1/2", "redis://:hush@b:1"], address)
            .seen(["a:1/2", "b:1/0"])
            .invalid("http://a", "must be redis://host:port/database"),
        Case::new("GATEWAY_DEADLINE_MS", ["7", "8"], |seen: &Seen| {
            seen.config.timeout.as_millis().to_string()
        }),
        Case::new("GATEWAY_REDIS_CONNECTIONS", ["62", "63"], |seen: &Seen| {
            seen.config.redis[0].connections.to_string()
        }),
        Case::new("REDIS_CA_FILE", [&cert, &other_cert], |seen: &Seen| redis_file(seen, 0))
            .invalid("/none", "can't be read, or holds no certificate in PEM"),
        Case::new("REDIS_CERT_FILE", [&cert, &other_cert], |seen: &Seen| redis_file(seen, 1))
            .with("REDIS_KEY_FILE", &own_key)
            .invalid("/none", "can't be read, or holds no certificate in PEM"),
        Case::new("REDIS_KEY_FILE", [&own_key, &other_key], |seen: &Seen| redis_file(seen, 2))
            .with("REDIS_CERT_FILE", &cert)
            .invalid("/none", "can't be read, or holds no private key in PEM"),
        Case::new("REDIS_SENTINEL_USERNAME", ["one", "two"], |seen: &Seen| {
            match &seen.config.redis[0].deployment {
                Deployment::Sentinel { sentinel_options, .. } => {
                    sentinel_options.username.clone().unwrap_or_default()
                }
                _ => String::new(),
            }
        })
        .with("REDIS_URL", sentinels),
        Case::new("REDIS_SENTINEL_PASSWORD", ["one", "two"], |seen: &Seen| {
            match &seen.config.redis[0].deployment {
                Deployment::Sentinel { sentinel_options, .. } => {
                    let password = sentinel_options.password.as_ref().map(Secret::expose);
                    password.unwrap_or_default().to_owned()
                }
                _ => String::new(),
            }
        })
        .with("REDIS_URL", sentinels),
    ]
}

fn telemetry_cases() -> Vec<Case<Seen>> {
    vec![
        Case::new(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            ["http://a.example:4318", "https://b.example/x/"],
            |seen: &Seen| seen.config.telemetry.shown("OTEL_EXPORTER_OTLP_ENDPOINT"),
        )
        .seen(["http://a.example:4318/v1/traces", "https://b.example/x/v1/traces"])
        .invalid("a.example", "must be http:// or https:// with a host")
        .invalid("http://user:hush@a.example", "without user or query")
        .invalid("http://a.example/?key=hush", "without user or query"),
        Case::new(
            "OTEL_EXPORTER_OTLP_HEADERS",
            ["key=one", "key=a%20b, other=%C3%A9"],
            |seen: &Seen| seen.config.telemetry.shown("OTEL_EXPORTER_OTLP_HEADERS"),
        )
        .seen(["key=one", "key=a b,other=é"])
        .invalid("hush", "must be name=value")
        .invalid("a b=hush", "must be name=value"),
        Case::new("OTEL_SERVICE_NAME", ["one", "two"], |seen: &Seen| {
            seen.config.telemetry.shown("OTEL_SERVICE_NAME")
        }),
        Case::new(
            "OTEL_TRACES_SAMPLER",
            ["parentbased_always_off", "traceidratio"],
            |seen: &Seen| seen.config.telemetry.shown("OTEL_TRACES_SAMPLER"),
        ),
        Case::new("OTEL_TRACES_SAMPLER_ARG", ["0.25", "0.5"], |seen: &Seen| {
            seen.config.telemetry.shown("OTEL_TRACES_SAMPLER_ARG")
        })
        .invalid("1.5", "must be a number from 0 to 1")
        .invalid("half", "must be a number from 0 to 1"),
    ]
}

/// Errors of a file of tokens are those of the member that names it.
#[test]
fn error_in_the_file_of_tokens_names_the_member() {
    let folder = folder();
    let read_file = |text: &str| {
        folder.write("redis-gateway.toml", text);
        let path = folder.path().join("redis-gateway.toml");
        let file = Some(path.as_path());
        let sources =
            Sources { flags: BTreeMap::new(), environment: &|_| None, names: Vec::new(), file };
        let errors = read(SettingsReader::new(&TABLE, sources)).err().unwrap();
        let folder = format!("{}/", folder.path().display());
        errors.iter().map(|error| error.to_string().replace(&folder, "")).collect::<Vec<_>>()
    };
    assert_eq!(
        read_file("[tokens]\nfile = 'no-tokens.toml'\n"),
        ["redis-gateway.toml:2:1: error: tokens.file: a name must be 1 to 64 letters, digits, \
          '-', '_' or '.'"]
    );
    let errors = read_file("[tokens]\nfile = 'none.toml'\n");
    assert!(errors[0].starts_with("redis-gateway.toml:2:1: error: tokens.file: can't be read"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    // It may name a file of tokens.
    let errors = read_file("[tokens\n");
    assert!(errors.iter().all(|error| error.contains("can't be parsed")), "{errors:?}");
}

/// The example has every member, each with its default, and is valid with the files that it names.
#[test]
fn example_has_every_member_with_its_default() {
    let example = Example::parse(include_str!("../../../../../docs/redis-gateway.toml")).unwrap();
    assert_eq!(example.differences(&TABLE), [""; 0]);
    let file_of = |setting: &Setting| match (setting.kind, setting.variable) {
        (_, "GATEWAY_TOKENS_FILE") => Some("one.toml"),
        (_, "REDIS_SENTINEL_PASSWORD") => Some("two.toml"),
        (_, "OTEL_EXPORTER_OTLP_HEADERS") => Some("otlp-headers"),
        (Kind::Path, name) if name.ends_with("KEY_FILE") => Some("key-1.pem"),
        (Kind::Path, _) => Some("cert-1.pem"),
        _ => None,
    };
    assert_eq!(example.errors(&TABLE, &folder(), file_of, read), [""; 0]);
}
