//! Keys follow the state of their owners: users and clients.

use super::patch;
use super::store::MemoryStore;
use crate::api_keys::Manager;
use crate::audit::{Actor, ClientInfo};
use crate::db::Owner;
use crate::directory::{By, Directory};
use crate::problem::Problem;
use crate::testing::{T, TestService, after, on_each_database};
use portcullis_core::revoked_before;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::LazyLock;

static OPERATOR: LazyLock<ClientInfo> = LazyLock::new(ClientInfo::default);

fn directory(service: &TestService, seconds: u64) -> Directory<'_> {
    let by = By { actor: Actor::Operator, subject: None, client: &OPERATOR };
    let (db, publisher) = (&service.db, &service.publisher);
    Directory { db, publisher, audit: None, by, now: after(seconds) }
}

fn edit<T: DeserializeOwned>(patch: Value) -> T {
    serde_json::from_value(patch).unwrap()
}

async fn issue(service: &TestService, owner: Owner) -> Result<String, Problem> {
    let terms = patch(json!({ "name": "job", "scope": "read write" }));
    let issued = service.api_keys.create(&Manager::operator(), Some(owner), terms, T).await?;
    Ok(issued.secret)
}

#[tokio::test]
async fn key_of_a_client_has_its_claims_and_ends_with_it() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let settings = json!({ "name": "job", "scope": "read write", "plan": "pro",
                "claims": { "org": 7 } });
            let client = directory(&service, 0).add_client(&edit(settings)).await.unwrap().client;
            let secret = issue(&service, Owner::client(&client.id)).await.unwrap();
            let record = store.record(&secret).unwrap();
            assert_eq!(
                (&record["sub"], &record["client_id"], &record["scope"], &record["others"]),
                (
                    &json!(client.id),
                    &json!(client.id),
                    &json!("read write"),
                    &json!({ "org": 7, "plan": "pro" })
                )
            );
            let change = async |seconds: u64, patch: Value| {
                let directory = directory(&service, seconds);
                directory.change_client(&client.id, &edit(patch)).await.unwrap();
            };
            change(1, json!({ "scope": "read", "plan": null, "claims": { "org": 8 } })).await;
            let record = store.record(&secret).unwrap();
            assert_eq!(
                (&record["scope"], &record["others"]),
                (&json!("read"), &json!({ "org": 8 }))
            );
            change(2, json!({ "disabled": true })).await;
            assert_eq!(store.record(&secret), None);
            assert!(!service.is_key_active(&secret, after(2)).await);
            let refused = issue(&service, Owner::client(&client.id)).await;
            assert_eq!(refused.err(), Some(Problem::OwnerUnknown));
            change(3, json!({ "disabled": false })).await;
            // The client's tokens stay revoked up to a time, and the key is younger than that.
            let record = store.record(&secret).unwrap();
            let marker =
                service.publisher.commands().keys().revoked_client("https://a.example", &client.id);
            let revoked = revoked_before(&store.get(&marker).unwrap());
            assert!(record["iat"].as_u64().unwrap() > revoked, "{record} {revoked}");
            directory(&service, 4).delete_client(&client.id).await.unwrap();
            assert_eq!(store.record(&secret), None);
            assert_eq!(store.count("pc:revoked:jti:"), 1);
            let revoked = "SELECT COUNT(*) FROM api_keys WHERE revoked_at IS NOT NULL";
            assert_eq!(service.db.query_number(revoked).await.unwrap(), 1);
            store.flush();
        },
    )
    .await;
}

#[tokio::test]
async fn key_of_a_user_follows_scope_and_claims_and_ends_with_the_user() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let alice = service.add("alice").await;
            let secret = issue(&service, Owner::user(&alice.id)).await.unwrap();
            let change = json!({ "scope": "write", "claims": { "plan": "pro" }, "now": true });
            directory(&service, 1).change_user(&alice.id, &edit(change)).await.unwrap();
            let record = store.record(&secret).unwrap();
            assert_eq!(
                (&record["scope"], &record["others"]),
                (&json!("write"), &json!({ "plan": "pro" }))
            );
            let keys = service.publisher.commands().keys();
            let marker = store.get(&keys.revoked_sub("https://a.example", &alice.id)).unwrap();
            assert!(record["iat"].as_u64().unwrap() > revoked_before(&marker), "{record} {marker}");
            directory(&service, 2).delete_user(&alice.id).await.unwrap();
            assert_eq!(store.record(&secret), None);
            assert!(!service.is_key_active(&secret, after(2)).await);
            let erased = "SELECT COUNT(*) FROM api_keys
                 WHERE name = '' AND metadata = '{}' AND revoked_at IS NOT NULL";
            assert_eq!(service.db.query_number(erased).await.unwrap(), 1);
            let refused = issue(&service, Owner::user(&alice.id)).await;
            assert_eq!(refused.err(), Some(Problem::OwnerUnknown));
            store.flush();
        },
    )
    .await;
}
