//! API keys follow the changes of their owners: users and clients.

use super::patch;
use crate::api_keys::Manager;
use crate::audit::{Actor, ClientInfo};
use crate::db::Owner;
use crate::directory::{By, Directory};
use crate::problem::Problem;
use crate::testing::{T, TestService, after, on_each_database};
use portcullis_core::UnixSeconds;
use serde_json::{Value, json};

fn directory<'a>(
    service: &'a TestService,
    client_info: &'a ClientInfo,
    now: UnixSeconds,
) -> Directory<'a> {
    let by = By { actor: Actor::Operator, subject: None, client: client_info };
    Directory { db: &service.db, publisher: &service.publisher, audit: None, by, now }
}

impl TestService {
    async fn owned_key(&self, owner: &Owner) -> Result<String, Problem> {
        let terms = patch(json!({ "name": "ci", "scope": "a" }));
        let issued =
            self.api_keys.create(&Manager::operator(), Some(owner.clone()), terms, T).await?;
        Ok(issued.secret)
    }

    /// Returns the introspection of a key as JSON, or `null`.
    async fn key_claims(&self, secret: &str, now: UnixSeconds) -> Value {
        self.api_keys.introspect(secret, now).await.unwrap().map_or(Value::Null, Value::Object)
    }
}

#[tokio::test]
async fn key_of_a_client_has_its_claims_and_stops_and_ends_with_it() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let client_info = ClientInfo::default();
            let own = |seconds| directory(&service, &client_info, after(seconds));
            let settings = json!({ "name": "batch", "scope": "a b", "plan": "pro" });
            let settings = serde_json::from_value(settings).unwrap();
            let id = own(0).add_client(&settings).await.ok().unwrap().client.id;
            let secret = service.owned_key(&Owner::client(&id)).await.unwrap();
            let claims = service.key_claims(&secret, T).await;
            assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(id), &json!(id)));
            assert_eq!((&claims["scope"], &claims["plan"]), (&json!("a"), &json!("pro")));
            let change = async |seconds: u64, edit: Value| {
                let edit = serde_json::from_value(edit).unwrap();
                own(seconds).change_client(&id, &edit).await.unwrap();
            };
            // A revocation of tokens leaves keys.
            change(1, json!({ "now": true })).await;
            let iat = service.key_claims(&secret, after(1)).await["iat"].as_u64().unwrap();
            assert!(iat > after(1).0, "the marker with that time does not revoke the key");
            change(2, json!({ "scope": "b", "plan": "free" })).await;
            let claims = service.key_claims(&secret, after(2)).await;
            assert_eq!((&claims["scope"], &claims["plan"]), (&json!(""), &json!("free")));
            let rows = service.outbox().await.join("\n");
            assert!(rows.contains("\\\"plan\\\":\\\"free\\\""), "{rows}");
            change(3, json!({ "disabled": true })).await;
            assert_eq!(service.key_claims(&secret, after(3)).await, Value::Null);
            assert_eq!(service.owned_key(&Owner::client(&id)).await, Err(Problem::OwnerUnknown));
            change(4, json!({ "disabled": false })).await;
            assert_ne!(service.key_claims(&secret, after(4)).await, Value::Null);
            own(5).delete_client(&id).await.unwrap();
            assert_eq!(service.key_claims(&secret, after(5)).await, Value::Null);
            let rows = service.outbox().await.join("\n");
            assert!(rows.contains("pc:revoked:jti:"), "{rows}");
            let live = "SELECT COUNT(*) FROM api_keys WHERE revoked_at IS NULL";
            assert_eq!(service.db.query_number(live).await.unwrap(), 0);
        },
    )
    .await;
}

#[tokio::test]
async fn key_of_a_user_has_its_claims_and_ends_with_it() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let client_info = ClientInfo::default();
            let own = |seconds| directory(&service, &client_info, after(seconds));
            let user = service.add("alice").await;
            let change = async |seconds: u64, edit: Value| {
                let edit = serde_json::from_value(edit).unwrap();
                own(seconds).change_user(&user.id, &edit).await.unwrap();
            };
            change(0, json!({ "scope": "a" })).await;
            let secret = service.owned_key(&Owner::user(&user.id)).await.unwrap();
            change(1, json!({ "claims": { "plan": "pro" }, "now": true })).await;
            let claims = service.key_claims(&secret, after(1)).await;
            assert_eq!((&claims["scope"], &claims["plan"]), (&json!("a"), &json!("pro")));
            // The marker that revokes the user's tokens up to a time does not revoke the key.
            assert!(claims["iat"].as_u64().unwrap() > after(1).0, "{claims}");
            let rows = service.outbox().await.join("\n");
            assert!(rows.contains("\\\"plan\\\":\\\"pro\\\""), "{rows}");
            own(2).delete_user(&user.id).await.unwrap();
            assert_eq!(service.key_claims(&secret, after(2)).await, Value::Null);
            assert_eq!(service.owned_key(&Owner::user(&user.id)).await, Err(Problem::OwnerUnknown));
            let live = "SELECT COUNT(*) FROM api_keys WHERE revoked_at IS NULL";
            assert_eq!(service.db.query_number(live).await.unwrap(), 0);
        },
    )
    .await;
}

/// However many keys have expired, the rows of their owner stay few, and it can be deleted.
#[tokio::test]
async fn expired_keys_are_bounded_and_their_owner_is_deleted_without_publishing_them() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let client_info = ClientInfo::default();
            let user = service.add("alice").await;
            let owner = Owner::user(&user.id);
            let create = async |seconds, expires_in| {
                let terms = patch(json!({ "name": "n", "expires_in": expires_in }));
                let keys = &service.api_keys;
                keys.create(&Manager::operator(), Some(owner.clone()), terms, after(seconds))
                    .await
                    .map(|issued| issued.state.key.id)
            };
            for second in 0..12 {
                create(second, 1).await.unwrap();
            }
            let number = async |statement: &str| service.db.query_number(statement).await.unwrap();
            let live = "SELECT COUNT(*) FROM api_keys WHERE revoked_at IS NULL";
            assert_eq!(number(live).await, 5);
            let lasting = create(12, 10_000).await.unwrap();
            number("DELETE FROM outbox RETURNING 1").await;
            let directory = directory(&service, &client_info, after(100));
            directory.delete_user(&user.id).await.unwrap();
            assert_eq!(number(live).await, 0);
            // One row for the user, and one for the key that had not expired.
            assert_eq!(number("SELECT COUNT(*) FROM outbox").await, 2);
            let of_key = format!("SELECT COUNT(*) FROM outbox WHERE about = '{lasting}'");
            assert_eq!(number(&of_key).await, 1);
        },
    )
    .await;
}

/// The keys of an owner are published in batches, each in few queries.
#[tokio::test]
async fn many_keys_of_an_owner_end_in_few_queries() {
    on_each_database(
        |config| config.api_keys.per_owner_max = 1000,
        async |service: TestService| {
            let client_info = ClientInfo::default();
            let user = service.add("alice").await;
            for table in ["api_keys", "api_key_secrets"] {
                let columns = match table {
                    "api_keys" => format!(
                        "(id, owner_kind, owner_id, name, display_prefix, scope, quotas, networks,
                         metadata, created_at, changed_at) SELECT 'k' || i, 'user', '{}', 'n', 'p',
                         'read', '{{}}', '[]', '{{}}', 1, 1",
                        user.id
                    ),
                    _ => "(hash, key_id, created_at) SELECT 'h' || i, 'k' || i, 1".to_owned(),
                };
                let insert = format!(
                    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250)
                     INSERT INTO {table} {columns} FROM n RETURNING 1"
                );
                service.db.query_number(&insert).await.unwrap();
            }
            let requests = || service.db.queries().with_label_values(&["request"]).get();
            let before = requests();
            directory(&service, &client_info, T).delete_user(&user.id).await.unwrap();
            assert!(requests() - before < 30, "{}", requests() - before);
            let rows = service.outbox().await;
            assert_eq!(rows.len(), 251);
            let ends = |number| {
                let part = format!("[\"DEL\",\"pc:token:h{number}\"]");
                rows.iter().any(|row| row.contains(&part) && row.contains("pc:revoked:jti:"))
            };
            assert!((1..=250).all(ends));
        },
    )
    .await;
}
