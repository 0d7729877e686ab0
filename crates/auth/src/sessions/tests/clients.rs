//! Clients that get tokens for themselves.

use crate::audit::{Actor, ClientInfo};
use crate::clients::{ClientEdit, OAuthClient, UsedAssertion};
use crate::config::AccessTokenFormat;
use crate::db::{ListPlace, UsedCredential};
use crate::directory::clients::NewClient;
use crate::directory::{By, Directory};
use crate::outbox::Delivery;
use crate::problem::Problem;
use crate::sessions::{ClientCredential, ClientToken};
use crate::signing_keys::{KeyAlgorithm, generate_pkcs8, public_jwk};
use crate::testing::{T, TestService, after, on_each_database};
use crate::token::{OpaqueToken, token_hash};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use portcullis_core::UnixSeconds;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

static NO_INFO: LazyLock<ClientInfo> = LazyLock::new(ClientInfo::default);

fn directory(service: &TestService, now: UnixSeconds) -> Directory<'_> {
    let by = By { actor: Actor::Operator, subject: None, client: &NO_INFO };
    Directory { db: &service.db, publisher: &service.publisher, audit: None, by, now }
}

fn edit(patch: &Value) -> ClientEdit {
    serde_json::from_value(patch.clone()).unwrap()
}

async fn add(service: &TestService, settings: &Value) -> (String, String) {
    let new = directory(service, T).add_client(&edit(settings)).await.ok().unwrap();
    let NewClient { client, secret } = new;
    (client.id, secret.unwrap_or_default())
}

async fn by_secret(
    service: &TestService,
    id: &str,
    secret: &str,
    scope: Option<&str>,
    now: UnixSeconds,
) -> Result<ClientToken, Problem> {
    let (client_id, secret) = (id.to_owned(), secret.to_owned());
    let credential = ClientCredential::Secret { client_id, secret };
    service.sessions.client_credentials(&credential, scope, &NO_INFO, now).await
}

async fn change(service: &TestService, id: &str, patch: Value, now: UnixSeconds) -> Delivery {
    directory(service, now).change_client(id, &edit(&patch)).await.unwrap().1
}

async fn on_each_format(test: impl AsyncFn(TestService)) {
    for format in [AccessTokenFormat::Jwt, AccessTokenFormat::Opaque] {
        on_each_database(|config| config.access_token_format = format, &test).await;
    }
}

#[tokio::test]
async fn change_of_a_client_that_another_has_changed_since_is_refused() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (id, _) = add(&service, &json!({ "name": "batch", "scope": "a b" })).await;
            let was = json!({ "scope": "a b", "plan": null });
            change(&service, &id, json!({ "scope": "a", "was": was }), T).await;
            let stale = edit(&json!({ "scope": "a b c", "was": was }));
            let refused = directory(&service, T).change_client(&id, &stale).await;
            assert_eq!(refused.err(), Some(Problem::ChangedMeanwhile));
            assert_eq!(directory(&service, T).client(&id).await.unwrap().scope, "a");
        },
    )
    .await;
}

#[tokio::test]
async fn client_gets_a_token_with_its_own_settings_and_a_record() {
    on_each_format(async |service: TestService| {
        let settings = json!({ "name": "batch", "scope": "a b", "token_seconds": 60,
            "plan": "pro", "claims": { "org": { "id": 7 } } });
        let (id, secret) = add(&service, &settings).await;
        let token = by_secret(&service, &id, &secret, Some("b"), T).await.unwrap();
        assert_eq!((token.expires_in, token.scope.as_str(), token.token_type), (60, "b", "Bearer"));
        assert!(!serde_json::to_string(&token).unwrap().contains("refresh_token"));
        let claims = service.sessions.introspect(&token.access_token, T).await.unwrap().unwrap();
        assert_eq!((&claims.sub, &claims.client_id, &claims.sid), (&id, &id, &None));
        assert_eq!((claims.iat, claims.exp), (T.0, T.0 + 60));
        assert_eq!(Value::Object(claims.others), json!({ "org": { "id": 7 }, "plan": "pro" }));
        assert!(!service.is_active(&token.access_token, after(60)).await);
        let rows = service.outbox().await;
        assert_eq!(rows.len(), 1);
        for part in ["pc:token:", "\\\"plan\\\":\\\"pro\\\"", "\"EX\",\"420\""] {
            assert!(rows[0].contains(part), "{part}: {rows:?}");
        }
        let whole = by_secret(&service, &id, &secret, None, T).await.unwrap();
        assert_eq!(whole.scope, "a b");
        let refused = by_secret(&service, &id, &secret, Some("b c"), T).await;
        assert_eq!(refused.err(), Some(Problem::ScopeInvalid));
    })
    .await;
}

#[tokio::test]
async fn wrong_secrets_are_refused_alike_and_recorded_once_a_minute() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (id, secret) = add(&service, &json!({ "name": "batch" })).await;
            let (other, other_secret) = add(&service, &json!({ "name": "other" })).await;
            let wrong = OpaqueToken::ClientSecret.generate();
            let mut unknown = id.clone();
            unknown.replace_range(4..8, "AAAA");
            for (id, secret) in [
                (&id, &wrong),
                (&id, &other_secret),
                (&other, &secret),
                (&unknown, &secret),
                (&id, &String::new()),
                (&id, &"pcs_x\0".to_owned()),
                (&"\0".to_owned(), &secret),
                (&secret, &id),
            ] {
                for _ in 0..3 {
                    let refused = by_secret(&service, id, secret, None, T).await;
                    assert_eq!(refused.err(), Some(Problem::ClientInvalid), "{id}");
                }
            }
            // One for each known client, and one for all others.
            assert_eq!(service.audited("client_denied").await, 3);
            let leaked = "SELECT COUNT(*) FROM audit WHERE detail LIKE '%pcs_%'";
            assert_eq!(service.db.query_number(leaked).await.unwrap(), 0);
            assert!(by_secret(&service, &id, &secret, None, T).await.is_ok());
        },
    )
    .await;
}

#[tokio::test]
async fn rolled_secret_works_until_the_grace_ends() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (id, first) = add(&service, &json!({ "name": "batch" })).await;
            let roll = async |grace: u64, now: UnixSeconds| {
                directory(&service, now).roll_client_secret(&id, grace).await.unwrap()
            };
            let works = async |secret: &str, now: UnixSeconds| {
                by_secret(&service, &id, secret, None, now).await.is_ok()
            };
            let second = roll(100, T).await;
            assert!(works(&first, after(99)).await && works(&second, after(99)).await);
            assert!(!works(&first, after(100)).await && works(&second, after(100)).await);
            // A repeated roll leaves the grace of the oldest secret.
            let third = roll(100, after(50)).await;
            assert!(works(&first, after(99)).await && !works(&first, after(100)).await);
            assert!(works(&second, after(99)).await && works(&third, after(99)).await);
            // Without a grace all end, also for a process whose clock is behind.
            let fourth = roll(0, after(60)).await;
            for old in [&first, &second, &third] {
                assert!(!works(old, after(30)).await);
            }
            assert!(works(&fourth, after(1_000_000)).await);
            let long = directory(&service, T).roll_client_secret(&id, 30 * 86_400 + 1).await;
            assert!(matches!(long, Err(Problem::MemberInvalid(_))));
            assert_eq!(service.audited("client_secret_rolled").await, 3);
            // At most 8 secrets work at once.
            for second in 0..7 {
                roll(100, after(2000 + second)).await;
            }
            let often = directory(&service, after(2010)).roll_client_secret(&id, 100).await;
            assert_eq!(often, Err(Problem::ClientRolledTooOften));
            assert!(works(&fourth, after(2010)).await);
            roll(100, after(2100)).await;
            roll(0, after(2101)).await;
            let stored = "SELECT COUNT(*) FROM client_secrets WHERE hash LIKE 'pcs_%'";
            assert_eq!(service.db.query_number(stored).await.unwrap(), 0);
        },
    )
    .await;
}

#[tokio::test]
async fn tokens_of_a_disabled_client_stay_revoked_when_it_is_enabled_again() {
    on_each_format(async |service: TestService| {
        let (id, secret) = add(&service, &json!({ "name": "batch" })).await;
        let old = by_secret(&service, &id, &secret, None, after(1)).await.unwrap();
        assert_eq!(
            change(&service, &id, json!({ "disabled": true }), after(1)).await,
            Delivery::Pending
        );
        assert!(!service.is_active(&old.access_token, after(1)).await);
        let refused = by_secret(&service, &id, &secret, None, after(1)).await;
        assert_eq!(refused.err(), Some(Problem::ClientInvalid));
        // The undelivered record is void, and deleted, should it be in the store already.
        let rows = service.outbox().await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        for part in ["\"SET\",\"pc:revoked:client:", "\"disabled\"", "[\"DEL\",\"pc:token:"] {
            assert!(rows[0].contains(part), "{part}: {rows:?}");
        }
        // In the same second.
        change(&service, &id, json!({ "disabled": false }), after(1)).await;
        let rows = service.outbox().await;
        let until = format!("\"{}\",\"EX\"", after(1).0);
        assert!(rows.len() == 1 && rows[0].contains(&until), "{rows:?}");
        assert!(!service.is_active(&old.access_token, after(1)).await);
        let new = by_secret(&service, &id, &secret, None, after(1)).await.unwrap();
        assert!(service.is_active(&new.access_token, after(1)).await);
        let claims = service.sessions.introspect(&new.access_token, after(1)).await;
        assert_eq!(claims.unwrap().unwrap().iat, after(2).0, "after the revocation");
        // A second time changes nothing.
        let rows = service.outbox().await.len();
        change(&service, &id, json!({ "disabled": false }), after(1)).await;
        assert_eq!(service.outbox().await.len(), rows);
        assert_eq!(service.audited("client_disabled").await, 1);
        assert_eq!(service.audited("client_enabled").await, 1);
        // Tokens alone.
        change(&service, &id, json!({ "now": true }), after(1)).await;
        assert!(!service.is_active(&new.access_token, after(2)).await);
        assert!(by_secret(&service, &id, &secret, None, after(2)).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn deleted_client_leaves_only_its_revocation() {
    on_each_format(async |service: TestService| {
        let (id, secret) = add(&service, &json!({ "name": "batch", "claims": { "a": 1 } })).await;
        let token = by_secret(&service, &id, &secret, None, T).await.unwrap();
        let own = directory(&service, after(1));
        assert_eq!(own.delete_client(&id).await, Ok(Delivery::Pending));
        assert_eq!(own.delete_client(&id).await, Err(Problem::ClientUnknown));
        assert!(own.client(&id).await.is_err());
        assert!(own.change_client(&id, &edit(&json!({ "disabled": false }))).await.is_err());
        assert!(own.roll_client_secret(&id, 0).await.is_err());
        assert!(!service.is_active(&token.access_token, after(1)).await);
        assert!(by_secret(&service, &id, &secret, None, after(1)).await.is_err());
        let rows = service.outbox().await;
        assert!(rows.len() == 1 && rows[0].contains("pc:revoked:client:"), "{rows:?}");
        let number = async |statement: &str| service.db.query_number(statement).await.unwrap();
        assert_eq!(number("SELECT COUNT(*) FROM client_secrets").await, 0);
        assert_eq!(number("SELECT COUNT(*) FROM clients WHERE name = ''").await, 1);
        let none = |_: &str, _: &str| Vec::new();
        let clean_up = async |now: UnixSeconds| {
            service.db.delete_expired(now, 3000, 400 * 86_400, none).await.unwrap();
        };
        clean_up(after(80_000)).await;
        assert_eq!(number("SELECT COUNT(*) FROM clients").await, 1);
        assert_eq!(number("SELECT COUNT(*) FROM client_tokens").await, 0);
        clean_up(after(100_000)).await;
        assert_eq!(number("SELECT COUNT(*) FROM clients").await, 0);
    })
    .await;
}

#[tokio::test]
async fn one_token_of_a_client_is_revoked_alone() {
    on_each_format(async |service: TestService| {
        let (id, secret) = add(&service, &json!({ "name": "batch" })).await;
        let one = by_secret(&service, &id, &secret, None, T).await.unwrap();
        let two = by_secret(&service, &id, &secret, None, T).await.unwrap();
        change(&service, &id, json!({ "disabled": true }), T).await;
        change(&service, &id, json!({ "disabled": false }), T).await;
        let three = by_secret(&service, &id, &secret, None, after(5)).await.unwrap();
        let four = by_secret(&service, &id, &secret, None, after(5)).await.unwrap();
        let revoke = async |token: &ClientToken, client_id: Option<&str>| {
            service.sessions.revoke(&token.access_token, client_id, &NO_INFO, after(5)).await
        };
        assert_eq!(revoke(&three, Some("portcullis")).await, Err(Problem::ClientMismatch));
        assert_eq!(revoke(&three, Some(&id)).await, Ok(Delivery::Pending));
        assert_eq!(revoke(&three, None).await, Ok(Delivery::Pending), "again");
        for (token, active) in [(&one, false), (&two, false), (&three, false), (&four, true)] {
            assert_eq!(service.is_active(&token.access_token, after(5)).await, active);
        }
        assert_eq!(service.audited("token_revoked").await, 1);
        // The client's own state is still to be delivered.
        let rows = service.outbox().await;
        assert!(rows.iter().any(|row| row.contains("pc:revoked:client:")), "{rows:?}");
    })
    .await;
}

/// A client that signs assertions.
struct Signer {
    id: String,
    key: EncodingKey,
}

impl Signer {
    async fn add(service: &TestService) -> Self {
        let pkcs8 = generate_pkcs8(KeyAlgorithm::EdDsa).unwrap();
        let jwk = public_jwk(KeyAlgorithm::EdDsa, &pkcs8).unwrap();
        let settings = json!({ "name": "batch", "jwks": { "keys": [jwk] } });
        let (id, secret) = add(service, &settings).await;
        assert_eq!(secret, "");
        let key = EncodingKey::from_ed_der(&URL_SAFE_NO_PAD.decode(pkcs8).unwrap());
        Self { id, key }
    }

    fn sign(&self, jti: &str, exp: u64) -> String {
        let claims = json!({ "iss": self.id, "sub": self.id, "aud": "https://a.example",
            "jti": jti, "exp": exp });
        encode(&Header::new(jsonwebtoken::Algorithm::EdDSA), &claims, &self.key).unwrap()
    }

    fn credential(&self, jti: &str, exp: u64) -> ClientCredential {
        ClientCredential::Assertion { client_id: None, assertion: self.sign(jti, exp) }
    }
}

#[tokio::test]
async fn assertion_works_once_also_for_twenty_requests_at_once() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let signer = Signer::add(&service).await;
            let service = Arc::new(service);
            let credential = Arc::new(signer.credential("a", T.0 + 60));
            let tasks = (0..20).map(|_| {
                let (service, credential) = (Arc::clone(&service), Arc::clone(&credential));
                tokio::spawn(async move {
                    service.sessions.client_credentials(&credential, None, &NO_INFO, T).await
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let mut issued = 0;
            for task in tasks {
                match task.await.unwrap() {
                    Ok(_) => issued += 1,
                    Err(problem) => assert_eq!(problem, Problem::ClientInvalid),
                }
            }
            assert_eq!(issued, 1);
            let tokens = service.db.query_number("SELECT COUNT(*) FROM client_tokens").await;
            assert_eq!(tokens.unwrap(), 1);
            let grant = async |credential: &ClientCredential, now| {
                service.sessions.client_credentials(credential, None, &NO_INFO, now).await
            };
            // The same `jti` in another assertion, and after the leeway and the cleanup.
            assert!(grant(&signer.credential("a", T.0 + 61), T).await.is_err());
            let none = |_: &str, _: &str| Vec::new();
            let late = after(60 + 30 + 3600 + 1);
            service.db.delete_expired(late, 3000, 400 * 86_400, none).await.unwrap();
            let kept = service.db.query_number("SELECT COUNT(*) FROM used_assertions").await;
            assert_eq!(kept.unwrap(), 0);
            assert!(grant(&signer.credential("a", T.0 + 60), late).await.is_err(), "expired");
            assert!(grant(&signer.credential("b", T.0 + 60), T).await.is_ok());
            // A refused scope uses up nothing.
            let other = signer.credential("c", T.0 + 60);
            let wide = service.sessions.client_credentials(&other, Some("x"), &NO_INFO, T).await;
            assert_eq!(wide.err(), Some(Problem::ScopeInvalid));
            assert!(grant(&other, T).await.is_ok());
        },
    )
    .await;
}

/// A request that has authenticated before its secret, its key or its tokens were withdrawn gets no
/// token afterwards: that one would outlive the revocation.
#[tokio::test]
async fn client_that_was_changed_since_its_proof_gets_no_token() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (id, secret) = add(&service, &json!({ "name": "batch" })).await;
            let used = UsedCredential::Secret(token_hash(&secret));
            let issue = async |own: &OAuthClient, used: &UsedCredential| {
                service.sessions.issue_to_authenticated(own, used, None, &NO_INFO, after(1)).await
            };
            let own = directory(&service, T).client(&id).await.unwrap();
            assert!(issue(&own, &used).await.is_ok());
            directory(&service, T).roll_client_secret(&id, 5).await.unwrap();
            assert!(issue(&own, &used).await.is_ok(), "within the grace");
            directory(&service, T).roll_client_secret(&id, 0).await.unwrap();
            assert_eq!(issue(&own, &used).await.err(), Some(Problem::ClientInvalid));

            let signer = Signer::add(&service).await;
            let own = directory(&service, T).client(&signer.id).await.unwrap();
            let used = |jti: &str| {
                let (hash, expires_at) = (jti.to_owned(), T.0 + 60);
                UsedCredential::Assertion(UsedAssertion { hash, expires_at })
            };
            assert!(issue(&own, &used("a")).await.is_ok());
            change(&service, &signer.id, json!({ "now": true }), T).await;
            assert_eq!(issue(&own, &used("b")).await.err(), Some(Problem::ClientInvalid));
            let own = directory(&service, T).client(&signer.id).await.unwrap();
            assert!(issue(&own, &used("b")).await.is_ok(), "the assertion was not used up");
            let pkcs8 = generate_pkcs8(KeyAlgorithm::EdDsa).unwrap();
            let other = public_jwk(KeyAlgorithm::EdDsa, &pkcs8).unwrap();
            change(&service, &signer.id, json!({ "jwks": { "keys": [other] } }), T).await;
            assert_eq!(issue(&own, &used("c")).await.err(), Some(Problem::ClientInvalid));
        },
    )
    .await;
}

#[tokio::test]
async fn client_has_one_way_to_authenticate() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let signer = Signer::add(&service).await;
            let own = directory(&service, T);
            assert!(matches!(
                own.roll_client_secret(&signer.id, 0).await,
                Err(Problem::MemberInvalid(_))
            ));
            let secret = OpaqueToken::ClientSecret.generate();
            assert!(by_secret(&service, &signer.id, &secret, None, T).await.is_err());
            let (id, _) = add(&service, &json!({ "name": "by secret" })).await;
            let foreign = Signer { id, key: signer.key.clone() };
            for (credential, ok) in [
                (signer.credential("1", T.0 + 60), true),
                (foreign.credential("2", T.0 + 60), false),
                (
                    ClientCredential::Assertion {
                        client_id: Some(foreign.id.clone()),
                        assertion: signer.sign("3", T.0 + 60),
                    },
                    false,
                ),
            ] {
                let granted = service.sessions.client_credentials(&credential, None, &NO_INFO, T);
                assert_eq!(granted.await.is_ok(), ok);
            }
            change(&service, &signer.id, json!({ "disabled": true }), T).await;
            let refused = signer.credential("4", T.0 + 60);
            let refused = service.sessions.client_credentials(&refused, None, &NO_INFO, T).await;
            assert_eq!(refused.err(), Some(Problem::ClientInvalid));
        },
    )
    .await;
}

#[tokio::test]
async fn clients_are_listed_page_by_page() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let mut added = Vec::new();
            for number in 0..7 {
                added.push(add(&service, &json!({ "name": number.to_string() })).await.0);
            }
            added.sort();
            let (mut listed, mut after): (Vec<String>, Option<ListPlace>) = (Vec::new(), None);
            loop {
                let page = service.db.clients(after.as_ref(), 3).await.unwrap();
                let Some(last) = page.last() else { break };
                after = Some(ListPlace { at: last.created_at, id: last.id.clone() });
                listed.extend(page.into_iter().map(|client| client.id));
            }
            assert_eq!(listed, added);
        },
    )
    .await;
}
