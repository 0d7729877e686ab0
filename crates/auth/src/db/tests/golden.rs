//! The formats of the auth service against the golden sets: databases that earlier versions left
//! are migrated and used, and what this version writes is what the newest set has.

use crate::adjustments::{
    Adjustments, Author, BlockSelector, CallerPart, Ending, block_target, limit_caller,
};
use crate::api_keys::{Manager, SpecPatch};
use crate::audit::{Actor, ClientInfo};
use crate::config::AccessTokenFormat;
use crate::db::migrations::{postgres, sqlite};
use crate::db::{
    ApiKey, AuditedChange, Block, BlockKind, BlockTarget, BlockedNetwork, CreditBalance,
    EndedSession, KeyRow, KeySecret, KeySpec, KeyState, OutboxRow, Owner, OwnerState,
    QuotaOverride, Session,
};
use crate::directory::{By, Directory};
use crate::outbox::{Holder, HolderState, IssuedAccessToken};
use crate::problem::Problem;
use crate::sessions::{ClientCredential, Tokens};
use crate::signing_keys::{KeyAlgorithm, KeyRing, generate_pkcs8, public_jwk};
use crate::testing::{
    PASSWORD, T, TestService, after, config, on_each_database, on_each_empty_database, signing,
};
use crate::token::{AccessClaims, OpaqueToken, token_hash};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use portcullis_core::{Seal, UnixSeconds};
use redis_rest::{Command, encode_pipeline};
use serde_json::{Map, Value, json};
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _};
use std::collections::BTreeSet;
use std::sync::Arc;

#[path = "../../../../../tests/golden/sets.rs"]
mod sets;

/// A day in the year 2100, so that the token is valid for tests with a real clock.
const EXP: u64 = 4_102_444_800;
const IAT: u64 = 1_750_000_000;
const RECORD_KEY: &str = "golden:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// The first version of the tables that was released.
const FIRST_RELEASED: i64 = 3;
/// The first version of the tables that has API keys.
const FIRST_WITH_API_KEYS: i64 = 4;
/// The first version of the tables that has clients.
const FIRST_WITH_CLIENTS: i64 = 5;
const TABLES: [&str; 19] = [
    "users",
    "clients",
    "client_secrets",
    "client_tokens",
    "used_assertions",
    "api_keys",
    "api_key_secrets",
    "sessions",
    "refresh_tokens",
    "revoked_tokens",
    "signing_keys",
    "user_countries",
    "blocks",
    "block_list",
    "quota_overrides",
    "credit_balances",
    "credit_grants",
    "audit",
    "outbox",
];

fn claims() -> AccessClaims {
    AccessClaims {
        iss: "https://issuer.example".into(),
        sub: "alice".into(),
        aud: "https://api.example".into(),
        exp: EXP,
        iat: IAT,
        jti: "token-id".into(),
        sid: Some("session".into()),
        client_id: "web".into(),
        scope: "api:read".into(),
        others: serde_json::Map::new(),
    }
}

/// The key of RFC 8037 appendix A, encrypted with a fixed nonce.
fn key_row() -> KeyRow {
    let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let pkcs8 = URL_SAFE_NO_PAD.encode([&prefix[..], &seed].concat());
    let kid = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".to_owned();
    let seal = signing(KeyAlgorithm::EdDsa).master_key;
    KeyRow {
        generation: 1,
        sealed: seal.seal(&pkcs8, &format!("signing-key:{kid}"), [7; 12]).unwrap(),
        kid,
        algorithm: "EdDSA".into(),
        public_jwk: "{}".into(),
        created_at: IAT,
        active_from: IAT,
    }
}

fn session() -> Session {
    Session {
        id: "session".into(),
        user_id: "alice".into(),
        client_id: "web".into(),
        scope: "api:read".into(),
        created_at: IAT,
        expires_at: EXP,
        refreshed_at: IAT,
        device: "Mozilla/5.0".into(),
        address: "192.0.2.1".into(),
    }
}

/// A key with every member, whose secret was rolled.
fn key_state(revoked_at: Option<u64>) -> KeyState {
    let spec = KeySpec {
        name: "ci".into(),
        scope: "api:read api:write".into(),
        plan: Some("pro".into()),
        quotas: [("api".to_owned(), 500)].into(),
        networks: vec!["192.0.2.0/24".into()],
        metadata: Map::from_iter([("tier".to_owned(), json!(1))]),
        expires_at: Some(EXP),
    };
    let secret = |text: &str, ends_at| KeySecret { hash: token_hash(text), ends_at };
    KeyState {
        key: ApiKey {
            id: "key-id".into(),
            owner: Owner::user("alice"),
            spec,
            display_prefix: "pck_live_0000".into(),
            created_at: IAT,
            revoked_at,
            last_used_at: None,
        },
        secrets: vec![
            secret("ended", Some(IAT)),
            secret("previous", Some(IAT + 100)),
            secret("current", None),
        ],
        owner: Some(OwnerState { scope: "api:read".into(), ..OwnerState::default() }),
    }
}

/// Returns a key ring whose one key is the row's.
async fn ring(service: &TestService, row: &KeyRow) -> KeyRing {
    service.db.query_number("DELETE FROM signing_keys RETURNING 1").await.unwrap();
    service.db.add_signing_key(row).await.unwrap();
    let settings = signing(KeyAlgorithm::EdDsa);
    KeyRing::open(Arc::clone(&service.db), settings, T).await.unwrap()
}

/// Everything that the auth service writes, apart from its rows.
async fn current(service: &TestService) -> Value {
    let (session, claims, now) = (session(), claims(), UnixSeconds(IAT));
    let token = ring(service, &key_row()).await.key_set().sign(&claims, T).unwrap();
    let access_hash = token_hash(&token);
    let issued = IssuedAccessToken {
        session: &session,
        claims: &claims,
        access_hash: &access_hash,
        seal: None,
    };
    let ended = EndedSession {
        id: session.id.clone(),
        user_id: session.user_id.clone(),
        access_hashes: vec![access_hash.clone()],
        refresh_hashes: vec![token_hash("refresh token")],
        outbox_row: OutboxRow::default(),
    };
    let commands = service.publisher.commands();
    let text = |commands: Vec<Command>| -> Value {
        serde_json::from_str(&encode_pipeline(&commands)).unwrap()
    };
    let network = |name: &str| BlockedNetwork { name: name.into(), ends_at: EXP };
    let networks = [network("192.0.2.1"), network("2001:db8::/32")];
    let part = CallerPart { part: "subject".into(), value: "alice".into() };
    let caller = limit_caller("api", vec![part], None, "https://issuer.example").unwrap();
    let (at, actor) = (IAT, "operator".to_owned());
    let credits = CreditBalance {
        caller: caller.clone(),
        granted: 1000,
        created_at: at,
        changed_at: at,
        actor: actor.clone(),
    };
    let quota = QuotaOverride {
        caller,
        quota: 500,
        ends_at: EXP,
        created_at: at,
        changed_at: at,
        cleared_at: None,
        actor,
    };
    let row = key_row();
    let record = commands.access_token_issued(&issued, now).swap_remove(0);
    let seal = Seal::new(RECORD_KEY, None).unwrap();
    json!({
        "access token": token,
        "sealed record": seal.seal(record.text(2).unwrap(), record.text(1).unwrap(), [7; 12]),
        "signing key": {
            "generation": row.generation, "kid": row.kid, "algorithm": row.algorithm,
            "sealed": row.sealed, "created_at": row.created_at, "active_from": row.active_from,
        },
        "outbox": {
            "access token issued": text(commands.access_token_issued(&issued, now)),
            "session ended": text(commands.session_ended(&ended, now)),
            "session expired": text(commands.session_expired("alice", "session")),
            "access token revoked": text(commands.access_token_revoked("token-id", &access_hash, now)),
            "user disabled": text(commands.user_disabled("alice")),
            "user enabled": text(commands.user_enabled("alice", None, now)),
            "block": text(commands.block(&block(BlockKind::Subject, "alice", None))),
            "block of an address": text(commands.block(&block(BlockKind::Address, "192.0.2.1", None))),
            "block cleared": text(commands.block(&block(BlockKind::Subject, "alice", Some(IAT)))),
            "networks": text(commands.networks(&networks)),
            "quota": text(commands.quota(&quota)),
            "credits": text(commands.credits(&credits)),
            "user's tokens revoked": text(vec![commands.holder_state(
                Holder::User("alice"),
                HolderState::RevokedUntil(IAT),
                now,
            )]),
            "client disabled": text(commands.holder_revoked(
                Holder::Client("batch"),
                HolderState::Disabled,
                std::slice::from_ref(&access_hash),
                now,
            )),
            "api key rolled": text(commands.key(&key_state(None), now)),
            "api key revoked": text(commands.key(&key_state(Some(IAT)), now)),
        },
        "migrations": { "sqlite": checksums(&sqlite()), "postgres": checksums(&postgres()) },
    })
}

fn block(kind: BlockKind, name: &str, cleared_at: Option<u64>) -> Block {
    let issuer = if kind.is_in_list() { "" } else { "https://issuer.example" };
    Block {
        target: BlockTarget { kind, issuer: issuer.into(), name: name.into() },
        reason: "scraping".into(),
        ends_at: EXP,
        created_at: IAT,
        changed_at: IAT,
        cleared_at,
        actor: "operator".into(),
    }
}

/// A migration must not change once a database may have run it.
fn checksums(migrator: &Migrator) -> Value {
    let hex = |migration: &Migration| -> String {
        migration.checksum.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let pairs = migrator.iter().map(|it| (it.version.to_string(), Value::from(hex(it))));
    Value::Object(pairs.collect::<Map<_, _>>())
}

#[tokio::test]
async fn current_formats_are_those_of_the_newest_golden_set() {
    on_each_database(
        |config| config.store.issuer = "https://issuer.example".into(),
        async |service: TestService| {
            let text = serde_json::to_string_pretty(&current(&service).await).unwrap() + "\n";
            sets::compare("auth.json", &text);
            let script = include_str!("../../accounts/login_attempts.lua");
            sets::compare("scripts/login-attempts", script);
        },
    )
    .await;
}

#[tokio::test]
async fn tokens_keys_and_migrations_of_earlier_versions_are_accepted() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            for set in sets::all() {
                let text = sets::read(&set, "auth.json").unwrap();
                let golden: Value = serde_json::from_str(&text).unwrap();
                let key = &golden["signing key"];
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let number = |value: &Value| value.as_u64().unwrap();
                let row = KeyRow {
                    generation: number(&key["generation"]),
                    kid: text(&key["kid"]),
                    algorithm: text(&key["algorithm"]),
                    public_jwk: "{}".into(),
                    sealed: text(&key["sealed"]),
                    created_at: number(&key["created_at"]),
                    active_from: number(&key["active_from"]),
                };
                let keys = ring(&service, &row).await.key_set();
                let token = text(&golden["access token"]);
                let read = keys.verify(&token, "https://issuer.example", "https://api.example");
                assert_eq!(read, Some(claims()));
                for (name, migrator) in [("sqlite", sqlite()), ("postgres", postgres())] {
                    let current = checksums(&migrator);
                    for (version, checksum) in golden["migrations"][name].as_object().unwrap() {
                        assert_eq!(&current[version], checksum, "{name} {version} has changed");
                    }
                }
            }
        },
    )
    .await;
}

/// The tokens that belong to the rows of a database.
struct Golden(Value);

impl Golden {
    fn token(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }
}

/// Does everything once that leaves a row or another value in one. Returns the tokens.
async fn fill(service: &TestService) -> Value {
    service.add("alice").await;
    let bob = service.add("bob").await;
    let carol = service.add("carol").await;
    let client = ClientInfo {
        address: "192.0.2.1".into(),
        country: Some("DE".into()),
        device: "Mozilla/5.0".into(),
        request_id: "request".into(),
        action: None,
    };
    let login = async |service: &TestService, name: &str, seconds: u64| -> Tokens {
        service.sessions.login(name, PASSWORD.into(), &client, after(seconds)).await.unwrap()
    };
    let spent = login(service, "alice", 0).await;
    let next = service.refresh(&spent.refresh_token, after(10)).await.unwrap();
    let over = login(service, "alice", 20).await;
    service.sessions.logout(&over.refresh_token, &client, after(30)).await.unwrap();
    let revoked = login(service, "carol", 40).await;
    service.sessions.revoke(&revoked.access_token, None, &client, after(50)).await.unwrap();
    let revoke = |ended: &EndedSession| service.publisher.commands().session_ended(ended, T);
    let change = AuditedChange { now: after(60), events: &[] };
    let commands = service.publisher.commands().user_disabled(&bob.id);
    service
        .db
        .set_disabled(&bob.id, true, commands, &change, revoke, &|_| Vec::new())
        .await
        .unwrap();
    adjust(service).await;
    set_claims(service, &carol.id).await;
    let [by_secret, secret, client_token] = add_clients(service).await;
    let (keys, operator) = (&service.api_keys, Manager::operator());
    let create = async |terms: Value| {
        let patch = SpecPatch::new(terms.as_object().unwrap().clone()).unwrap();
        let owner = Some(Owner::user(&carol.id));
        keys.create(&operator, owner, patch, after(60)).await.unwrap()
    };
    let terms = json!({ "name": "full", "scope": "read", "plan": "pro", "quotas": { "api": 7 },
        "networks": ["192.0.2.0/24"], "metadata": { "tier": 1 }, "expires_in": 1000 });
    let api_key = create(terms).await;
    let replaced = create(json!({ "name": "rolled" })).await;
    let rolled = keys.roll(&operator, &replaced.state.key.id, 3600, after(61)).await.unwrap();
    let revoked_key = create(json!({ "name": "revoked" })).await;
    keys.revoke(&operator, &revoked_key.state.key.id, after(62)).await.unwrap();
    service.db.record_key_use(&[(&api_key.state.key.id, after(63).0)]).await.unwrap();
    let mut config = config(&service.url);
    config.access_token_format = AccessTokenFormat::Opaque;
    let opaque = login(&TestService::open(&service.url, config).await, "carol", 70).await;
    json!({
        "spent refresh token": spent.refresh_token,
        "refresh token": next.refresh_token,
        "access token": next.access_token,
        "access token of an ended session": over.access_token,
        "revoked access token": revoked.access_token,
        "opaque access token": opaque.access_token,
        "api key": api_key.secret,
        "replaced api key": replaced.secret,
        "rolled api key": rolled.secret,
        "revoked api key": revoked_key.secret,
        "client id": by_secret,
        "client secret": secret,
        "client token": client_token,
    })
}

fn directory<'a>(service: &'a TestService, client: &'a ClientInfo) -> Directory<'a> {
    let by = By { actor: Actor::Operator, subject: None, client };
    Directory { db: &service.db, publisher: &service.publisher, audit: None, by, now: after(64) }
}

/// Sets claims of a user, whose tokens are revoked.
async fn set_claims(service: &TestService, id: &str) {
    let nobody = ClientInfo::default();
    let edit = json!({ "claims": { "plan": "pro" }, "now": true });
    let edit = serde_json::from_value(edit).unwrap();
    directory(service, &nobody).change_user(id, &edit).await.unwrap();
}

/// Adds clients with a secret and with keys, gives each a token, disables one and deletes one.
/// Returns id, secret and token of the first one.
async fn add_clients(service: &TestService) -> [String; 3] {
    let nobody = ClientInfo::default();
    let own = directory(service, &nobody);
    let add = async |settings: Value| {
        own.add_client(&serde_json::from_value(settings).unwrap()).await.ok().unwrap()
    };
    let full = json!({ "name": "full", "scope": "read", "token_seconds": 86_400, "plan": "pro",
        "claims": { "tier": 1 } });
    let full = add(full).await;
    let id = full.client.id;
    let secret = own.roll_client_secret(&id, 3600).await.unwrap();
    let credential = ClientCredential::Secret { client_id: id.clone(), secret: secret.clone() };
    let token = service.sessions.client_credentials(&credential, None, &nobody, after(65));
    let token = token.await.unwrap().access_token;

    let pkcs8 = generate_pkcs8(KeyAlgorithm::EdDsa).unwrap();
    let jwk = public_jwk(KeyAlgorithm::EdDsa, &pkcs8).unwrap();
    let by_key = add(json!({ "name": "by key", "jwks": { "keys": [jwk] } })).await.client.id;
    let claims = json!({ "iss": by_key, "sub": by_key, "aud": "https://a.example", "jti": "1",
        "exp": after(120).0 });
    let key = EncodingKey::from_ed_der(&URL_SAFE_NO_PAD.decode(pkcs8).unwrap());
    let assertion = encode(&Header::new(jsonwebtoken::Algorithm::EdDSA), &claims, &key).unwrap();
    let credential = ClientCredential::Assertion { client_id: None, assertion };
    let granted = service.sessions.client_credentials(&credential, None, &nobody, after(66));
    granted.await.unwrap();
    let disabled = serde_json::from_value(json!({ "disabled": true })).unwrap();
    own.change_client(&by_key, &disabled).await.unwrap();

    let deleted = add(json!({ "name": "deleted" })).await.client.id;
    own.delete_client(&deleted).await.unwrap();
    [id, secret, token]
}

/// Sets a block of each kind of key, clears one, sets a quota, and adds credits.
async fn adjust(service: &TestService) {
    let (db, publisher) = (Arc::clone(&service.db), Arc::clone(&service.publisher));
    let own = Adjustments::new(db, publisher, "https://a.example");
    let (author, ending) = (Author::operator(), Ending::After(3600));
    let target = |subject: Option<&str>, address: Option<&str>| {
        let (subject, address) = (subject.map(str::to_owned), address.map(str::to_owned));
        let selector = BlockSelector { subject, address, ..BlockSelector::default() };
        block_target(selector, "https://a.example").unwrap()
    };
    for target in [
        target(Some("alice"), None),
        target(Some("bob"), None),
        target(None, Some("192.0.2.1")),
        target(None, Some("198.51.100.0/24")),
    ] {
        own.set_block(target, "scraping".into(), ending, &author, after(80)).await.unwrap();
    }
    own.clear_block(&target(Some("bob"), None), &author, after(90)).await.unwrap();
    let part = CallerPart { part: "subject".into(), value: "alice".into() };
    let caller = limit_caller("api", vec![part], None, "https://a.example").unwrap();
    own.set_quota(caller.clone(), 500, ending, &author, after(80)).await.unwrap();
    let id = Some("invoice".to_owned());
    own.add_credits(&caller, 1000, id, &author, after(80)).await.unwrap();
}

/// Returns all rows of a SQLite database as statements that name each column.
async fn dump(url: &str) -> String {
    let mut connection = AnyConnection::connect(url).await.unwrap();
    let mut text = String::new();
    for table in TABLES {
        let query = AssertSqlSafe(format!("SELECT name FROM pragma_table_info('{table}')"));
        let columns = sqlx::query(query).fetch_all(&mut connection).await.unwrap();
        let columns: Vec<String> = columns.iter().map(|row| row.get("name")).collect();
        let quoted = columns.iter().map(|name| format!("quote({name})"));
        let quoted = quoted.collect::<Vec<_>>().join(" || ', ' || ");
        let query = AssertSqlSafe(format!("SELECT {quoted} AS row FROM {table} ORDER BY rowid"));
        for row in sqlx::query(query).fetch_all(&mut connection).await.unwrap() {
            let (names, row) = (columns.join(", "), row.get::<String, _>("row"));
            text += &format!("INSERT INTO {table} ({names}) VALUES ({row});\n");
        }
    }
    text
}

/// Returns the kinds of rows in a dump: the table, and for each column whether it is a text, a
/// number or NULL.
fn kinds(dump: &str) -> BTreeSet<String> {
    let kind = |value: &str| match value.trim().trim_end_matches(");") {
        "NULL" => "null",
        text if text.starts_with('\'') => "text",
        _ => "number",
    };
    let row = |line: &str| {
        let (table, values) = line.split_once(" VALUES (").unwrap();
        // No value has an apostrophe, so quoted commas are in every second part.
        let parts = values.split('\'').enumerate();
        let bare = parts.map(|(place, part)| if place % 2 == 0 { part } else { "'" });
        let bare = bare.collect::<String>().replace("''", "'");
        let kinds: Vec<&str> = bare.split(',').map(kind).collect();
        format!("{table}: {}", kinds.join(", "))
    };
    dump.lines().map(row).collect()
}

#[tokio::test]
async fn current_rows_are_of_the_kinds_in_the_newest_golden_set() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            if !service.url.starts_with("sqlite") {
                return;
            }
            let tokens = fill(&service).await;
            let dump = dump(&service.url).await;
            let newest = sets::all().pop().unwrap();
            let name = format!("database-{}.sql", newest_version());
            let golden = sets::read(&newest, &name).unwrap_or_default();
            if kinds(&golden) == kinds(&dump) {
                return;
            }
            // Ids and hashes differ each time, so the files are written only if the kinds differ.
            assert!(std::env::var_os("UPDATE_GOLDEN").is_some(), "{name} has other kinds of rows");
            sets::compare(&name, &dump);
            let tokens = serde_json::to_string_pretty(&tokens).unwrap() + "\n";
            sets::compare(&name.replace(".sql", ".json"), &tokens);
        },
    )
    .await;
}

fn newest_version() -> i64 {
    sqlite().iter().map(|migration| migration.version).max().unwrap()
}

/// Brings the tables of an empty database to a version, and adds rows to them.
async fn restore(url: &str, version: i64, rows: &str) {
    sqlx::any::install_default_drivers();
    let (url, migrator) = match url.starts_with("sqlite") {
        true => (format!("{url}?mode=rwc"), sqlite()),
        false => (url.to_owned(), postgres()),
    };
    let mut connection = AnyConnection::connect(&url).await.unwrap();
    let wanted = migrator.iter().filter(|migration| migration.version <= version).cloned();
    let migrator = Migrator::with_migrations(wanted.collect());
    migrator.run_direct(None, &mut connection, false).await.unwrap();
    let rows = AssertSqlSafe(rows.to_owned());
    sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Returns the databases of all sets: the version of the tables, their rows, and the tokens that
/// belong to them.
fn databases() -> Vec<(i64, String, Golden)> {
    let mut found = Vec::new();
    for set in sets::all() {
        for version in 1..=newest_version() {
            let Some(rows) = sets::read(&set, &format!("database-{version}.sql")) else { continue };
            let tokens = sets::read(&set, &format!("database-{version}.json")).unwrap();
            found.push((version, rows, Golden(serde_json::from_str(&tokens).unwrap())));
        }
    }
    assert!(found.len() >= 3);
    found
}

/// Asserts that users, sessions and tokens of a restored database are as they were.
async fn check(url: &str, version: i64, golden: &Golden) {
    let service = TestService::open(url, config(url)).await;
    let refreshed = service.refresh(golden.token("refresh token"), after(110)).await.unwrap();
    assert!(service.is_active(&refreshed.access_token, after(110)).await);
    let login = async |name: &str| {
        let client = ClientInfo::default();
        service.sessions.login(name, PASSWORD.into(), &client, after(100)).await
    };
    assert!(login("alice").await.is_ok());
    let page = service.db.outbox_rows(None, 1000).await.unwrap();
    assert_eq!(page.newer, 0);
    assert!(page.rows.iter().all(|row| !row.commands.is_empty()));
    if version < FIRST_RELEASED {
        return;
    }
    assert_eq!(login("bob").await.err(), Some(Problem::CredentialsInvalid));
    let active = async |name: &str| service.is_active(golden.token(name), after(100)).await;
    assert!(active("access token").await && active("opaque access token").await);
    assert!(!active("access token of an ended session").await);
    assert!(!active("revoked access token").await);
    assert!(service.audited("logout").await > 0);
    if version < FIRST_WITH_API_KEYS {
        return;
    }
    for (name, expected) in [
        ("api key", true),
        ("replaced api key", true),
        ("rolled api key", true),
        ("revoked api key", false),
    ] {
        let claims = service.api_keys.introspect(golden.token(name), after(100)).await.unwrap();
        assert_eq!(claims.is_some(), expected, "{name}");
    }
    if version < FIRST_WITH_CLIENTS {
        return;
    }
    assert!(active("client token").await);
    let credential = ClientCredential::Secret {
        client_id: golden.token("client id").to_owned(),
        secret: golden.token("client secret").to_owned(),
    };
    let nobody = ClientInfo::default();
    let token = service.sessions.client_credentials(&credential, None, &nobody, after(100)).await;
    assert_eq!(token.unwrap().scope, "read");
}

#[tokio::test]
async fn databases_of_earlier_versions_are_migrated_and_used() {
    for (version, rows, golden) in databases() {
        on_each_empty_database(async |url: &str| {
            restore(url, version, &rows).await;
            if version >= FIRST_RELEASED {
                // Within the grace period, the response that was stored is sent again.
                let service = TestService::open(url, config(url)).await;
                let spent = golden.token("spent refresh token");
                let again = service.refresh(spent, after(15)).await.unwrap();
                assert_eq!(again.refresh_token, golden.token("refresh token"));
            }
            check(url, version, &golden).await;
        })
        .await;
    }
}

/// Where several auth services share a Postgres, one of the version before goes on to write after
/// the migration.
#[tokio::test]
async fn rows_of_the_version_before_fit_the_current_tables() {
    let newest = newest_version();
    let earlier = databases().into_iter().filter(|(version, ..)| *version < newest);
    let (version, rows, golden) = earlier.max_by_key(|(version, ..)| *version).unwrap();
    assert!(version >= FIRST_RELEASED);
    on_each_empty_database(async |url: &str| {
        restore(url, newest, &rows).await;
        check(url, version, &golden).await;
    })
    .await;
}

#[test]
fn opaque_tokens_of_earlier_versions_are_well_formed() {
    for (_, _, golden) in databases() {
        assert!(OpaqueToken::Refresh.is_well_formed(golden.token("refresh token")));
    }
}
