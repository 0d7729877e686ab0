//! Actions: their effects, their audit, and what the store gets.

use super::{FakeStore, act, column, get, on_each};
use crate::audit::ClientInfo;
use crate::console::tests::harness::{Browser, TestConsole};
use crate::testing::PASSWORD;
use serde_json::{Value, json};

/// Returns the newest event of a kind, which must name the operator and the reason.
async fn audited(console: &TestConsole, browser: &Browser, event: &str) -> Value {
    let found = get(console, browser, &format!("/audit?event={event}&limit=1")).await;
    let entry = found["items"][0].clone();
    assert_eq!(
        (&entry["actor"], &entry["by"], &entry["reason"]),
        (&json!("operator"), &json!("operator"), &json!("ticket 7")),
        "{event}: {entry}"
    );
    entry
}

#[tokio::test]
async fn user_is_disabled_enabled_changed_and_deleted() {
    on_each(async |console, browser, store: FakeStore| {
        let alice = console.add("alice", "read").await;
        let (app, now) = (&console.state.app, crate::clock::now());
        app.sessions.keys().maintain(now).await.unwrap();
        let unknown = ClientInfo::default();
        let login = async || app.sessions.login("alice", PASSWORD.into(), &unknown, now).await;
        let path = |rest: &str| format!("/users/{}{rest}", alice.id);
        let tokens = login().await.unwrap();
        let disable = ("POST", &*path("/disable"));
        let reply = act(&console, &browser, disable, json!({}), 200).await;
        assert_eq!(reply["delivery"], "stored");
        assert!(reply["user"]["disabled_at"].is_number());
        assert_eq!(reply["user"]["sessions"], 0);
        assert_eq!(audited(&console, &browser, "user_disabled").await["user_id"], alice.id);
        assert!(store.has_seen("pc:revoked:sub:"), "the edge refuses the user");
        assert!(login().await.is_err());
        let refreshed = app.sessions.refresh(&tokens.refresh_token, None, None, &unknown, now);
        assert!(refreshed.await.is_err());
        // Again, it changes nothing, and has no second event.
        act(&console, &browser, disable, json!({}), 200).await;
        let events = get(&console, &browser, "/audit?event=user_disabled").await;
        assert_eq!(events["items"].as_array().unwrap().len(), 1);

        let reply = act(&console, &browser, ("POST", &path("/enable")), json!({}), 200).await;
        assert!(reply["user"]["disabled_at"].is_null());
        audited(&console, &browser, "user_enabled").await;
        login().await.unwrap();
        let reply = act(&console, &browser, ("POST", &path("/sessions/end")), json!({}), 200).await;
        assert_eq!(reply["user"]["sessions"], 0);
        assert_eq!(audited(&console, &browser, "session_revoked").await["detail"], "all");

        let claims = json!({ "scope": "read write", "claims": { "org": "<b>" } });
        let reply = act(&console, &browser, ("POST", &path("/claims")), claims, 200).await;
        assert_eq!(
            (&reply["user"]["scope"], &reply["user"]["claims"]),
            (&json!("read write"), &json!({ "org": "<b>" }))
        );
        audited(&console, &browser, "user_changed").await;
        let stale = json!({ "scope": "", "was": { "scope": "other" }, "reason": "x" });
        let claims = format!("/console/api{}", path("/claims"));
        let reply = console.call(&browser, "POST", &claims, &stale).await;
        reply.assert(409, "changed_meanwhile");
        for (bad, code) in [
            (json!({ "claims": { "sub": "x" } }), "member_invalid"),
            (json!({ "scop": "x" }), "request_malformed"),
            (json!({ "scope": 1 }), "request_malformed"),
        ] {
            let mut bad = bad;
            bad["reason"] = "x".into();
            let reply = console
                .call(&browser, "POST", &format!("/console/api{}", path("/claims")), &bad)
                .await;
            reply.assert(400, code);
        }
        let reply = act(&console, &browser, ("DELETE", &path("")), json!({}), 200).await;
        assert_eq!(reply, json!({ "user": null, "delivery": "stored" }));
        let entry = audited(&console, &browser, "user_deleted").await;
        assert_eq!((&entry["user_id"], &entry["username"]), (&json!(alice.id), &Value::Null));
        act(&console, &browser, ("DELETE", &path("")), json!({}), 404).await;
        act(&console, &browser, ("POST", &path("/enable")), json!({}), 404).await;
        act(&console, &browser, ("POST", &path("/sessions/end")), json!({}), 404).await;
    })
    .await;
}

#[tokio::test]
async fn action_is_pending_while_the_store_is_down() {
    on_each(async |console, browser, store: FakeStore| {
        let alice = console.add("alice", "read").await;
        let (app, now) = (&console.state.app, crate::clock::now());
        app.sessions.keys().maintain(now).await.unwrap();
        app.sessions.login("alice", PASSWORD.into(), &Default::default(), now).await.unwrap();
        let id = column(&get(&console, &browser, "/sessions").await, "id").pop().unwrap();
        store.set_down(true);
        let end = ("POST", &*format!("/sessions/{id}/end"));
        let reply = act(&console, &browser, end, json!({}), 202).await;
        assert_eq!(reply["delivery"], "pending");
        assert_eq!(reply["session"]["ended_why"], "operator");
        // The repeated action says what holds now.
        assert_eq!(act(&console, &browser, end, json!({}), 202).await["delivery"], "pending");
        let disable = ("POST", &*format!("/users/{}/disable", alice.id));
        assert_eq!(act(&console, &browser, disable, json!({}), 202).await["delivery"], "pending");
        let block = json!({ "address": "192.0.2.1", "seconds": 60 });
        let reply = act(&console, &browser, ("POST", "/blocks"), block, 202).await;
        assert_eq!(
            (&reply["delivery"], &reply["address"]),
            (&json!("pending"), &json!("192.0.2.1"))
        );
        store.set_down(false);
        assert!(app.sessions.publisher().drain().await);
        assert_eq!(act(&console, &browser, end, json!({}), 200).await["delivery"], "stored");
        act(&console, &browser, ("POST", "/sessions/none/end"), json!({}), 404).await;
    })
    .await;
}

#[tokio::test]
async fn keys_are_created_changed_rolled_and_revoked() {
    on_each(async |console, browser, _| {
        let alice = console.add("alice", "read write").await;
        let owner = format!("user:{}", alice.id);
        let key = json!({ "owner": owner, "name": "build", "scope": "read", "plan": "pro" });
        let created = act(&console, &browser, ("POST", "/keys"), key, 201).await;
        let secret = created["key"].as_str().unwrap().to_owned();
        assert!(secret.starts_with("pck_live_") && created["delivery"] == "stored");
        let entry = audited(&console, &browser, "key_created").await;
        assert!(entry["detail"].as_str().unwrap().contains(&owner), "{entry}");
        let path = |rest: &str| format!("/keys/{}{rest}", created["id"].as_str().unwrap());
        let shown = get(&console, &browser, &path("")).await;
        assert!(shown["key"].is_null() && !shown.to_string().contains(&secret));
        let patch = json!({ "name": "deploy", "plan": null });
        let changed = act(&console, &browser, ("PATCH", &path("")), patch, 200).await;
        assert_eq!((&changed["name"], &changed["plan"]), (&json!("deploy"), &Value::Null));
        audited(&console, &browser, "key_changed").await;
        let rolled =
            act(&console, &browser, ("POST", &path("/roll")), json!({ "grace_seconds": 60 }), 200)
                .await;
        assert!(rolled["key"].as_str().is_some_and(|key| key != secret));
        assert!(rolled["previous_until"].is_number());
        audited(&console, &browser, "key_rolled").await;
        let revoked = act(&console, &browser, ("POST", &path("/revoke")), json!({}), 200).await;
        assert!(revoked["revoked_at"].is_number() && revoked["key"].is_null());
        audited(&console, &browser, "key_revoked").await;
        act(&console, &browser, ("POST", &path("/roll")), json!({}), 409).await;
        for bad in [json!({ "name": "x" }), json!({ "owner": "alice", "name": "x" })] {
            act(&console, &browser, ("POST", "/keys"), bad, 400).await;
        }
        let log = get(&console, &browser, "/audit?limit=1000").await.to_string();
        assert!(!log.contains(&secret) && !log.contains(rolled["key"].as_str().unwrap()));
    })
    .await;
}

#[tokio::test]
async fn clients_are_added_changed_rolled_and_deleted() {
    on_each(async |console, browser, _| {
        let settings = json!({ "name": "<batch>", "scope": "read", "token_seconds": 60 });
        let added = act(&console, &browser, ("POST", "/clients"), settings, 201).await;
        let secret = added["client_secret"].as_str().unwrap().to_owned();
        audited(&console, &browser, "client_added").await;
        let path = |rest: &str| format!("/clients/{}{rest}", added["client_id"].as_str().unwrap());
        let shown = get(&console, &browser, &path("")).await;
        assert_eq!((&shown["name"], &shown["secrets"]), (&json!("<batch>"), &json!(1)));
        assert!(!shown.to_string().contains(&secret));
        let listed = get(&console, &browser, "/clients").await;
        assert_eq!(column(&listed, "name"), ["<batch>"]);
        let revoked =
            act(&console, &browser, ("POST", &path("/revoke-tokens")), json!({}), 200).await;
        assert_eq!(revoked["client_secret"], Value::Null);
        assert_eq!(
            audited(&console, &browser, "client_changed").await["detail"]
                .as_str()
                .unwrap()
                .split(": ")
                .last(),
            Some("tokens revoked")
        );
        let changed =
            act(&console, &browser, ("PATCH", &path("")), json!({ "disabled": true }), 200).await;
        assert_eq!((&changed["disabled"], &changed["delivery"]), (&json!(true), &json!("stored")));
        audited(&console, &browser, "client_disabled").await;
        act(&console, &browser, ("PATCH", &path("")), json!({ "disabled": false }), 200).await;
        let rolled = act(&console, &browser, ("POST", &path("/roll")), json!({}), 200).await;
        assert!(rolled["client_secret"].as_str().is_some_and(|own| own != secret));
        audited(&console, &browser, "client_secret_rolled").await;
        let deleted = act(&console, &browser, ("DELETE", &path("")), json!({}), 200).await;
        assert_eq!(deleted, json!({ "client": null, "delivery": "stored" }));
        audited(&console, &browser, "client_deleted").await;
        console
            .get(&browser, &format!("/console/api{}", path("")))
            .await
            .assert(404, "client_unknown");
        act(&console, &browser, ("POST", &path("/roll")), json!({}), 404).await;
        act(&console, &browser, ("POST", "/clients"), json!({ "name": "x", "now": true }), 400)
            .await;
    })
    .await;
}

#[tokio::test]
async fn blocks_quotas_and_credits_are_set_and_cleared() {
    on_each(async |console, browser, _| {
        let by = json!([{ "part": "subject", "value": "alice" }]);
        let quota = json!({ "limit": "api", "by": by, "quota": 7, "seconds": 60 });
        let set = act(&console, &browser, ("POST", "/limits/override"), quota.clone(), 200).await;
        assert_eq!((&set["quota"], &set["delivery"]), (&json!(7), &json!("stored")));
        audited(&console, &browser, "quota_set").await;
        let caller = json!({ "limit": "api", "by": by });
        let cleared =
            act(&console, &browser, ("DELETE", "/limits/override"), caller.clone(), 200).await;
        assert_eq!(cleared, json!({ "delivery": "stored" }));
        audited(&console, &browser, "quota_cleared").await;
        let credits = json!({ "limit": "api", "by": by, "credits": 5, "id": "one" });
        let added =
            act(&console, &browser, ("POST", "/limits/credits"), credits.clone(), 201).await;
        assert_eq!((&added["granted"], &added["id"]), (&json!(5), &json!("one")));
        audited(&console, &browser, "credit_added").await;
        let again = act(&console, &browser, ("POST", "/limits/credits"), credits, 200).await;
        assert_eq!(again["granted"], 5);
        for target in [
            json!({ "subject": "alice" }),
            json!({ "client": "web" }),
            json!({ "key": "k1" }),
            json!({ "address": "192.0.2.0/24" }),
        ] {
            let mut block = target.clone();
            block["seconds"] = 60.into();
            let set = act(&console, &browser, ("POST", "/blocks"), block, 201).await;
            assert_eq!((&set["reason"], &set["actor"]), (&json!("ticket 7"), &json!("operator")));
            audited(&console, &browser, "block_set").await;
            let listed = get(&console, &browser, "/blocks").await;
            assert_eq!(listed["items"].as_array().unwrap().len(), 1);
            act(&console, &browser, ("DELETE", "/blocks"), target, 200).await;
            audited(&console, &browser, "block_cleared").await;
            assert_eq!(get(&console, &browser, "/blocks").await["items"], json!([]));
        }
        // A reason of 200 characters may have more bytes than a block's.
        let block = json!({ "subject": "a", "seconds": 60, "reason": "ä".repeat(200) });
        let reply = console.call(&browser, "POST", "/console/api/blocks", &block).await;
        reply.assert(201, "");
        assert_eq!(reply.json()["reason"], "ä".repeat(100));
        for (path, bad) in [
            ("/blocks", json!({ "subject": "a" })),
            ("/blocks", json!({ "seconds": 60 })),
            ("/limits/override", json!({ "limit": "api", "by": [], "quota": 1, "seconds": 60 })),
            ("/limits/credits", json!({ "limit": "api", "by": by, "credits": 0 })),
        ] {
            act(&console, &browser, ("POST", path), bad, 400).await;
        }
        act(&console, &browser, ("DELETE", "/blocks"), json!({ "subject": "unknown" }), 404).await;
    })
    .await;
}

#[tokio::test]
async fn signing_keys_are_rotated_when_verifiers_know_the_next_one() {
    on_each(async |console, browser, _| {
        // The test's keys were made in its own time, so that the real time makes new ones.
        console.sql("DELETE FROM signing_keys RETURNING 1").await;
        let rotate = ("POST", "/signing-keys/rotate");
        let reply = act(&console, &browser, rotate, json!({}), 409).await;
        assert_eq!(reply["code"], "signing_key_missing");
        let now = crate::clock::now();
        console.state.app.sessions.keys().maintain(now).await.unwrap();
        let shown = get(&console, &browser, "/signing-keys").await;
        let states = |shown: &Value| {
            let keys = shown["keys"].as_array().unwrap().iter();
            keys.map(|key| key["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(states(&shown), ["next", "current"]);
        assert_eq!(shown["record_encryption"], json!({ "current": null, "previous": null }));
        for secret in ["sealed", "private", "\"d\""] {
            assert!(!shown.to_string().contains(secret));
        }
        let body = json!({ "reason": "x" });
        let reply = console.call(&browser, "POST", "/console/api/signing-keys/rotate", &body).await;
        reply.assert(409, "signing_key_too_new");
        let seconds: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((890..=900).contains(&seconds), "{seconds}");
        console.sql("UPDATE signing_keys SET created_at = created_at - 901 RETURNING 1").await;
        let reply = act(&console, &browser, rotate, json!({}), 200).await;
        assert_eq!(states(&reply), ["next", "current", "previous"]);
        let current = reply["keys"][1]["kid"].as_str().unwrap();
        assert_eq!(current, shown["keys"][0]["kid"]);
        assert!(reply["keys"][2]["ends_at"].as_u64().unwrap() > now.0);
        assert_eq!(audited(&console, &browser, "key_rotated").await["detail"], current);
    })
    .await;
}
