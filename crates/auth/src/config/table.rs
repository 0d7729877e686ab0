//! Every setting of the auth service.

use super::text::{is_database_url, is_issuer, is_key_prefix, is_origin, is_store_url};
use crate::token::ACCESS_TOKEN_SECONDS_MAX;
use portcullis_core::{EdgeAuthKey, Seal, api_key};
use portcullis_server::settings::{Format, Kind, Setting, SettingsTable};
use portcullis_server::telemetry;

/// The settings of the program.
pub const TABLE: SettingsTable = SettingsTable {
    settings: ALL,
    file_variable: "AUTH_CONFIG",
    namespaces: &["LOGIN_ATTEMPTS_", "RECORD_ENCRYPTION_KEY_"],
};

/// The settings that commands other than `serve` use as well.
pub const SHARED: [Setting; 7] =
    [DATABASE_URL, ISSUER, STORE_URL, KEY_PREFIX, REFRESH_IDLE_SECONDS, AUDIT_DAYS, USAGE_DAYS];

/// The settings that `health` uses.
pub const LISTENERS: [Setting; 4] =
    [AUTH_LISTEN, AUTH_ADMIN_LISTEN, AUTH_TLS_CERT_FILE, AUTH_TLS_KEY_FILE];

portcullis_server::settings! {
    AUTH_LISTEN = Setting::new("server", "listen", "AUTH_LISTEN", Kind::Address)
        .flag("listen").default("127.0.0.1:8788")
        .help("Address and port to listen on");
    AUTH_ADMIN_LISTEN = Setting::new("server", "admin_listen", "AUTH_ADMIN_LISTEN", Kind::Address)
        .flag("admin-listen").default("127.0.0.1:9788")
        .help("Address and port for readiness and metrics, without authentication");
    AUTH_TLS_CERT_FILE = Setting::new("server", "tls_cert_file", "AUTH_TLS_CERT_FILE", Kind::Path)
        .flag("tls-cert-file").otherwise("plain HTTP")
        .help("The service's own certificate chain in PEM, for HTTPS; SIGHUP reloads it");
    AUTH_TLS_KEY_FILE = Setting::new("server", "tls_key_file", "AUTH_TLS_KEY_FILE", Kind::Path)
        .flag("tls-key-file").otherwise("plain HTTP")
        .help("Its private key in PEM");
    AUTH_CONNECTIONS_MAX =
        Setting::number("server", "connections_max", "AUTH_CONNECTIONS_MAX", 1, 1_000_000)
        .flag("connections-max").default("1024")
        .help("Most client connections at once; further ones are closed");
    AUTH_CONNECTIONS_PER_NETWORK =
        Setting::number("server", "connections_per_network", "AUTH_CONNECTIONS_PER_NETWORK",
            1, 1_000_000)
        .flag("connections-per-network").otherwise("a quarter of AUTH_CONNECTIONS_MAX")
        .help("Most connections of one network (a /24 or a /64) that have not authenticated; \
            loopback has no such limit");
    AUTH_IDLE_SECONDS = Setting::number("server", "idle_seconds", "AUTH_IDLE_SECONDS", 1, 3600)
        .flag("idle-seconds").default("75")
        .help("Timeout for an idle client connection, in seconds");
    AUTH_DRAIN_SECONDS = Setting::number("server", "drain_seconds", "AUTH_DRAIN_SECONDS", 1, 600)
        .flag("drain-seconds").default("15")
        .help("How long requests in progress may take after SIGTERM, in seconds");
    DATABASE_URL = Setting::new("database", "url", "DATABASE_URL", Kind::Text(Format {
            accepts: is_database_url,
            expected: "must be sqlite://file.db or postgres://user:password@host/database",
        }))
        .flag("database-url").default("sqlite://portcullis.db").sensitive()
        .help("sqlite://file.db, or postgres://user:password@host/database");
    STORE_URL = Setting::new("store", "url", "STORE_URL", Kind::Text(Format {
            accepts: is_store_url,
            expected: "must be http:// or https:// with a host, or memcached://host:port \
                       (memcacheds:// for TLS)",
        }))
        .flag("store-url").required("give the store's REST URL")
        .help("The store: Upstash's REST URL or the redis gateway's, or memcached://host:port");
    STORE_TOKEN =
        Setting::new("store", "token", "STORE_TOKEN",
            Kind::Secret { file: "token_file", format: Format::ANY })
        .required("give the store's bearer token")
        .help("The bearer token of the store");
    KEY_PREFIX = Setting::new("store", "key_prefix", "KEY_PREFIX", Kind::Text(Format {
            accepts: is_key_prefix,
            expected: "may have letters, digits, - and _, 1 to 64 of them",
        }))
        .flag("key-prefix").default("pc")
        .help("The prefix of the store's keys; the edge must have the same");
    RECORD_ENCRYPTION_KEY =
        Setting::new("record_encryption", "key", "RECORD_ENCRYPTION_KEY",
            Kind::Secret { file: "key_file", format: NAMED_KEY })
        .otherwise("records are plain")
        .help("The key of the records in the store, name:key; the edge must have the same");
    RECORD_ENCRYPTION_KEY_PREVIOUS =
        Setting::new("record_encryption", "previous_key", "RECORD_ENCRYPTION_KEY_PREVIOUS",
            Kind::Secret { file: "previous_key_file", format: NAMED_KEY })
        .help("The key before it, while it is replaced");
    EDGE_AUTH_KEY =
        Setting::new("edge_auth", "key", "EDGE_AUTH_KEY",
            Kind::Secret { file: "key_file", format: EDGE_KEY })
        .otherwise("no request counts as the edge's")
        .help("The key by which the edge proves what it says of a client");
    EDGE_AUTH_KEY_PREVIOUS =
        Setting::new("edge_auth", "previous_key", "EDGE_AUTH_KEY_PREVIOUS",
            Kind::Secret { file: "previous_key_file", format: EDGE_KEY })
        .help("The key before it, while it is replaced");
    TRUSTED_PROXY_HOPS =
        Setting::number("client_address", "trusted_proxy_hops", "TRUSTED_PROXY_HOPS", 0, 10)
        .flag("trusted-proxy-hops").default("0")
        .help("How many proxies append to X-Forwarded-For before requests that do not prove, by \
            EDGE_AUTH_KEY, to come through the edge; with 0 the connection's address counts");
    ISSUER = Setting::new("tokens", "issuer", "ISSUER", Kind::Text(Format {
            accepts: is_issuer,
            expected: "must be http:// or https:// with a host, no slash at its end",
        }))
        .flag("issuer").required("give the edge's public URL")
        .help("The iss of every token: the public URL of the edge");
    AUDIENCE = Setting::new("tokens", "audience", "AUDIENCE", Kind::Text(Format::ANY))
        .flag("audience").required("give the aud that the edge expects")
        .help("The aud of every access token");
    CLIENT_ID = Setting::new("tokens", "client_id", "CLIENT_ID", Kind::Text(Format::ANY))
        .flag("client-id").default("portcullis")
        .help("The client_id of every access token");
    API_KEY_PREFIX =
        Setting::new("tokens", "api_key_prefix", "API_KEY_PREFIX", Kind::Text(Format {
            accepts: api_key::is_prefix,
            expected: "must have 3 to 32 of a-z, 0-9 and _, a letter first and _ last",
        }))
        .flag("api-key-prefix").default("pck_live_")
        .help("The prefix of new API keys; the edge's api_key_prefixes must have it");
    API_KEYS_PER_OWNER_MAX =
        Setting::number("api_keys", "per_owner_max", "API_KEYS_PER_OWNER_MAX", 1, 1000)
        .flag("api-keys-per-owner-max").default("100")
        .help("Most API keys of one user or client at once");
    ACCESS_TOKEN_FORMAT =
        Setting::new("access_tokens", "format", "ACCESS_TOKEN_FORMAT",
            Kind::OneOf(&["jwt", "opaque"]))
        .flag("access-token-format").default("jwt")
        .help("RFC 9068, or random and known to the store and by introspection");
    ACCESS_TOKEN_SECONDS =
        Setting::number("access_tokens", "seconds", "ACCESS_TOKEN_SECONDS",
            1, ACCESS_TOKEN_SECONDS_MAX as u32)
        .flag("access-token-seconds").default("900")
        .help("Life of an access token, in seconds");
    REFRESH_TOKEN_SECONDS =
        Setting::number("refresh_tokens", "seconds", "REFRESH_TOKEN_SECONDS", 60, YEAR_SECONDS)
        .flag("refresh-token-seconds").default("2592000")
        .help("Life of a session, even if it is used, in seconds");
    REFRESH_IDLE_SECONDS =
        Setting::number("refresh_tokens", "idle_seconds", "REFRESH_IDLE_SECONDS", 60, YEAR_SECONDS)
        .flag("refresh-idle-seconds").default("1209600")
        .help("A session ends if it is not refreshed for this long, in seconds, at least the \
            life of an access token");
    REFRESH_GRACE_SECONDS =
        Setting::number("refresh_tokens", "grace_seconds", "REFRESH_GRACE_SECONDS", 0, 300)
        .flag("refresh-grace-seconds").default("10")
        .help("How long a spent refresh token returns the same response again, in seconds");
    SESSIONS_PER_USER_MAX =
        Setting::number("sessions", "per_user_max", "SESSIONS_PER_USER_MAX", 1, 1000)
        .flag("sessions-per-user-max").default("100")
        .help("Most sessions of one user at once; a login beyond ends the oldest");
    SIGNING_ALGORITHM =
        Setting::new("signing", "algorithm", "SIGNING_ALGORITHM", Kind::OneOf(&["EdDSA", "ES256"]))
        .flag("signing-algorithm").default("EdDSA")
        .help("The algorithm of the keys that sign tokens");
    SIGNING_KEY_SECONDS =
        Setting::number("signing", "key_seconds", "SIGNING_KEY_SECONDS", 3600, YEAR_SECONDS)
        .or_zero()
        .flag("signing-key-seconds").default("7776000")
        .help("How long a key signs, in seconds; with 0 until `keys rotate`");
    MASTER_KEY =
        Setting::new("signing", "master_key", "MASTER_KEY",
            Kind::Secret { file: "master_key_file", format: NAMED_KEY })
        .required("make one by echo \"k1:$(openssl rand -base64 32)\" and keep it")
        .help("The key that seals the signing keys in the database, name:key");
    MASTER_KEY_PREVIOUS =
        Setting::new("signing", "previous_master_key", "MASTER_KEY_PREVIOUS",
            Kind::Secret { file: "previous_master_key_file", format: NAMED_KEY })
        .help("The key before it, while it is replaced");
    COOKIE_ORIGINS = Setting::new("cookies", "origins", "COOKIE_ORIGINS", Kind::List(Format {
            accepts: is_origin,
            expected: "must be origins as browsers send them, such as https://app.example",
        }))
        .flag("cookie-origins").otherwise("the issuer's own")
        .help("Origins whose pages may refresh by cookie");
    CONSOLE_LISTEN = Setting::new("console", "listen", "CONSOLE_LISTEN", Kind::Address)
        .flag("console-listen").otherwise("no console")
        .help("Address and port of the operator console, such as 127.0.0.1:8790");
    CONSOLE_ORIGIN = Setting::new("console", "origin", "CONSOLE_ORIGIN", Kind::Text(Format {
            accepts: is_origin,
            expected: "must be an origin as browsers send it, such as https://console.example",
        }))
        .flag("console-origin").otherwise("http:// and CONSOLE_LISTEN")
        .help("The origin at which browsers open the console; with https its cookie is Secure");
    CONSOLE_SESSION_SECONDS =
        Setting::number("console", "session_seconds", "CONSOLE_SESSION_SECONDS", 300, 43_200)
        .flag("console-session-seconds").default("3600")
        .help("Life of a session in the console, in seconds; an idle one ends after 15 minutes");
    LOGIN_ATTEMPTS_PER_USERNAME =
        Setting::number("login", "attempts_per_username", "LOGIN_ATTEMPTS_PER_USERNAME", 0, 1000)
        .flag("login-attempts-per-username").default("5")
        .help("Login attempts with one username before it has to wait; with 0 any number");
    LOGIN_ATTEMPTS_PER_ADDRESS =
        Setting::number("login", "attempts_per_address", "LOGIN_ATTEMPTS_PER_ADDRESS", 0, 100_000)
        .flag("login-attempts-per-address").default("20")
        .help("Failed login attempts from one address before it has to wait; with 0 any number");
    MANAGEMENT_WRITES_PER_MINUTE =
        Setting::number("management", "writes_per_minute", "MANAGEMENT_WRITES_PER_MINUTE",
            0, 100_000)
        .flag("management-writes-per-minute").default("600")
        .help("Changes of keys, clients, users, blocks and limits by one caller, at once and in \
            each minute; with 0 any number");
    INTROSPECTION_CLIENTS =
        Setting::new("introspection", "clients", "INTROSPECTION_CLIENTS",
            Kind::Secret { file: "clients_file", format: Format::ANY })
        .help("The clients that may introspect tokens: name=secret, separated by commas, each \
            secret at least 32 characters");
    AUDIT_DAYS = Setting::number("audit", "days", "AUDIT_DAYS", 90, 36_500)
        .flag("audit-days").default("400")
        .help("How long security events are kept, in days");
    USAGE_DAYS = Setting::number("database", "usage_days", "USAGE_DAYS", 1, 3660)
        .flag("usage-days").default("90")
        .help("How long the hourly counts of requests are kept, in days");
    OTEL_EXPORTER_OTLP_ENDPOINT = telemetry::OTLP_ENDPOINT;
    OTEL_EXPORTER_OTLP_HEADERS = telemetry::OTLP_HEADERS;
    OTEL_SERVICE_NAME = telemetry::SERVICE_NAME.default("portcullis-auth");
    OTEL_TRACES_SAMPLER = telemetry::TRACES_SAMPLER;
    OTEL_TRACES_SAMPLER_ARG = telemetry::TRACES_SAMPLER_ARG;
}

/// A key with a name, as it seals records and signing keys.
const NAMED_KEY: Format = Format {
    accepts: |text| Seal::new(text, None).is_some(),
    expected: "must be name:key, the key by openssl rand -base64 32",
};

/// A key without a name.
const EDGE_KEY: Format = Format {
    accepts: |text| EdgeAuthKey::parse(text).is_some(),
    expected: "must be 32 bytes in base64, by openssl rand -base64 32",
};

const YEAR_SECONDS: u32 = 31_536_000;
