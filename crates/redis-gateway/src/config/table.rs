//! Every setting of the redis gateway.

use portcullis_server::settings::{Format, Kind, Setting, SettingsTable};
use portcullis_server::telemetry;

/// The settings of the program.
pub const TABLE: SettingsTable =
    SettingsTable { settings: ALL, file_variable: "GATEWAY_CONFIG", namespaces: &["GATEWAY_"] };

/// The settings that `health` uses.
pub const LISTENERS: [Setting; 4] =
    [GATEWAY_LISTEN, GATEWAY_ADMIN_LISTEN, GATEWAY_TLS_CERT_FILE, GATEWAY_TLS_KEY_FILE];

portcullis_server::settings! {
    GATEWAY_LISTEN = Setting::new("server", "listen", "GATEWAY_LISTEN", Kind::Address)
        .flag("listen").default("127.0.0.1:8379")
        .help("Address and port to listen on");
    GATEWAY_ADMIN_LISTEN =
        Setting::new("server", "admin_listen", "GATEWAY_ADMIN_LISTEN", Kind::Address)
        .flag("admin-listen").default("127.0.0.1:9379")
        .help("Address and port for readiness and metrics, without authentication");
    GATEWAY_TLS_CERT_FILE =
        Setting::new("server", "tls_cert_file", "GATEWAY_TLS_CERT_FILE", Kind::Path)
        .flag("tls-cert-file").otherwise("plain HTTP")
        .help("The redis gateway's own certificate chain in PEM, for HTTPS");
    GATEWAY_TLS_KEY_FILE =
        Setting::new("server", "tls_key_file", "GATEWAY_TLS_KEY_FILE", Kind::Path)
        .flag("tls-key-file").otherwise("plain HTTP")
        .help("Its private key in PEM");
    GATEWAY_CONNECTIONS_MAX =
        Setting::number("server", "connections_max", "GATEWAY_CONNECTIONS_MAX", 1, 1_000_000)
        .flag("connections-max").default("4096")
        .help("Most client connections at once; further ones are closed");
    GATEWAY_CONNECTIONS_PER_NETWORK =
        Setting::number("server", "connections_per_network", "GATEWAY_CONNECTIONS_PER_NETWORK",
            1, 1_000_000)
        .flag("connections-per-network").otherwise("a quarter of GATEWAY_CONNECTIONS_MAX")
        .help("Most connections of one network (a /24 or a /64) without a valid token so far; \
            loopback has no such limit");
    GATEWAY_IDLE_SECONDS =
        Setting::number("server", "idle_seconds", "GATEWAY_IDLE_SECONDS", 1, 3600)
        .flag("idle-seconds").default("75")
        .help("Timeout for an idle client connection and for a request's head, in seconds");
    GATEWAY_DRAIN_SECONDS =
        Setting::number("server", "drain_seconds", "GATEWAY_DRAIN_SECONDS", 1, 600)
        .flag("drain-seconds").default("20")
        .help("How long requests in progress may take after SIGTERM, in seconds");
    GATEWAY_STREAMS_MAX =
        Setting::number("server", "streams_max", "GATEWAY_STREAMS_MAX", 0, 100_000)
        .flag("streams-max").default("256")
        .help("Most event streams (SUBSCRIBE, PSUBSCRIBE, MONITOR) at once");
    GATEWAY_RESPONSE_MEMORY_MIB =
        Setting::number("server", "response_memory_mib", "GATEWAY_RESPONSE_MEMORY_MIB",
            128, 1_048_576)
        .flag("response-memory-mib").default("256")
        .help("Memory for the responses of all requests in progress, in MiB");
    GATEWAY_THREADS = Setting::number("server", "threads", "GATEWAY_THREADS", 1, 256)
        .flag("threads").otherwise("the cores less one")
        .help("Worker threads; one core is left for a Redis on the same machine");
    GATEWAY_TOKENS_FILE = Setting::new("tokens", "file", "GATEWAY_TOKENS_FILE", Kind::Path)
        .flag("tokens-file")
        .help("A TOML file of tokens with roles; see docs/redis-gateway.md");
    GATEWAY_TOKENS = Setting::new("tokens", "list", "GATEWAY_TOKENS",
            Kind::Secret { file: "file", format: Format::ANY })
        .otherwise("one token at least, here or in the file")
        .help("name=token or name:read=token, separated by commas");
    REDIS_URL = Setting::new("redis", "url", "REDIS_URL", Kind::Text(Format::ANY))
        .flag("redis-url").default("redis://127.0.0.1:6379").sensitive()
        .help("The Redis server: `redis://[user:password@]host:port/database`, rediss:// for TLS; \
            `redis://s1:26379,s2:26379/mymaster` for Sentinels; `redis://n1,n2,n3` or \
            `redis://n1?cluster` for a Cluster");
    GATEWAY_DEADLINE_MS =
        Setting::number("redis", "timeout_ms", "GATEWAY_DEADLINE_MS", 1, 60_000)
        .flag("deadline-ms").default("1000")
        .help("Timeout for Redis, for one request, in milliseconds");
    GATEWAY_REDIS_CONNECTIONS =
        Setting::number("redis", "connections", "GATEWAY_REDIS_CONNECTIONS", 1, 64)
        .flag("redis-connections").otherwise("twice the cores")
        .help("Connections to each Redis server");
    REDIS_CA_FILE = Setting::new("redis", "ca_file", "REDIS_CA_FILE", Kind::Path)
        .flag("redis-ca-file").otherwise("the system's")
        .help("Certificate authorities in PEM for the Redis servers of a rediss:// address");
    REDIS_CERT_FILE = Setting::new("redis", "cert_file", "REDIS_CERT_FILE", Kind::Path)
        .flag("redis-cert-file")
        .help("The redis gateway's client certificate for Redis in PEM");
    REDIS_KEY_FILE = Setting::new("redis", "key_file", "REDIS_KEY_FILE", Kind::Path)
        .flag("redis-key-file")
        .help("Its private key in PEM");
    REDIS_SENTINEL_USERNAME =
        Setting::new("sentinel", "username", "REDIS_SENTINEL_USERNAME", Kind::Text(Format::ANY))
        .flag("redis-sentinel-username")
        .help("The username for Sentinels that require one");
    REDIS_SENTINEL_PASSWORD = Setting::new("sentinel", "password", "REDIS_SENTINEL_PASSWORD",
            Kind::Secret { file: "password_file", format: Format::ANY })
        .help("The password for the Sentinels");
    OTEL_EXPORTER_OTLP_ENDPOINT = telemetry::OTLP_ENDPOINT;
    OTEL_EXPORTER_OTLP_HEADERS = telemetry::OTLP_HEADERS;
    OTEL_SERVICE_NAME = telemetry::SERVICE_NAME.default("portcullis-redis-gateway");
    OTEL_TRACES_SAMPLER = telemetry::TRACES_SAMPLER;
    OTEL_TRACES_SAMPLER_ARG = telemetry::TRACES_SAMPLER_ARG;
}
