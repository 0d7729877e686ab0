//! Each event with its effect, once it is in the store, and a provider that sends them itself.

use super::scene::Scene;
use crate::support::events::{
    CAEP, LOGOUT, Push, RISC, access, event_claims, event_header, global, logout, security_event,
    unique, user,
};
use crate::support::http::client;
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header, now};
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::proxy::Fault;
use crate::support::stack::stop;
use portcullis_core::{StoreKeys, TokenHash};
use redis::Commands as _;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the time in ms since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn pushed_event_revokes_with_the_next_request() {
    let [port] = free_ports();
    let folder = Folder::new();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut node = Command::new(format!("{root}/node_modules/.bin/node"));
    node.arg(format!("{root}/tests/e2e/clients/events.mjs")).arg(port.to_string());
    let signer = Process::start(&mut node, folder.file("log"));
    wait_for_port(port, &signer);
    let signer_url = format!("http://127.0.0.1:{port}");
    let jose = json!({
        "issuer": "https://jose.example", "audience": AUDIENCE, "algorithms": ["ES256"],
        "jwks_url": format!("{signer_url}/jwks"), "token_type": "jwt",
        "events": { "accept": ["security_events"], "audience": "edge", "issuer": "https://jose.example/",
            "jwks_url": format!("{signer_url}/jwks"), "algorithms": ["RS256"],
            "emails_are_subjects": true },
    });
    let scene = Scene::start(vec![jose]).await;

    // Each event, and whether it ends: the session, the user's other session, the other user.
    let opaque = |id: &str| json!({ "format": "opaque", "id": id });
    for (name, status, ends) in [
        ("logout of a session", 200, [true, false]),
        ("logout of a user", 200, [true, true]),
        ("session-revoked", 202, [true, false]),
        ("session-revoked, complex", 202, [true, false]),
        ("session-revoked of a user", 202, [true, true]),
        ("credential-change", 202, [true, true]),
        ("token-claims-change", 202, [true, true]),
        ("account-disabled", 202, [true, true]),
        ("global revocation", 204, [true, true]),
        ("verification", 202, [false, false]),
        ("stream-updated", 202, [false, false]),
        ("account-enabled", 202, [false, false]),
        ("unknown", 202, [false, false]),
    ] {
        let (sub, [one, two]) = (unique("user"), [unique("s"), unique("s")]);
        let tokens = [access(&sub, &one), access(&sub, &two)];
        let bystander = access(&unique("user"), &unique("s"));
        for token in tokens.iter().chain([&bystander]) {
            assert_eq!(scene.api(token).await, 200, "{name}");
        }
        let event =
            |uri: String, subject: Value| Push::security_event(&security_event(&uri, &subject));
        let event = match name {
            "logout of a session" => Push::logout(&logout(json!({ "sub": sub, "sid": one }))),
            "logout of a user" => Push::logout(&logout(json!({ "sub": sub }))),
            "session-revoked" => event(format!("{CAEP}/session-revoked"), opaque(&one)),
            "session-revoked, complex" => {
                let subject =
                    json!({ "format": "complex", "user": user(&sub), "session": opaque(&one) });
                event(format!("{CAEP}/session-revoked"), subject)
            }
            "session-revoked of a user" => event(format!("{CAEP}/session-revoked"), user(&sub)),
            "credential-change" | "token-claims-change" => {
                event(format!("{CAEP}/{name}"), user(&sub))
            }
            "global revocation" => Push::global(&global(), &user(&sub)),
            "verification" | "stream-updated" => {
                let uri = format!("https://schemas.openid.net/secevent/ssf/event-type/{name}");
                let payload = json!({ "status": "paused", "state": "x" });
                let claims = json!({ "sub_id": opaque("stream"), "events": { uri: payload } });
                let header = event_header("secevent+jwt", json!({}));
                Push::security_event(&TRUSTED.sign(&header, &event_claims(claims)))
            }
            _ => event(format!("{RISC}/{name}"), user(&sub)),
        };
        assert_eq!(scene.push(&event).await, (status, Value::Null), "{name}");
        for (token, ended) in tokens.iter().zip(ends) {
            assert_eq!(scene.api(token).await, if ended { 401 } else { 200 }, "{name}");
        }
        assert_eq!(scene.api(&bystander).await, 200, "{name}");
        if matches!(name, "logout of a user" | "account-disabled" | "global revocation") {
            // A later login works, and a repeated event does not end it.
            tokio::time::sleep(Duration::from_millis(1100)).await;
            let later = access(&sub, &unique("s"));
            assert_eq!(scene.api(&later).await, 200, "{name}");
            let before = scene.held();
            assert_eq!(scene.push(&event).await.0, status, "{name}");
            assert_eq!(scene.api(&later).await, 200, "{name}");
            assert_eq!(scene.held(), before, "{name}");
        }
    }
    let line = scene.line(|line| line["event_type"] == "account-disabled").await;
    assert_eq!((&line["route"], &line["outcome"]), (&json!("events"), &json!("answered")));
    scene.line(|line| line["event_result"] == "repeated").await;
    scene.line(|line| line["event_result"] == "stream_stopped").await;

    // Another library's signature, by keys of the events' own.
    let sign = async |alg: &str, header: Value, claims: Value| {
        let body = json!({ "alg": alg, "header": header, "claims": claims });
        let answer = client().post(format!("{signer_url}/sign")).json(&body).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let time = now();
    let claims = json!({ "iss": "https://jose.example", "aud": AUDIENCE, "sub": "a@example.org",
        "iat": time, "exp": time + 600 });
    let token = sign("ES256", json!({ "typ": "JWT" }), claims).await;
    assert_eq!(scene.api(&token).await, 200);
    let set = json!({ "iss": "https://jose.example/", "aud": "edge", "iat": time, "jti": "j1",
        "events": { format!("{RISC}/account-purged"): {
            "subject": { "subject_type": "email", "email": "a@example.org" } } } });
    let wrong = sign("ES256", json!({ "typ": "secevent+jwt" }), set.clone()).await;
    let (status, body) = scene.push(&Push::security_event(&wrong)).await;
    assert_eq!((status, &body["err"]), (400, &json!("invalid_key")), "{body}");
    assert_eq!(scene.api(&token).await, 200);
    let right = sign("RS256", json!({ "typ": "secevent+jwt" }), set).await;
    assert_eq!(scene.push(&Push::security_event(&right)).await.0, 202);
    assert_eq!(scene.api(&token).await, 401);
    stop((scene.edge, signer)).await;
}

#[tokio::test]
async fn event_is_accepted_only_once_the_store_has_it() {
    let scene = Scene::start(Vec::new()).await;
    let sub = unique("user");
    let token = access(&sub, &unique("s"));
    assert_eq!(scene.api(&token).await, 200);
    let event =
        Push::security_event(&security_event(&format!("{RISC}/account-disabled"), &user(&sub)));
    for fault in [Fault::Refuses, Fault::Hangs, Fault::Half] {
        scene.store.set(fault.clone());
        let (status, body) = scene.push(&event).await;
        assert_eq!(status, 503, "{fault:?}: {body}");
        assert!(body["code"].as_str().unwrap().starts_with("store_"), "{body}");
        scene.store.set(Fault::None);
    }
    // The last attempt may have reached the store. Whatever it wrote, the repetition completes it.
    assert_eq!(scene.push(&event).await.0, 202);
    assert_eq!(scene.api(&token).await, 401);

    // The store has the event, and not its marker: as if the edge had died in between.
    let sub = unique("user");
    let token = access(&sub, &unique("s"));
    let mut connection = scene.redis.connection();
    let before: Vec<String> = connection.keys("pc:event:*").unwrap();
    let jti = unique("half");
    let claims = event_claims(json!({ "jti": jti, "sub": sub, "events": { LOGOUT: {} } }));
    let event = Push::logout(&TRUSTED.sign(&event_header("logout+jwt", json!({})), &claims));
    let keys = StoreKeys::new("pc");
    let content = TokenHash::of(&keys.revoked_sub(ISSUER, &sub));
    let value = format!("{}:{content}", now());
    let () = connection.set_ex(keys.event(ISSUER, &jti), value, 600).unwrap();
    assert_eq!(scene.push(&event).await.0, 200);
    assert_eq!(scene.api(&token).await, 401);
    let after: Vec<String> = connection.keys("pc:event:*").unwrap();
    assert_eq!(after.len(), before.len() + 1);

    // The subject of a global revocation is not signed: its token works for one subject alone.
    let [one, two] = [unique("user"), unique("user")];
    let (token, kept) = (global(), access(&two, &unique("s")));
    assert_eq!(scene.push(&Push::global(&token, &user(&one))).await.0, 204);
    let (status, body) = scene.push(&Push::global(&token, &user(&two))).await;
    assert_eq!((status, &body["code"]), (400, &json!("event_malformed")), "{body}");
    assert_eq!(scene.api(&kept).await, 200);

    // Keys that can't be fetched are no reason to give up either.
    let unknown = TRUSTED.sign(
        &event_header("logout+jwt", json!({ "kid": "new" })),
        &event_claims(json!({ "sub": "u", "events": { LOGOUT: {} } })),
    );
    scene.keys.behave(crate::support::provider::Behaviour::Hangs);
    let (status, body) = scene.push(&Push::logout(&unknown)).await;
    assert_eq!((status, &body["code"]), (503, &json!("keys_unavailable")), "{body}");
    stop(scene.edge).await;
}

/// A store that lost its markers gets those of an event back as soon as the event is repeated after
/// a minute, with the time of its first arrival. Further repetitions cost the store nothing.
#[tokio::test]
async fn repeated_event_restores_the_markers_that_the_store_lost() {
    let scene = Scene::start(Vec::new()).await;
    let (sub, session) = (unique("user"), unique("s"));
    let token = access(&sub, &session);
    assert_eq!(scene.api(&token).await, 200);
    let event =
        Push::security_event(&security_event(&format!("{RISC}/account-disabled"), &user(&sub)));
    assert_eq!(scene.push(&event).await.0, 202);
    let before = scene.held();
    assert_eq!(scene.api(&token).await, 401);
    tokio::time::sleep(Duration::from_secs(61)).await;
    let later = access(&sub, &unique("s"));
    assert_eq!(scene.api(&later).await, 200);
    redis::cmd("FLUSHALL").exec(&mut scene.redis.connection()).unwrap();
    // A token that this isolate has not seen revoked.
    let time = now();
    let old = json!({ "sub": sub, "sid": session, "iat": time - 64, "exp": time + 600 });
    let old = TRUSTED.sign(&header(json!({})), &claims(old));
    assert_eq!(scene.api(&old).await, 200, "the store has lost the marker");

    scene.store.set(Fault::Refuses);
    assert_eq!(scene.push(&event).await.0, 503, "the store can't confirm it");
    scene.store.set(Fault::None);
    assert_eq!(scene.push(&event).await.0, 202);
    let restored = scene.held();
    assert_eq!(scene.api(&old).await, 401);
    assert_eq!(scene.api(&later).await, 200, "a login after the event");
    let names = |held: &[(String, String, i64)]| {
        held.iter().map(|(key, value, _)| (key.clone(), value.clone())).collect::<Vec<_>>()
    };
    let is_event = |(key, _): &(String, String)| {
        key.starts_with("pc:event:") || key.starts_with("pc:revoked:")
    };
    let before: Vec<_> = names(&before).into_iter().filter(is_event).collect();
    let restored: Vec<_> = names(&restored).into_iter().filter(is_event).collect();
    assert_eq!(restored, before);

    // A flood of one event costs the store nothing.
    let commands = scene.commands();
    for _ in 0..200 {
        assert_eq!(scene.push(&event).await.0, 202);
    }
    assert_eq!(scene.commands(), commands);
    stop(scene.edge).await;
}

/// npm's oidc-provider, which sends logout tokens to its client.
struct OidcProvider {
    url: String,
    process: Process,
    _folder: Folder,
}

impl OidcProvider {
    fn start() -> Self {
        let [port] = free_ports();
        let (folder, root) = (Folder::new(), concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let mut node = Command::new(format!("{root}/node_modules/.bin/node"));
        node.arg(format!("{root}/tests/e2e/clients/provider.mjs")).arg(port.to_string());
        let process = Process::start(node.env("EDGE_SECRET", "secret"), folder.file("log"));
        wait_for_port(port, &process);
        Self { url: format!("http://127.0.0.1:{port}"), process, _folder: folder }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = client().get(format!("{}{path}", self.url)).send().await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{}", self.process.text()))
    }

    async fn sign_in(&self) -> String {
        let token_url = format!("{}/token", self.url);
        let path = format!("/test/sign-in?resource=https://api.example&token_url={token_url}");
        let tokens = self.get(&path).await;
        let token = tokens["access_token"].as_str();
        token.unwrap_or_else(|| panic!("{tokens}\n{}", self.process.text())).to_owned()
    }
}

#[tokio::test]
async fn logout_at_a_provider_ends_the_access_token() {
    let provider = OidcProvider::start();
    let issuer = json!({
        "issuer": provider.url, "audience": "https://api.example", "algorithms": ["ES256"],
        "metadata_url": format!("{}/.well-known/openid-configuration", provider.url),
        "events": { "accept": ["logout"], "audience": "spa" },
    });
    let scene = Scene::start(vec![issuer]).await;
    for session in ["yes", "no"] {
        let (token, url) = (provider.sign_in().await, scene.edge.edge("/api/x"));
        // The same user's session in another browser, which only a logout of the user ends.
        let other = token.clone();
        assert_eq!(scene.api(&other).await, 200);
        let ended = provider.sign_in().await;
        assert_eq!(scene.api(&ended).await, 200);
        let watch = {
            let (client, url, ended) = (client(), url.clone(), ended.clone());
            tokio::spawn(async move {
                let (begun, mut last_ms) = (Instant::now(), 0);
                loop {
                    let sent_ms = now_ms();
                    let answer = client.get(&url).bearer_auth(&ended).send().await.unwrap();
                    match answer.status().as_u16() {
                        200 => last_ms = sent_ms,
                        status => {
                            assert_eq!(status, 401);
                            return (last_ms, sent_ms);
                        }
                    }
                    assert!(begun.elapsed() < Duration::from_secs(10), "the token still works");
                }
            })
        };
        let path =
            format!("/test/sign-out?session={session}&events_url={}", scene.edge.edge("/events"));
        let outcome = provider.get(&path).await;
        assert_eq!(outcome["delivered"], true, "{outcome}\n{}", provider.process.text());
        let called_ms = outcome["called_at_ms"].as_i64().unwrap();
        let (last_ms, refused_ms) = watch.await.unwrap();
        let (last_ms, refused_ms) = (last_ms - called_ms, refused_ms - called_ms);
        println!(
            "session={session}: after the provider's call, the last accepted request was sent at \
             {last_ms} ms, and the first refused one at {refused_ms} ms"
        );
        assert!(last_ms < 1000, "{last_ms}");
        assert_eq!(scene.api(&ended).await, 401);
        assert_eq!(scene.api(&other).await, if session == "yes" { 200 } else { 401 });
        let line = scene.line(|line| line["event_type"] == "logout").await;
        assert_eq!(line["event_result"], "revoked");
    }
    stop((scene.edge, provider)).await;
}
