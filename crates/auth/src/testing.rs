//! A service for tests. Time is an argument. The store is unreachable, so its commands stay in the
//! outbox.

use crate::accounts::{IntrospectionClients, LoginAttemptLimits, hash_password};
use crate::api_keys::{ApiKeySettings, ApiKeys};
use crate::audit::ClientInfo;
use crate::config::{AccessTokenFormat, Config, ServerSettings, StoreSettings};
use crate::db::{Db, Migrate, User};
use crate::outbox::{Publisher, RecordSettings};
use crate::problem::Problem;
use crate::random::{fill_random, random_id};
use crate::sessions::{Sessions, Tokens};
use crate::signing_keys::{KeyAlgorithm, KeyRing, SigningSettings};
use crate::store::Store;
use portcullis_core::{Seal, StoreKeys, UnixSeconds};
use portcullis_server::Bounds;
use portcullis_server::settings::CertificateFiles;
use portcullis_server::telemetry::TelemetrySettings;
use std::sync::Arc;

/// A service with its own database.
pub struct TestService {
    pub sessions: Sessions,
    pub api_keys: ApiKeys,
    pub db: Arc<Db>,
    pub publisher: Arc<Publisher>,
    pub url: String,
}

/// The password of every test user.
pub const PASSWORD: &str = "correct horse";
/// The time when tests begin.
pub const T: UnixSeconds = UnixSeconds(1_800_000_000);

/// Returns the settings of signing keys.
pub fn signing(algorithm: KeyAlgorithm) -> SigningSettings {
    let master_key = Seal::new(&format!("m:{}", "A".repeat(43)), None).unwrap();
    SigningSettings { master_key, algorithm, key_seconds: 10_000 }
}

/// Returns settings with the database at `url`.
pub fn config(url: &str) -> Config {
    Config {
        server: ServerSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            admin_listen: "127.0.0.1:0".parse().unwrap(),
            bounds: Bounds::ADMIN,
            certificate_files: CertificateFiles::default(),
            tls: None,
        },
        database_url: url.to_owned(),
        store: StoreSettings {
            issuer: "https://a.example".into(),
            url: "http://127.0.0.1:1".into(),
            token: "x".into(),
            key_prefix: "pc".into(),
        },
        audience: "api".into(),
        client_id: "portcullis".into(),
        seal: None,
        edge_auth_keys: None,
        trusted_proxy_hops: 0,
        signing: signing(KeyAlgorithm::EdDsa),
        access_token_format: AccessTokenFormat::Jwt,
        access_token_seconds: 900,
        refresh_token_seconds: 10_000,
        refresh_idle_seconds: 3000,
        refresh_grace_seconds: 10,
        sessions_per_user_max: 3,
        cookie_origins: Vec::new(),
        introspection_clients: IntrospectionClients::default(),
        attempts: LoginAttemptLimits { per_username: 0, per_address: 0 },
        audit_seconds: 400 * 86_400,
        api_keys: ApiKeySettings { prefix: "pck_live_".into(), per_owner_max: 5 },
        usage_seconds: 90 * 86_400,
        console: None,
        management_writes_per_minute: 0,
        telemetry: TelemetrySettings::default(),
    }
}

impl TestService {
    /// Opens a service with the database at `url`.
    pub async fn open(url: &str, config: Config) -> Self {
        let db = Arc::new(Db::open(url, Migrate::Always).await.unwrap());
        let store = Arc::new(Store::new(&config.store.url, "x").unwrap());
        let publisher = Publisher::new(
            Arc::clone(&db),
            Arc::clone(&store),
            &config.store.issuer,
            StoreKeys::new(&config.store.key_prefix),
        );
        let records =
            RecordSettings { audience: config.audience.clone(), seal: config.seal.clone() };
        let publisher = Arc::new(publisher.with_records(records));
        let keys = KeyRing::open(Arc::clone(&db), config.signing.clone(), T).await.unwrap();
        let key_settings = config.api_keys.clone();
        let sessions =
            Sessions::new(config, Arc::clone(&db), &store, Arc::clone(&publisher), Arc::new(keys));
        let sessions = sessions.unwrap();
        let audit = Some(sessions.audit().clone());
        let api_keys = ApiKeys::new(key_settings, Arc::clone(&db), Arc::clone(&publisher), audit);
        Self { sessions, api_keys, db, publisher, url: url.to_owned() }
    }

    /// Adds a user.
    pub async fn add(&self, username: &str) -> User {
        let user = User {
            id: random_id(),
            username: username.to_owned(),
            password_hash: hash_password(PASSWORD).unwrap(),
            scope: "read write".into(),
            ..User::default()
        };
        assert!(self.db.add_user(&user, &[], T).await.unwrap());
        user
    }

    /// Begins a session.
    pub async fn login(&self, username: &str, now: UnixSeconds) -> Tokens {
        let client = ClientInfo { device: "test".into(), ..ClientInfo::default() };
        self.sessions.login(username, PASSWORD.into(), &client, now).await.unwrap()
    }

    /// Refreshes with the whole scope.
    pub async fn refresh(&self, token: &str, now: UnixSeconds) -> Result<Tokens, Problem> {
        self.sessions.refresh(token, None, None, &ClientInfo::default(), now).await
    }

    /// Returns whether an access token is active.
    pub async fn is_active(&self, token: &str, now: UnixSeconds) -> bool {
        self.sessions.introspect(token, now).await.unwrap().is_some()
    }

    /// Returns the undelivered rows, as text.
    pub async fn outbox(&self) -> Vec<String> {
        let page = self.db.outbox_rows(None, 1000).await.unwrap();
        page.rows.iter().map(|row| redis_rest::encode_pipeline(&row.commands)).collect()
    }

    /// Returns how often an event occurs in the audit.
    pub async fn audited(&self, event: &str) -> i64 {
        let text = format!("SELECT COUNT(*) FROM audit WHERE event = '{event}'");
        self.db.query_number(&text).await.unwrap()
    }
}

/// Returns the time `seconds` after [`T`].
pub fn after(seconds: u64) -> UnixSeconds {
    T.plus(seconds)
}

/// Runs a test on SQLite, and on Postgres if PORTCULLIS_TEST_POSTGRES has its URL.
pub async fn on_each_database(change: impl Fn(&mut Config), test: impl AsyncFn(TestService)) {
    on_each_empty_database(async |url: &str| {
        let mut config = config(url);
        change(&mut config);
        test(TestService::open(url, config).await).await;
    })
    .await;
}

/// Runs a test with the URL of a database without tables: SQLite, and the same Postgres.
pub async fn on_each_empty_database(test: impl AsyncFn(&str)) {
    let folder = std::env::temp_dir().join(format!("portcullis-{}", random_id()));
    std::fs::create_dir(&folder).unwrap();
    let mut urls = vec![format!("sqlite://{}", folder.join("test.db").display())];
    if let Ok(base) = std::env::var("PORTCULLIS_TEST_POSTGRES") {
        let mut bytes = [0; 8];
        fill_random(&mut bytes);
        let name = format!("test_{:x}", u64::from_ne_bytes(bytes));
        sqlx::any::install_default_drivers();
        use sqlx::Connection as _;
        let mut first = sqlx::AnyConnection::connect(&base).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut first).await.unwrap();
        urls.push(base.replace("/postgres?", &format!("/{name}?")));
    }
    for url in urls {
        test(&url).await;
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Starts a store that responds to pipelines until the test ends, and returns its URL.
pub async fn serve_store<T: 'static>(answer: impl axum::handler::Handler<T, ()>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/pipeline", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}
