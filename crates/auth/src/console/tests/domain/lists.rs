//! Lists and searches.

use super::{act, all, column, get, on_each, seed};
use serde_json::json;
use std::collections::BTreeSet;

const HOSTILE: &str = "\"><img src=x onerror=alert(1)>";

#[tokio::test]
async fn users_are_found_by_the_beginning_of_their_names() {
    on_each(async |console, browser, _| {
        for name in ["Alice", "alina", "bob", "al%", "al_x", "ÄRGER", HOSTILE] {
            console.add(name, "read").await;
        }
        let names = async |query: &str| {
            column(&get(&console, &browser, &format!("/users?{query}")).await, "username")
        };
        assert_eq!(names("q=al").await, ["al%", "al_x", "Alice", "alina"]);
        assert_eq!(names("q=AL").await, ["al%", "al_x", "Alice", "alina"]);
        // Wildcards of LIKE are letters like others.
        assert_eq!(names("q=al%25").await, ["al%"]);
        assert_eq!(names("q=al_").await, ["al_x"]);
        assert_eq!(names("q=%25").await, [""; 0]);
        assert_eq!(names("q=%C3%84R").await, ["ÄRGER"]);
        assert_eq!(names("q=lice").await, [""; 0]);
        assert_eq!(names("q=%22%3E%3Cimg").await, [HOSTILE]);
        assert_eq!(names("q=x'%20OR%20'1'%3D'1").await, [""; 0]);
        let user = console.db.user_by_name("bob").await.unwrap().unwrap();
        act(&console, &browser, ("POST", &format!("/users/{}/disable", user.id)), json!({}), 200)
            .await;
        assert_eq!(names("state=disabled").await, ["bob"]);
        assert_eq!(names("state=disabled&q=a").await, [""; 0]);
        assert!(!names("state=active").await.contains(&"bob".to_owned()));
        let whole = all(&console, &browser, "/users", "username").await;
        assert_eq!(whole.len(), 8);
        for limit in [1, 3] {
            let paged = all(&console, &browser, &format!("/users?limit={limit}"), "username").await;
            assert_eq!(paged, whole);
        }
        for bad in [
            "q=%00",
            "state=x",
            "limit=0",
            "limit=1001",
            "after=x",
            "after=WyJhIl0",
            "other=1",
            "q=a&q=b",
        ] {
            console
                .get(&browser, &format!("/console/api/users?{bad}"))
                .await
                .assert(400, "query_invalid");
        }
    })
    .await;
}

#[tokio::test]
async fn user_has_sessions_keys_unusual_events_and_countries() {
    on_each(async |console, browser, store| {
        let alice = console.add("alice", "read").await;
        seed::sessions(&console, 20, |_| alice.id.clone()).await;
        let head = "INSERT INTO user_countries (user_id, country, first_seen_at)";
        seed::insert(&console.db, head, 1, |_| format!("'{}', 'DE', 5", alice.id)).await;
        let key =
            json!({ "owner": format!("user:{}", alice.id), "name": HOSTILE, "scope": "read" });
        act(&console, &browser, ("POST", "/keys"), key, 201).await;
        console.try_login("alice", "wrong password").await;
        let id = &alice.id;
        let user = get(&console, &browser, &format!("/users/{id}")).await;
        assert_eq!(user["username"], "alice");
        assert_eq!(user["active_sessions"], 18);
        let sessions = user["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), 20);
        // The active ones come first.
        assert!(sessions[17]["ended_at"].is_null() && sessions[18]["ended_why"] == "logout");
        assert_eq!(sessions[0]["country"], "DE");
        assert_eq!(user["keys"][0]["name"], HOSTILE);
        assert_eq!(user["keys"][0]["key"], json!(null));
        assert_eq!(user["countries"], json!([{ "country": "DE", "first_seen_at": 5 }]));
        assert_eq!(user["unusual"][0]["event"], "console_login_failed");
        assert!(user["unusual"][0]["user_id"].is_null(), "the event does not name a user");
        let found = get(&console, &browser, "/audit?q=alice").await;
        let events = column(&found, "event");
        assert!(events.contains(&"console_login_failed".to_owned()), "{events:?}");
        console.get(&browser, "/console/api/users/nobody").await.assert(404, "user_unknown");
        console.get(&browser, "/console/api/users/%00").await.assert(404, "user_unknown");
        // Without the store, the page is there, and soon.
        store.set_down(true);
        let begun = std::time::Instant::now();
        get(&console, &browser, &format!("/users/{id}")).await;
        assert!(begun.elapsed().as_millis() < 1500, "{:?}", begun.elapsed());
    })
    .await;
}

#[tokio::test]
async fn sessions_are_found_by_user_name_address_and_state() {
    on_each(async |console, browser, store| {
        seed::users(&console, 3, |n| format!("User{n}")).await;
        seed::sessions(&console, 30, |n| format!("u{}", n % 3)).await;
        let ids = async |query: &str| {
            column(&get(&console, &browser, &format!("/sessions?{query}")).await, "id")
        };
        let whole = all(&console, &browser, "/sessions", "id").await;
        assert_eq!(whole.len(), 30);
        assert_eq!(whole[0], "s29", "newest first");
        assert_eq!(all(&console, &browser, "/sessions?limit=4", "id").await, whole);
        assert_eq!(ids("state=ended").await, ["s20", "s10", "s0"]);
        assert_eq!(ids("state=active").await.len(), 27);
        assert_eq!(ids("user=u1").await.len(), 10);
        assert_eq!(ids("user=u1&state=ended").await, ["s10"]);
        assert_eq!(ids("q=user1").await.len(), 10);
        assert_eq!(ids("q=User").await.len(), 30);
        assert_eq!(ids("q=192.0.2.7").await, ["s7"]);
        assert_eq!(ids("q=192.0.2.2").await.len(), 11, "2 and 20 to 29");
        assert_eq!(ids("q=s29").await, ["s29"]);
        assert_eq!(ids("q=%25").await, [""; 0]);
        // The edge has seen one of them later than its last refresh.
        let issuer = &console.state.app.sessions.config().store.issuer;
        let key = portcullis_core::StoreKeys::new("pc").session(issuer, "s7");
        store.set(&key, json!("4000000000"));
        let found = get(&console, &browser, "/sessions?q=s7").await;
        assert_eq!(found["items"][0]["seen_at"], 4_000_000_000_u64);
        assert_eq!(found["items"][0]["username"], "User1");
        let session = get(&console, &browser, "/sessions/s7").await;
        assert_eq!((&session["events"], &session["refreshes"]), (&json!([]), &json!([])));
        console.get(&browser, "/console/api/sessions/x").await.assert(404, "session_unknown");
    })
    .await;
}

#[tokio::test]
async fn session_has_its_refreshes_and_events() {
    on_each(async |console, browser, _| {
        console.add("alice", "read").await;
        let (app, now) = (&console.state.app, crate::clock::now());
        app.sessions.keys().maintain(now).await.unwrap();
        let client = crate::audit::ClientInfo {
            country: Some("FR".into()),
            device: HOSTILE.into(),
            ..Default::default()
        };
        let password = crate::testing::PASSWORD;
        let tokens = app.sessions.login("alice", password.into(), &client, now).await.unwrap();
        app.sessions.refresh(&tokens.refresh_token, None, None, &client, now).await.unwrap();
        let found = get(&console, &browser, "/sessions?q=ALICE").await;
        let listed = &found["items"][0];
        assert_eq!(listed["refreshes"], 1);
        assert_eq!((&listed["country"], &listed["device"]), (&json!("FR"), &json!(HOSTILE)));
        let id = listed["id"].as_str().unwrap();
        let path = format!("/sessions/{id}/end");
        let ended = act(&console, &browser, ("POST", &path), json!({}), 200).await;
        assert_eq!(ended["session"]["ended_why"], "operator");
        let session = get(&console, &browser, &format!("/sessions/{id}")).await;
        assert_eq!(session["refreshes"].as_array().unwrap().len(), 2);
        assert_eq!(session["refreshes"][0]["scope"], "read");
        let events = session["events"].as_array().unwrap();
        // Both have the same second.
        let names: BTreeSet<&str> = events.iter().filter_map(|own| own["event"].as_str()).collect();
        assert_eq!(names, BTreeSet::from(["login", "session_revoked"]));
        assert!(!session.to_string().contains(&tokens.refresh_token), "no token is shown");
    })
    .await;
}

#[tokio::test]
async fn audit_is_searched_by_all_its_parts() {
    on_each(async |console, browser, _| {
        seed::users(&console, 5, |n| format!("User{n}")).await;
        seed::audit(&console, 6000).await;
        let ids = async |query: &str| {
            column(&get(&console, &browser, &format!("/audit?{query}")).await, "id")
        };
        let newest = ids("limit=3&event=login").await;
        assert_eq!(newest, ["a5999", "a5998", "a5997"]);
        assert_eq!(
            ids("event=key_rotated").await,
            ["a5000", "a4000", "a3000", "a2000", "a1000", "a0"]
        );
        assert_eq!(ids("event=key_rotated,console_login").await.len(), 7);
        assert_eq!(ids("by=User1").await, ["a5000", "a0"]);
        assert_eq!(ids("by=u1").await, ["a5000", "a0"]);
        assert_eq!(ids("actor=operator").await, ["a5000", "a0"]);
        assert_eq!(ids("user=User1").await, ids("user=u1").await);
        assert_eq!(ids("user=u1").await, ["a5001", "a4001", "a3001", "a2001", "a1001", "a1"]);
        assert_eq!(ids("q=request-4711").await, ["a4711"]);
        assert_eq!(ids("q=detail%204711").await, ["a4711"]);
        assert_eq!(ids("q=s999&limit=1").await, ["a5999"]);
        assert_eq!(ids("q=198.51.100.24&limit=1000").await.len(), 264, "24 and 240 to 249");
        assert_eq!(ids("q=user4&limit=1000").await.len(), 6);
        // What many events begin with is found, too, newest first.
        assert_eq!(ids("q=detail&limit=2").await, ["a5999", "a5998"]);
        assert_eq!(ids("q=request-&event=key_rotated&limit=2").await, ["a5000", "a4000"]);
        let whole = all(&console, &browser, "/audit?limit=1000&q=request-1", "id").await;
        assert_eq!(whole.len(), 1111);
        let long = "x".repeat(60);
        let head = "INSERT INTO audit (id, at, event, actor, address, device, request_id, detail)";
        for (id, end) in [("long1", "y"), ("long2", "z")] {
            let row = |_| format!("'{id}', 5, 'login', 'user', '', '', '', '{long}{end}'");
            seed::insert(&console.db, head, 1, row).await;
        }
        assert_eq!(ids(&format!("from=1&q={long}")).await, ["long2", "long1"]);
        assert_eq!(ids(&format!("from=1&q={long}y")).await, ["long1"]);
        assert_eq!(ids(&format!("q={long}")).await, [""; 0], "older than 30 days");
        assert_eq!(ids(&format!("to=6&q={long}y")).await, ["long1"]);
        assert_eq!(ids("q=%25").await, [""; 0]);
        let at = get(&console, &browser, "/audit?q=request-4711").await["items"][0]["at"]
            .as_u64()
            .unwrap();
        assert_eq!(ids(&format!("from={at}&to={}", at + 2)).await, ["a4712", "a4711"]);
        let entry = &get(&console, &browser, "/audit?by=u1").await["items"][0];
        assert_eq!((&entry["by"], &entry["username"]), (&json!("User1"), &json!("User0")));
        let whole = all(&console, &browser, "/audit?limit=1000&actor=user", "id").await;
        assert_eq!(whole.len(), 6001);
        assert_eq!(all(&console, &browser, "/audit?limit=997&actor=user", "id").await, whole);
        for bad in ["from=x", "format=xml", "after=1", "limit=5000", "who=1", "q=%0A"] {
            console
                .get(&browser, &format!("/console/api/audit?{bad}"))
                .await
                .assert(400, "query_invalid");
        }
    })
    .await;
}

#[tokio::test]
async fn keys_are_found_by_owner_name_and_prefix() {
    on_each(async |console, browser, _| {
        let alice = console.add("alice", "read").await;
        let bob = console.add("bob", "read").await;
        for (owner, name) in [(&alice, "Build"), (&alice, "backup"), (&bob, "b%"), (&bob, "x")] {
            let key =
                json!({ "owner": format!("user:{}", owner.id), "name": name, "scope": "read" });
            act(&console, &browser, ("POST", "/keys"), key, 201).await;
        }
        let names = async |query: &str| {
            let mut names =
                column(&get(&console, &browser, &format!("/keys?{query}")).await, "name");
            names.sort();
            names
        };
        assert_eq!(names("").await, ["Build", "b%", "backup", "x"]);
        assert_eq!(names("q=b").await, ["Build", "b%", "backup"]);
        assert_eq!(names("q=b%25").await, ["b%"]);
        assert_eq!(names(&format!("owner=user:{}", bob.id)).await, ["b%", "x"]);
        assert_eq!(names(&format!("owner=user:{}&q=bu", alice.id)).await, ["Build"]);
        let listed = get(&console, &browser, "/keys?q=x").await;
        let (id, prefix) = (
            listed["items"][0]["id"].as_str().unwrap(),
            listed["items"][0]["prefix"].as_str().unwrap(),
        );
        assert_eq!(names(&format!("q={id}")).await, ["x"]);
        assert_eq!(names(&format!("q={prefix}")).await, ["x"]);
        assert_eq!(all(&console, &browser, "/keys?limit=1&q=b", "name").await.len(), 3);
        console.get(&browser, "/console/api/keys?owner=x").await.assert(400, "query_invalid");
    })
    .await;
}
