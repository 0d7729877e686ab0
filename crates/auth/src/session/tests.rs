//! The rules, on SQLite and on Postgres alike. Time is an argument here; the store is one that can't be reached, so
//! that what it must learn can be read in the outbox.

use super::*;
use crate::accounts::IntrospectionClients;
use crate::accounts::LoginAttemptLimits;
use crate::config::Link;
use crate::db::Migrate;
use crate::keys::{KeyAlgorithm, Signing};
use crate::upkeep::Upkeep;
use portcullis_core::Seal;

/// A service on a database of its own.
struct World {
    sessions: Sessions,
    db: Arc<Db>,
    publisher: Arc<Publisher>,
    url: String,
}

const PASSWORD: &str = "correct horse";
const T: UnixSeconds = UnixSeconds(1_800_000_000);

fn signing(algorithm: KeyAlgorithm) -> Signing {
    let master = Seal::new(&format!("m:{}", "A".repeat(43)), None).unwrap();
    Signing { master, algorithm, key_seconds: 10_000 }
}

fn config(url: &str) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        database_url: url.to_owned(),
        link: Link {
            issuer: "https://a.example".into(),
            store_url: "http://127.0.0.1:1".into(),
            store_token: "x".into(),
            key_prefix: "pc".into(),
        },
        audience: "api".into(),
        client_id: "portcullis".into(),
        seal: None,
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
    }
}

impl World {
    async fn new(url: &str, config: Config) -> Self {
        let db = Arc::new(Db::open(url, Migrate::Now).await.unwrap());
        let store = Arc::new(Store::new(&config.link.store_url, "x").unwrap());
        let publisher = Arc::new(Publisher::new(Arc::clone(&db), Arc::clone(&store), &config.link));
        let keys = KeyRing::open(Arc::clone(&db), config.signing.clone(), T).await.unwrap();
        let (shared, told) = (Arc::clone(&db), Arc::clone(&publisher));
        let sessions = Sessions::new(config, shared, &store, told, Arc::new(keys)).unwrap();
        Self { sessions, db, publisher, url: url.to_owned() }
    }

    async fn add(&self, username: &str) -> User {
        let user = User {
            id: crate::random::random_id(),
            username: username.to_owned(),
            password_hash: crate::accounts::hash_password(PASSWORD).unwrap(),
            scope: "read write".into(),
            disabled: false,
        };
        assert!(self.db.add_user(&user, &[], T).await.unwrap());
        user
    }

    async fn login(&self, username: &str, now: UnixSeconds) -> Tokens {
        let client = ClientInfo { device: "test".into(), ..ClientInfo::default() };
        self.sessions.login(username, PASSWORD.into(), &client, now).await.unwrap()
    }

    async fn refresh(&self, token: &str, now: UnixSeconds) -> Result<Tokens, Problem> {
        self.sessions.refresh(token, None, None, &ClientInfo::default(), now).await
    }

    async fn is_active(&self, token: &str, now: UnixSeconds) -> bool {
        self.sessions.introspect(token, now).await.unwrap().is_some()
    }

    /// All that waits for the store, as text.
    async fn outbox(&self) -> Vec<String> {
        let rows = self.db.pending(None, 1000).await.unwrap();
        rows.iter().map(|row| redis_rest::encode_pipeline(&row.commands)).collect()
    }

    async fn audited(&self, event: &str) -> i64 {
        let text = format!("SELECT COUNT(*) FROM audit WHERE event = '{event}'");
        self.db.number(&text).await.unwrap()
    }
}

fn after(seconds: u64) -> UnixSeconds {
    T.plus(seconds)
}

/// Runs a test on each database. Where no Postgres is told of, as `cargo xtask test` does, SQLite has to do.
async fn on_each(change: impl Fn(&mut Config), test: impl AsyncFn(World)) {
    let folder = std::env::temp_dir().join(format!("portcullis-{}", crate::random::random_id()));
    std::fs::create_dir(&folder).unwrap();
    let mut urls = vec![format!("sqlite://{}", folder.join("test.db").display())];
    if let Ok(base) = std::env::var("PORTCULLIS_TEST_POSTGRES") {
        let mut bytes = [0; 8];
        crate::random::fill_random(&mut bytes);
        let name = format!("test_{:x}", u64::from_ne_bytes(bytes));
        sqlx::any::install_default_drivers();
        use sqlx::Connection as _;
        let mut first = sqlx::AnyConnection::connect(&base).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut first).await.unwrap();
        urls.push(base.replace("/postgres?", &format!("/{name}?")));
    }
    for url in urls {
        let mut config = config(&url);
        change(&mut config);
        test(World::new(&url, config).await).await;
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_spent_token_gives_the_same_answer_within_the_grace_and_then_ends_the_session() {
    on_each(
        |_| (),
        async |world: World| {
            world.add("alice").await;
            let first = world.login("alice", T).await;
            let second = world.refresh(&first.refresh_token, after(60)).await.unwrap();
            assert_ne!(first.refresh_token, second.refresh_token);
            for late in [60, 65, 69] {
                let again = world.refresh(&first.refresh_token, after(late)).await.unwrap();
                assert_eq!(
                    (&again.access_token, &again.refresh_token),
                    (&second.access_token, &second.refresh_token)
                );
            }
            // The chain goes on, and an answer within the grace does not bring back what is spent.
            let third = world.refresh(&second.refresh_token, after(66)).await.unwrap();
            assert!(world.is_active(&third.access_token, after(69)).await);
            let reused = world.refresh(&first.refresh_token, after(70)).await;
            assert_eq!(reused, Err(Problem::RefreshTokenReused));
            assert_eq!(
                world.refresh(&third.refresh_token, after(71)).await,
                Err(Problem::SessionEnded)
            );
            assert_eq!(
                world.refresh(&second.refresh_token, after(71)).await,
                Err(Problem::SessionEnded)
            );
            for tokens in [&first, &second, &third] {
                assert!(!world.is_active(&tokens.access_token, after(71)).await);
            }
            assert_eq!(world.audited("refresh_token_reused").await, 1);
            // The store is to forget the records, and the answers that an edge may have kept.
            let outbox = world.outbox().await;
            let [row] = outbox.as_slice() else { panic!("{outbox:?}") };
            for tokens in [&first, &second, &third] {
                assert!(
                    row.contains(&format!("pc:token:{}", token_hash(&tokens.access_token))),
                    "{row}"
                );
                assert!(
                    row.contains(&format!("pc:refresh:{}", token_hash(&tokens.refresh_token))),
                    "{row}"
                );
            }
            assert!(row.contains("pc:revoked:sid:"));
        },
    )
    .await;
}

#[tokio::test]
async fn many_at_once_get_one_new_pair() {
    on_each(
        |_| (),
        async |world: World| {
            world.add("alice").await;
            let first = world.login("alice", T).await;
            let world = Arc::new(world);
            let many = (0..32).map(|_| {
                let (world, token) = (Arc::clone(&world), first.refresh_token.clone());
                tokio::spawn(async move { world.refresh(&token, after(1)).await.unwrap() })
            });
            let mut answers = Vec::new();
            for one in many.collect::<Vec<_>>() {
                answers.push(one.await.unwrap());
            }
            assert!(answers.iter().all(|tokens| *tokens == answers[0]), "{answers:?}");
            assert!(world.refresh(&answers[0].refresh_token, after(100)).await.is_ok());
        },
    )
    .await;
}

#[tokio::test]
async fn without_a_grace_one_of_many_wins_and_the_session_is_over() {
    on_each(
        |config| config.refresh_grace_seconds = 0,
        async |world: World| {
            world.add("alice").await;
            let first = world.login("alice", T).await;
            let world = Arc::new(world);
            let many = (0..16).map(|_| {
                let (world, token) = (Arc::clone(&world), first.refresh_token.clone());
                tokio::spawn(async move { world.refresh(&token, after(1)).await })
            });
            let mut won = Vec::new();
            let mut codes = Vec::new();
            for one in many.collect::<Vec<_>>() {
                match one.await.unwrap() {
                    Ok(tokens) => won.push(tokens),
                    Err(problem) => codes.push(problem.code()),
                }
            }
            assert_eq!(won.len(), 1);
            assert!(codes.contains(&"refresh_token_reused"), "{codes:?}");
            let last = world.refresh(&won[0].refresh_token, after(2)).await;
            assert_eq!(last, Err(Problem::SessionEnded));
        },
    )
    .await;
}

#[tokio::test]
async fn a_session_ends_by_age_and_by_idleness() {
    on_each(
        |_| (),
        async |world: World| {
            world.add("alice").await;
            let idle = world.login("alice", T).await;
            assert_eq!(
                world.refresh(&idle.refresh_token, after(3000)).await,
                Err(Problem::SessionEnded)
            );
            assert!(!world.is_active(&idle.access_token, after(900)).await, "its own end");

            let mut tokens = world.login("alice", T).await;
            for moment in [2999, 5998, 8997] {
                tokens = world.refresh(&tokens.refresh_token, after(moment)).await.unwrap();
            }
            assert_eq!(tokens.session_seconds, 1003);
            tokens = world.refresh(&tokens.refresh_token, after(9999)).await.unwrap();
            assert!(world.is_active(&tokens.access_token, after(9999)).await);
            assert!(!world.is_active(&tokens.access_token, after(10_000)).await);
            assert_eq!(
                world.refresh(&tokens.refresh_token, after(10_000)).await,
                Err(Problem::SessionEnded)
            );
        },
    )
    .await;
}

#[tokio::test]
async fn a_scope_may_narrow_and_never_widens() {
    on_each(
        |_| (),
        async |world: World| {
            world.add("alice").await;
            let first = world.login("alice", T).await;
            let ask = async |token: &str, scope: &str, now: UnixSeconds| {
                world.sessions.refresh(token, Some(scope), None, &ClientInfo::default(), now).await
            };
            // A refusal spends nothing.
            for wider in ["read admin", "admin", "READ"] {
                let refused = ask(&first.refresh_token, wider, after(1)).await;
                assert_eq!(refused, Err(Problem::ScopeInvalid), "{wider}");
            }
            let narrow = ask(&first.refresh_token, "read read", after(2)).await.unwrap();
            assert_eq!(narrow.scope, "read");
            let claims = world.sessions.introspect(&narrow.access_token, after(2)).await.unwrap();
            assert_eq!(claims.unwrap().scope, "read");
            assert_eq!(world.refresh(&first.refresh_token, after(3)).await, Err(Problem::ScopeInvalid));
            let again = ask(&first.refresh_token, "read", after(3)).await.unwrap();
            assert_eq!(again.access_token, narrow.access_token);
            // The refresh token is still for all of it.
            let whole = world.refresh(&narrow.refresh_token, after(60)).await.unwrap();
            assert_eq!(whole.scope, "read write");

            let of = |client_id| {
                let client = ClientInfo::default();
                let (sessions, token) = (&world.sessions, whole.refresh_token.clone());
                async move { sessions.refresh(&token, None, Some(client_id), &client, after(120)).await }
            };
            assert_eq!(of("other").await, Err(Problem::ClientMismatch));
            assert!(of("portcullis").await.is_ok());
        },
    )
    .await;
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once_and_may_come_back() {
    on_each(
        |_| (),
        async |world: World| {
            let user = world.add("alice").await;
            let tokens = world.login("alice", T).await;
            let revoke = |ended: &Ended| world.publisher.revoked(ended, after(1));
            let grant = Grant { now: after(1), events: &[] };
            let commands = world.publisher.disabled(&user.id);
            world.db.set_disabled(&user.id, true, commands, &grant, revoke).await.unwrap();
            assert!(!world.is_active(&tokens.access_token, after(1)).await);
            assert_eq!(
                world.refresh(&tokens.refresh_token, after(1)).await,
                Err(Problem::SessionEnded)
            );
            let login = async |now| {
                world.sessions.login("alice", PASSWORD.into(), &ClientInfo::default(), now).await
            };
            assert_eq!(login(after(2)).await, Err(Problem::CredentialsInvalid));
            assert!(
                world
                    .outbox()
                    .await
                    .iter()
                    .any(|row| row.contains("pc:revoked:sub:") && row.contains("SET"))
            );
            let commands = world.publisher.enabled(&user.id);
            world.db.set_disabled(&user.id, false, commands, &grant, revoke).await.unwrap();
            // What the store was to learn of it, and was not told yet, is void.
            let outbox = world.outbox().await;
            let of_subject: Vec<_> =
                outbox.iter().filter(|row| row.contains("pc:revoked:sub:")).collect();
            assert!(matches!(of_subject.as_slice(), [row] if row.contains("DEL")), "{outbox:?}");
            let back = login(after(3)).await.unwrap();
            assert!(world.is_active(&back.access_token, after(3)).await);
            assert!(!world.is_active(&tokens.access_token, after(3)).await);
        },
    )
    .await;
}

#[tokio::test]
async fn a_new_password_ends_all_other_sessions() {
    on_each(
        |_| (),
        async |world: World| {
            world.add("alice").await;
            let (own, other) = (world.login("alice", T).await, world.login("alice", T).await);
            let change = async |old: &str, new: &str| {
                let pair = (old.to_owned(), new.to_owned());
                let client = ClientInfo::default();
                world.sessions.change_password(&own.access_token, pair, &client, after(1)).await
            };
            assert_eq!(
                change("wrong horse", "battery staple").await,
                Err(Problem::CredentialsInvalid)
            );
            assert_eq!(change(PASSWORD, "short").await, Err(Problem::PasswordUnacceptable));
            assert_eq!(change(PASSWORD, "battery staple").await, Ok(Delivery::Pending));
            assert!(world.is_active(&own.access_token, after(2)).await);
            assert!(!world.is_active(&other.access_token, after(2)).await);
            assert_eq!(
                world.refresh(&other.refresh_token, after(2)).await,
                Err(Problem::SessionEnded)
            );
            let login = async |password: &str| {
                world
                    .sessions
                    .login("alice", password.into(), &ClientInfo::default(), after(3))
                    .await
            };
            assert_eq!(login(PASSWORD).await, Err(Problem::CredentialsInvalid));
            assert!(login("battery staple").await.is_ok());
            assert_eq!(
                (world.audited("password_changed").await, world.audited("login_failed").await),
                (1, 2)
            );
        },
    )
    .await;
}

#[tokio::test]
async fn a_login_with_a_password_that_is_changed_meanwhile_begins_nothing() {
    on_each(
        |_| (),
        async |world: World| {
            let user = world.add("alice").await;
            let session = Session {
                id: "late".into(),
                user_id: user.id.clone(),
                client_id: "portcullis".into(),
                scope: String::new(),
                created_at: T.0,
                expires_at: after(100).0,
                refreshed_at: T.0,
                device: String::new(),
                address: String::new(),
            };
            let revoke = |ended: &Ended| world.publisher.revoked(ended, T);
            let grant = Grant { now: T, events: &[] };
            world.db.set_password(&user.id, (None, "another"), None, &grant, revoke).await.unwrap();
            let (_, issued) = world.sessions.issue(&session, String::new(), None, T).unwrap();
            let client = ClientInfo::default();
            let begun = world.db.begin_session(&session, (&user, None), issued, 3, &client, revoke);
            assert!(begun.await.unwrap().is_none());
            assert!(world.db.sessions(&user.id, T, 3000).await.unwrap().is_empty());
        },
    )
    .await;
}

#[tokio::test]
async fn a_password_of_other_parameters_is_hashed_anew_by_a_login() {
    use argon2::password_hash::{PasswordHasher as _, SaltString};
    on_each(
        |_| (),
        async |world: World| {
            let weaker = argon2::Params::new(8192, 1, 1, None).unwrap();
            let weaker =
                argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, weaker);
            let salt = SaltString::encode_b64(&[7; 16]).unwrap();
            let old = weaker.hash_password(PASSWORD.as_bytes(), &salt).unwrap().to_string();
            let user = User {
                id: "a".into(),
                username: "alice".into(),
                password_hash: old.clone(),
                scope: String::new(),
                disabled: false,
            };
            world.db.add_user(&user, &[], T).await.unwrap();
            world.login("alice", T).await;
            let new = world.db.user("alice").await.unwrap().unwrap().password_hash;
            assert!(new != old && new.contains("m=19456,t=2,p=1"), "{new}");
            world.login("alice", T).await;
            assert_eq!(world.db.user("alice").await.unwrap().unwrap().password_hash, new);
        },
    )
    .await;
}

#[tokio::test]
async fn the_oldest_session_makes_room_and_a_new_country_is_noted() {
    on_each(
        |_| (),
        async |world: World| {
            let user = world.add("alice").await;
            let mut all = Vec::new();
            for (second, country) in ["DE", "DE", "FR", "DE"].into_iter().enumerate() {
                let client = ClientInfo { country: Some(country.into()), ..ClientInfo::default() };
                let now = after(second as u64);
                all.push(
                    world.sessions.login("alice", PASSWORD.into(), &client, now).await.unwrap(),
                );
            }
            assert_eq!(world.audited("country_new").await, 1);
            assert_eq!(world.audited("sessions_over_max").await, 1);
            assert!(!world.is_active(&all[0].access_token, after(4)).await);
            for tokens in &all[1..] {
                assert!(world.is_active(&tokens.access_token, after(4)).await);
            }
            assert_eq!(world.db.sessions(&user.id, after(4), 3000).await.unwrap().len(), 3);
        },
    )
    .await;
}

#[tokio::test]
async fn a_user_sees_and_ends_their_sessions_and_nobody_elses() {
    on_each(
        |_| (),
        async |world: World| {
            world.add("alice").await;
            world.add("bob").await;
            let (one, two) = (world.login("alice", T).await, world.login("alice", after(1)).await);
            let bobs = world.login("bob", T).await;
            let list = async |tokens: &Tokens| {
                world.sessions.list(&tokens.access_token, after(2)).await.unwrap()
            };
            let listed = list(&one).await;
            assert_eq!(listed.iter().map(|s| s.current).collect::<Vec<_>>(), [false, true]);
            assert!(listed.iter().all(|session| session.device == "test"));
            let theirs = list(&bobs).await[0].id.clone();
            let client = ClientInfo::default();
            let remove = async |id: &str| {
                world.sessions.remove(&one.access_token, id, &client, after(2)).await
            };
            assert_eq!(remove(&theirs).await, Err(Problem::SessionUnknown));
            assert_eq!(remove("nothing").await, Err(Problem::SessionUnknown));
            assert_eq!(remove(&listed[0].id).await, Ok(Delivery::Pending));
            assert!(!world.is_active(&two.access_token, after(2)).await);
            assert!(world.is_active(&bobs.access_token, after(2)).await);
            let three = world.login("alice", after(3)).await;
            world.sessions.logout_everywhere(&one.access_token, &client, after(4)).await.unwrap();
            for tokens in [&one, &three] {
                assert!(!world.is_active(&tokens.access_token, after(4)).await);
            }
            // A login in the same second is a new one.
            let four = world.login("alice", after(4)).await;
            assert!(world.is_active(&four.access_token, after(4)).await);
            let ended = world.sessions.list(&one.access_token, after(4)).await;
            assert!(matches!(ended, Err(Problem::AccessTokenInvalid)));
        },
    )
    .await;
}

#[tokio::test]
async fn tokens_are_revoked_one_by_one_or_by_the_session() {
    for format in [AccessTokenFormat::Jwt, AccessTokenFormat::Opaque] {
        on_each(
            |config| config.access_token_format = format,
            async |world: World| {
                world.add("alice").await;
                let tokens = world.login("alice", T).await;
                let revoke = async |token: &str, client: Option<&str>| {
                    world.sessions.revoke(token, client, &ClientInfo::default(), after(1)).await
                };
                assert!(world.is_active(&tokens.access_token, after(1)).await);
                let claims = world
                    .sessions
                    .introspect(&tokens.access_token, after(1))
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!((claims.exp, claims.scope.as_str()), (after(900).0, "read write"));
                for nothing in
                    ["", "x", &OpaqueToken::Refresh.generate(), &OpaqueToken::Access.generate()]
                {
                    assert_eq!(revoke(nothing, None).await, Ok(Delivery::Done), "{nothing}");
                }
                assert_eq!(
                    revoke(&tokens.access_token, Some("x")).await,
                    Err(Problem::ClientMismatch)
                );
                assert_eq!(revoke(&tokens.access_token, None).await, Ok(Delivery::Pending));
                assert!(!world.is_active(&tokens.access_token, after(1)).await);
                let next = world.refresh(&tokens.refresh_token, after(2)).await.unwrap();
                assert!(world.is_active(&next.access_token, after(2)).await);
                assert_eq!(
                    revoke(&next.refresh_token, Some("x")).await,
                    Err(Problem::ClientMismatch)
                );
                assert_eq!(
                    revoke(&next.refresh_token, Some("portcullis")).await,
                    Ok(Delivery::Pending)
                );
                assert!(!world.is_active(&next.access_token, after(2)).await);
                // Within the grace, and yet nothing is given again.
                assert_eq!(
                    world.refresh(&tokens.refresh_token, after(3)).await,
                    Err(Problem::SessionEnded)
                );
            },
        )
        .await;
    }
}

#[tokio::test]
async fn what_a_session_announced_is_void_once_it_is_over() {
    on_each(
        |_| (),
        async |world: World| {
            world.add("alice").await;
            let (one, two) = (world.login("alice", T).await, world.login("alice", T).await);
            assert_eq!(world.outbox().await.len(), 2);
            world
                .sessions
                .logout(&one.refresh_token, &ClientInfo::default(), after(1))
                .await
                .unwrap();
            let outbox = world.outbox().await;
            assert_eq!(outbox.len(), 2, "{outbox:?}");
            let announced = |tokens: &Tokens| {
                let key = format!("[\"SET\",\"pc:token:{}\"", token_hash(&tokens.access_token));
                outbox.iter().any(|row| row.contains(&key))
            };
            assert!(announced(&two) && !announced(&one));
        },
    )
    .await;
}

#[tokio::test]
async fn a_revoked_token_is_not_announced_any_more() {
    on_each(
        |config| config.access_token_format = AccessTokenFormat::Opaque,
        async |world: World| {
            world.add("alice").await;
            let tokens = world.login("alice", T).await;
            let record = format!("[\"SET\",\"pc:token:{}\"", token_hash(&tokens.access_token));
            assert!(world.outbox().await.iter().any(|row| row.contains(&record)));
            let client = ClientInfo::default();
            world.sessions.revoke(&tokens.access_token, None, &client, after(1)).await.unwrap();
            let outbox = world.outbox().await;
            assert!(!outbox.iter().any(|row| row.contains(&record)), "{outbox:?}");
            assert!(outbox.iter().any(|row| row.contains("pc:revoked:jti:")), "{outbox:?}");
        },
    )
    .await;
}

#[tokio::test]
async fn no_token_outlives_its_session_and_the_newest_session_stays() {
    on_each(
        |config| {
            config.sessions_per_user_max = 1;
            config.refresh_token_seconds = 1000;
        },
        async |world: World| {
            world.add("alice").await;
            let (one, two) = (world.login("alice", T).await, world.login("alice", T).await);
            assert!(!world.is_active(&one.access_token, T).await);
            assert!(world.is_active(&two.access_token, T).await);
            let late = world.refresh(&two.refresh_token, after(900)).await.unwrap();
            assert_eq!(late.expires_in, 100);
            assert!(world.is_active(&late.access_token, after(999)).await);
            assert!(!world.is_active(&late.access_token, after(1000)).await);
        },
    )
    .await;
}

/// What a store refuses for ever holds up nothing that comes after it.
#[tokio::test]
async fn poisoned_rows_hold_up_no_others() {
    // It refuses each pipeline that has "bad" in it, half of them as a whole, and notes the others.
    let told: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let own = Arc::clone(&told);
    let answer = move |body: String| {
        let told = Arc::clone(&own);
        async move {
            if body.contains("bad-whole") {
                return (axum::http::StatusCode::PAYLOAD_TOO_LARGE, String::new());
            }
            if body.contains("bad") {
                return (axum::http::StatusCode::OK, r#"[{"error":"ERR no"}]"#.to_owned());
            }
            told.lock().unwrap().push(body);
            (axum::http::StatusCode::OK, r#"[{"result":"OK"}]"#.to_owned())
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/pipeline", axum::routing::post(answer));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    on_each(
        |config| config.link.store_url = url.clone(),
        async |world: World| {
            let grant = |now| Grant { now, events: &[] };
            let row = async |name: &str, now: UnixSeconds| {
                let commands = vec![redis_rest::Command::new("SET").arg(name).arg(1)];
                world.db.revoke_token((name, "none"), now.0, commands, &grant(now)).await.unwrap();
            };
            for number in 0..130 {
                let kind = if number % 2 == 0 { "bad" } else { "bad-whole" };
                row(&format!("{kind}-{number}"), T).await;
            }
            row("good", after(1)).await;
            assert!(!world.publisher.drain().await, "some are left");
            assert!(told.lock().unwrap().drain(..).any(|body| body.contains("good")));
            assert_eq!(world.outbox().await.len(), 130);
        },
    )
    .await;
    server.abort();
}

#[tokio::test]
async fn a_burst_of_refreshes_is_noted_once() {
    on_each(
        |_| (),
        async |world: World| {
            world.add("alice").await;
            let mut tokens = world.login("alice", T).await;
            for second in 1..=15 {
                tokens = world.refresh(&tokens.refresh_token, after(second)).await.unwrap();
            }
            assert_eq!(world.audited("refresh_burst").await, 1);
        },
    )
    .await;
}

#[tokio::test]
async fn keys_change_without_a_single_refusal() {
    for algorithm in [KeyAlgorithm::EdDsa, KeyAlgorithm::Es256] {
        on_each(
            |config| config.signing = signing(algorithm),
            async |world: World| {
                world.add("alice").await;
                let (mut now, mut kids) = (T, Vec::new());
                let mut tokens = world.login("alice", now).await;
                let end = after(9000);
                while now < end {
                    now = now.plus(600);
                    world.sessions.keys().maintain(now).await.unwrap();
                    let before = world.sessions.keys().keys().jwks().to_string();
                    tokens = world.refresh(&tokens.refresh_token, now).await.unwrap();
                    let header = jsonwebtoken::decode_header(&tokens.access_token).unwrap();
                    let kid = header.kid.unwrap();
                    assert!(before.contains(&kid), "it signs with what is published");
                    kids.push(kid);
                    assert!(world.is_active(&tokens.access_token, now).await);
                }
                // The next one was published long before it signs.
                let known = world.sessions.keys().keys().jwks();
                assert_eq!(known["keys"].as_array().unwrap().len(), 2);
                world.sessions.keys().maintain(after(10_000)).await.unwrap();
                let second = world.login("alice", after(10_000)).await;
                let kid = jsonwebtoken::decode_header(&second.access_token).unwrap().kid.unwrap();
                assert!(known.to_string().contains(&kid) && !kids.contains(&kid));
                kids.dedup();
                assert_eq!(kids.len(), 1);
                let claims = world.sessions.claims(&tokens.access_token).await.unwrap();
                assert!(claims.is_some(), "the key before is still known");
                let end = after(10_000 + 86_400 + 360);
                world.sessions.keys().maintain(end).await.unwrap();
                let jwks = world.sessions.keys().keys().jwks().to_string();
                assert!(!jwks.contains(&kids[0]), "{jwks}");
            },
        )
        .await;
    }
}

#[tokio::test]
async fn auth_services_that_begin_together_have_the_same_keys_and_a_new_master_key_takes_over() {
    on_each(
        |_| (),
        async |world: World| {
            let open = async |master: Seal| {
                let signing = Signing { master, ..signing(KeyAlgorithm::EdDsa) };
                KeyRing::open(Arc::clone(&world.db), signing, T).await
            };
            let key = |name: &str, letter: &str| format!("{name}:{}", letter.repeat(42) + "A");
            let old = Seal::new(&format!("m:{}", "A".repeat(43)), None).unwrap();
            world.db.number("DELETE FROM signing_keys RETURNING 1").await.unwrap();
            let (one, two) = tokio::join!(open(old.clone()), open(old));
            let (one, two) = (one.unwrap(), two.unwrap());
            one.maintain(T).await.unwrap();
            two.maintain(T).await.unwrap();
            assert_eq!(one.keys().jwks(), two.keys().jwks());
            assert_eq!(one.keys().jwks()["keys"].as_array().unwrap().len(), 2);

            let before = format!("m:{}", "A".repeat(43));
            let both = Seal::new(&key("n", "B"), Some(&before)).unwrap();
            assert_eq!(open(both).await.unwrap().keys().jwks(), one.keys().jwks());
            // From then on the new one does alone, and the old one no more.
            let new = Seal::new(&key("n", "B"), None).unwrap();
            assert_eq!(open(new).await.unwrap().keys().jwks(), one.keys().jwks());
            let error = open(Seal::new(&before, None).unwrap()).await.err().unwrap().to_string();
            assert!(error.starts_with("MASTER_KEY: does not open"), "{error}");
        },
    )
    .await;
}

#[tokio::test]
async fn what_has_ended_is_deleted_and_what_goes_on_stays() {
    on_each(
        |config| config.sessions_per_user_max = 1000,
        async |world: World| {
            world.add("alice").await;
            let (ran_out, idle) = (world.login("alice", T).await, world.login("alice", T).await);
            let mut tokens = ran_out.clone();
            for moment in [2000, 4000, 6000, 8000] {
                tokens = world.refresh(&tokens.refresh_token, after(moment)).await.unwrap();
            }
            let day = 98_000;
            let live = world.login("alice", after(day)).await;
            let live = world.refresh(&live.refresh_token, after(day + 1)).await.unwrap();
            let count = async |table: &str| {
                world.db.number(&format!("SELECT COUNT(*) FROM {table}")).await.unwrap()
            };
            assert_eq!((count("sessions").await, count("refresh_tokens").await), (3, 8));
            let upkeep = Upkeep {
                db: Arc::clone(&world.db),
                publisher: Arc::clone(&world.publisher),
                idle_seconds: 3000,
                audit_seconds: 400 * 86_400,
            };
            let outbox = world.outbox().await.len();
            assert!(upkeep.clean(after(3000)).await.unwrap() >= 1, "the idle one is over");
            assert!(world.outbox().await.len() > outbox, "the store hears of it");
            upkeep.clean(after(93_001)).await.unwrap();
            assert_eq!(
                count("sessions").await,
                2,
                "the one that ran out is still within reach of a marker"
            );
            upkeep.clean(after(100_001)).await.unwrap();
            assert_eq!((count("sessions").await, count("refresh_tokens").await), (1, 2));
            let answers = "SELECT COUNT(*) FROM refresh_tokens WHERE answer IS NOT NULL";
            assert_eq!(world.db.number(answers).await.unwrap(), 0);
            assert!(world.is_active(&live.access_token, after(day + 2)).await);
            for gone in [&ran_out, &idle] {
                let refused = world.refresh(&gone.refresh_token, after(day + 2)).await;
                assert_eq!(refused, Err(Problem::RefreshTokenInvalid));
            }
            assert_eq!(upkeep.clean(after(100_001)).await.unwrap(), 0);
            assert_eq!(world.audited("login").await, 3);
        },
    )
    .await;
}

#[tokio::test]
async fn the_audit_is_append_only() {
    on_each(
        |_| (),
        async |world: World| {
            let now = crate::clock::now();
            let event = Event::new(EventKind::Login, Actor::User, &ClientInfo::default());
            world.db.note_alone(std::slice::from_ref(&event), now).await.unwrap();
            world.db.note_alone(&[event], UnixSeconds(now.0 - 91 * 86_400)).await.unwrap();
            for change in
                ["UPDATE audit SET event = 'x' RETURNING 1", "DELETE FROM audit RETURNING 1"]
            {
                let error = world.db.number(change).await.err().unwrap().to_string();
                assert!(error.contains("append-only"), "{error}");
            }
            let old = format!("DELETE FROM audit WHERE at < {} RETURNING 1", now.0 - 90 * 86_400);
            assert_eq!(world.db.number(&old).await.unwrap(), 1);
        },
    )
    .await;
}

#[tokio::test]
async fn on_postgres_tables_change_by_command_alone() {
    on_each(
        |_| (),
        async |world: World| {
            assert!(Db::open(&world.url, Migrate::Embedded).await.is_ok());
            if world.url.starts_with("postgres") {
                let behind = "DELETE FROM _sqlx_migrations WHERE version = 3 RETURNING 1";
                world.db.number(behind).await.unwrap();
                let error = Db::open(&world.url, Migrate::Embedded).await.err().unwrap();
                assert!(error.contains("run portcullis-auth migrate"), "{error}");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_made_up_refresh_token_costs_no_query() {
    on_each(
        |_| (),
        async |world: World| {
            let queries = || world.db.queries().with_label_values(&["request"]).get();
            let before = queries();
            for made_up in ["", "x", &format!("pcr_{}", "A".repeat(48))] {
                assert_eq!(world.refresh(made_up, T).await, Err(Problem::RefreshTokenInvalid));
            }
            assert_eq!(queries(), before);
            let formed = world.refresh(&OpaqueToken::Refresh.generate(), T).await;
            assert_eq!(formed, Err(Problem::RefreshTokenInvalid));
        },
    )
    .await;
}
