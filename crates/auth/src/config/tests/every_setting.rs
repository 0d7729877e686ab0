//! Each setting, given by each source, and wrong in each way.

use super::{key, validate};
use crate::config::{AccessTokenFormat, Config, TABLE};
use portcullis_core::{EdgeAuthKey, EdgeStatement, UnixSeconds};
use portcullis_server::settings::cases::{Case, Example, Folder, Suite};
use portcullis_server::settings::{Kind, Setting};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::path::Path;

/// Returns a folder with two equal certificates and keys.
fn folder() -> Folder {
    let folder = Folder::new();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for number in ["1", "2"] {
        folder.write(&format!("cert-{number}.pem"), &cert.pem());
        folder.write(&format!("key-{number}.pem"), &signing_key.serialize_pem());
    }
    folder
}

#[test]
fn every_setting_is_read_from_each_source_and_checked() {
    let folder = folder();
    let base = [
        ("ISSUER", "https://base.example".to_owned()),
        ("AUDIENCE", "base".to_owned()),
        ("STORE_URL", "https://base.example".to_owned()),
        ("STORE_TOKEN", "base".to_owned()),
        ("MASTER_KEY", format!("base:{}", "A".repeat(43))),
        ("CONSOLE_LISTEN", "127.0.0.1:9".to_owned()),
    ];
    let cases = [server_cases(&folder), secret_cases(), other_cases(), telemetry_cases()]
        .into_iter()
        .flatten();
    let suite = Suite {
        table: TABLE,
        cases: cases.collect(),
        base: base.to_vec(),
        read: validate,
        folder: folder.path().to_owned(),
    };
    let (failures, checks) = suite.run();
    assert!(failures.is_empty(), "{} of {checks}:\n{}", failures.len(), failures.join("\n"));
    assert!(checks > 30 * TABLE.settings.len(), "{checks}");
}

fn server_cases(folder: &Folder) -> Vec<Case<Config>> {
    fn path(path: Option<&Path>) -> String {
        path.map(|path| path.display().to_string()).unwrap_or_default()
    }
    let [cert, other_cert, key, other_key] =
        ["cert-1.pem", "cert-2.pem", "key-1.pem", "key-2.pem"].map(|name| folder.file(name));
    vec![
        Case::new("AUTH_LISTEN", ["127.0.0.1:1", "[::1]:2"], |config: &Config| {
            config.server.listen.to_string()
        }),
        Case::new("AUTH_ADMIN_LISTEN", ["127.0.0.1:1", "[::1]:2"], |config: &Config| {
            config.server.admin_listen.to_string()
        }),
        Case::new("AUTH_TLS_CERT_FILE", [&cert, &other_cert], |config: &Config| {
            assert_eq!(
                config.server.tls.is_some(),
                config.server.certificate_files.paths().0.is_some()
            );
            path(config.server.certificate_files.paths().0)
        })
        .with("AUTH_TLS_KEY_FILE", &key)
        .invalid("/none", "can't be read, or holds no certificate in PEM"),
        Case::new("AUTH_TLS_KEY_FILE", [&key, &other_key], |config: &Config| {
            path(config.server.certificate_files.paths().1)
        })
        .with("AUTH_TLS_CERT_FILE", &cert)
        .invalid("/none", "can't be read, or holds no private key in PEM"),
        Case::new("AUTH_CONNECTIONS_MAX", ["7", "8"], |config: &Config| {
            config.server.bounds.connections_max.to_string()
        }),
        Case::new("AUTH_CONNECTIONS_PER_NETWORK", ["7", "8"], |config: &Config| {
            config.server.bounds.anonymous_per_network_max.to_string()
        }),
        Case::new("AUTH_IDLE_SECONDS", ["7", "8"], |config: &Config| {
            config.server.bounds.idle.as_secs().to_string()
        }),
        Case::new("AUTH_DRAIN_SECONDS", ["7", "8"], |config: &Config| {
            config.server.bounds.drain.as_secs().to_string()
        }),
    ]
}

fn secret_cases() -> Vec<Case<Config>> {
    let [one, other] = [1, 2].map(edge_key);
    let named = [key(), key().replace("a:", "b:")];
    let named = [named[0].as_str(), named[1].as_str()];
    let clients = ["one", "two"].map(|name| format!("{name}={}", "s".repeat(32)));
    const NAMED: &str = "must be name:key, the key by openssl rand -base64 32";
    const EDGE: &str = "must be 32 bytes in base64";
    vec![
        Case::new("STORE_TOKEN", ["one", "two"], |config: &Config| config.store.token.clone()),
        Case::new("RECORD_ENCRYPTION_KEY", named, |config: &Config| format!("{:?}", config.seal))
            .seen([r#"Some(Seal(["a"], REDACTED))"#, r#"Some(Seal(["b"], REDACTED))"#])
            .invalid("hush", NAMED),
        Case::new("RECORD_ENCRYPTION_KEY_PREVIOUS", named, |config: &Config| {
            format!("{:?}", config.seal)
        })
        .seen([r#"Some(Seal(["c", "a"], REDACTED))"#, r#"Some(Seal(["c", "b"], REDACTED))"#])
        .with("RECORD_ENCRYPTION_KEY", &key().replace("a:", "c:"))
        .invalid("hush", NAMED),
        Case::new("EDGE_AUTH_KEY", [&one, &other], edge_keys)
            .seen(["1", "2"])
            .invalid("hush", EDGE),
        Case::new("EDGE_AUTH_KEY_PREVIOUS", [&one, &other], edge_keys)
            .seen(["13", "23"])
            .with("EDGE_AUTH_KEY", &edge_key(3))
            .invalid("hush", EDGE),
        Case::new("MASTER_KEY", named, |config: &Config| {
            format!("{:?}", config.signing.master_key)
        })
        .seen([r#"Seal(["a"], REDACTED)"#, r#"Seal(["b"], REDACTED)"#])
        .invalid("hush", NAMED),
        Case::new("MASTER_KEY_PREVIOUS", named, |config: &Config| {
            format!("{:?}", config.signing.master_key)
        })
        .seen([r#"Seal(["base", "a"], REDACTED)"#, r#"Seal(["base", "b"], REDACTED)"#])
        .invalid("hush", NAMED),
        Case::new("INTROSPECTION_CLIENTS", [&clients[0], &clients[1]], |config: &Config| {
            let names = ["one", "two"].into_iter();
            names.filter(|name| config.introspection_clients.is_known(name)).collect()
        })
        .seen(["one", "two"])
        .invalid("hush", "must be name=secret")
        .invalid("a=hush", "shorter than 32 characters"),
    ]
}

fn other_cases() -> Vec<Case<Config>> {
    vec![
        Case::new("DATABASE_URL", ["sqlite://a.db", "postgres://u:p@h/d"], |config: &Config| {
            config.database_url.clone()
        })
        .invalid("mysql://h", "must be sqlite://file.db or")
        .invalid("sqlite::memory:", "a database in memory"),
        Case::new("STORE_URL", ["https://a.example", "memcached://h:1"], |config: &Config| {
            config.store.url.clone()
        })
        .invalid("a.example", "must be http:// or https://"),
        Case::new("KEY_PREFIX", ["one", "two"], |config: &Config| config.store.key_prefix.clone())
            .invalid("a:b", "may have letters, digits"),
        Case::new("TRUSTED_PROXY_HOPS", ["1", "2"], |config: &Config| {
            config.trusted_proxy_hops.to_string()
        }),
        Case::new("ISSUER", ["https://a.example", "http://b.example/x"], |config: &Config| {
            config.store.issuer.clone()
        })
        .invalid("https://a.example/", "no slash at its end"),
        Case::new("AUDIENCE", ["one", "two"], |config: &Config| config.audience.clone()),
        Case::new("CLIENT_ID", ["one", "two"], |config: &Config| config.client_id.clone()),
        Case::new("ACCESS_TOKEN_FORMAT", ["opaque", "jwt"], |config: &Config| {
            match config.access_token_format {
                AccessTokenFormat::Jwt => "jwt".to_owned(),
                AccessTokenFormat::Opaque => "opaque".to_owned(),
            }
        }),
        Case::new("ACCESS_TOKEN_SECONDS", ["7", "8"], |config: &Config| {
            config.access_token_seconds.to_string()
        }),
        Case::new("REFRESH_TOKEN_SECONDS", ["70", "80"], |config: &Config| {
            config.refresh_token_seconds.to_string()
        }),
        Case::new("REFRESH_IDLE_SECONDS", ["70", "80"], |config: &Config| {
            config.refresh_idle_seconds.to_string()
        })
        .with("ACCESS_TOKEN_SECONDS", "60"),
        Case::new("REFRESH_GRACE_SECONDS", ["7", "8"], |config: &Config| {
            config.refresh_grace_seconds.to_string()
        }),
        Case::new("SESSIONS_PER_USER_MAX", ["7", "8"], |config: &Config| {
            config.sessions_per_user_max.to_string()
        }),
        Case::new("SIGNING_ALGORITHM", ["ES256", "EdDSA"], |config: &Config| {
            config.signing.algorithm.name().to_owned()
        }),
        Case::new("SIGNING_KEY_SECONDS", ["3600", "7200"], |config: &Config| {
            config.signing.key_seconds.to_string()
        }),
        Case::new(
            "COOKIE_ORIGINS",
            ["https://a.example,https://b.example:1", "http://c.example"],
            |config: &Config| config.cookie_origins.join(","),
        )
        .invalid("https://a.example/x", "must be origins as browsers send them"),
        Case::new("LOGIN_ATTEMPTS_PER_USERNAME", ["7", "8"], |config: &Config| {
            config.attempts.per_username.to_string()
        }),
        Case::new("LOGIN_ATTEMPTS_PER_ADDRESS", ["7", "8"], |config: &Config| {
            config.attempts.per_address.to_string()
        }),
        Case::new("API_KEY_PREFIX", ["pck_test_", "a1_"], |config: &Config| {
            config.api_keys.prefix.clone()
        })
        .invalid("pck_live", "must have 3 to 32 of a-z"),
        Case::new("API_KEYS_PER_OWNER_MAX", ["7", "8"], |config: &Config| {
            config.api_keys.per_owner_max.to_string()
        }),
        Case::new("CONSOLE_LISTEN", ["127.0.0.1:1", "[::1]:2"], |config: &Config| {
            config.console.as_ref().map(|own| own.listen.to_string()).unwrap_or_default()
        }),
        Case::new(
            "CONSOLE_ORIGIN",
            ["https://a.example", "http://b.example:1"],
            |config: &Config| {
                config.console.as_ref().and_then(|own| own.origin.clone()).unwrap_or_default()
            },
        )
        .invalid("https://a.example/", "must be an origin as browsers send it")
        .invalid("a.example", "must be an origin as browsers send it"),
        Case::new("CONSOLE_SESSION_SECONDS", ["300", "43200"], |config: &Config| {
            config.console.as_ref().map(|own| own.session_seconds.to_string()).unwrap_or_default()
        }),
        Case::new("MANAGEMENT_WRITES_PER_MINUTE", ["7", "8"], |config: &Config| {
            config.management_writes_per_minute.to_string()
        }),
        Case::new("AUDIT_DAYS", ["91", "92"], |config: &Config| {
            (config.audit_seconds / 86_400).to_string()
        }),
        Case::new("USAGE_DAYS", ["91", "92"], |config: &Config| {
            (config.usage_seconds / 86_400).to_string()
        }),
    ]
}

fn telemetry_cases() -> Vec<Case<Config>> {
    vec![
        Case::new(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            ["http://a.example:4318", "https://b.example/x/"],
            |config: &Config| config.telemetry.shown("OTEL_EXPORTER_OTLP_ENDPOINT"),
        )
        .seen(["http://a.example:4318/v1/traces", "https://b.example/x/v1/traces"])
        .invalid("a.example", "must be http:// or https:// with a host")
        .invalid("http://user:hush@a.example", "without user or query")
        .invalid("http://a.example/?key=hush", "without user or query"),
        Case::new(
            "OTEL_EXPORTER_OTLP_HEADERS",
            ["key=one", "key=a%20b, other=%C3%A9"],
            |config: &Config| config.telemetry.shown("OTEL_EXPORTER_OTLP_HEADERS"),
        )
        .seen(["key=one", "key=a b,other=é"])
        .invalid("hush", "must be name=value")
        .invalid("a b=hush", "must be name=value"),
        Case::new("OTEL_SERVICE_NAME", ["one", "two"], |config: &Config| {
            config.telemetry.shown("OTEL_SERVICE_NAME")
        }),
        Case::new(
            "OTEL_TRACES_SAMPLER",
            ["parentbased_always_off", "traceidratio"],
            |config: &Config| config.telemetry.shown("OTEL_TRACES_SAMPLER"),
        ),
        Case::new("OTEL_TRACES_SAMPLER_ARG", ["0.25", "0.5"], |config: &Config| {
            config.telemetry.shown("OTEL_TRACES_SAMPLER_ARG")
        })
        .invalid("1.5", "must be a number from 0 to 1")
        .invalid("half", "must be a number from 0 to 1"),
    ]
}

fn edge_key(byte: u8) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode([byte; 32])
}

/// Returns the bytes of the keys that prove a statement.
fn edge_keys(config: &Config) -> String {
    let Some(keys) = &config.edge_auth_keys else { return String::new() };
    let statement = EdgeStatement { method: "GET", path: "/", ..EdgeStatement::default() };
    let proves = |byte: &u8| {
        let key = EdgeAuthKey::parse(&edge_key(*byte)).unwrap();
        let field = key.sign(&statement, UnixSeconds(5)).unwrap();
        keys.verify(&field, &statement, UnixSeconds(5)).is_ok()
    };
    (1..=3).filter(proves).map(|byte| byte.to_string()).collect()
}

/// The example has every member, each with its default, and is valid with the files that it names.
#[test]
fn example_has_every_member_with_its_default() {
    let example = Example::parse(include_str!("../../../../../docs/auth.toml")).unwrap();
    assert_eq!(example.differences(&TABLE), [""; 0]);
    let folder = folder();
    let file_of = |setting: &Setting| {
        let (Kind::Secret { .. } | Kind::Path) = setting.kind else { return None };
        let content = match setting.variable {
            "AUTH_TLS_CERT_FILE" => return Some("cert-1.pem"),
            "AUTH_TLS_KEY_FILE" => return Some("key-1.pem"),
            "OTEL_EXPORTER_OTLP_HEADERS" => "api-key=secret".to_owned(),
            "INTROSPECTION_CLIENTS" => format!("edge={}", "s".repeat(32)),
            name if name.starts_with("EDGE_AUTH") => edge_key(1),
            name => format!("{}:{}", name.len(), "A".repeat(43)),
        };
        folder.write(setting.variable, &content);
        Some(setting.variable)
    };
    assert_eq!(example.errors(&TABLE, &folder, file_of, validate), [""; 0]);
}
