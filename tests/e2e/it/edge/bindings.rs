//! Upstreams and an auth service that are reached by a binding of the Worker, such as another
//! Worker.

use crate::support::environment::xtask;
use crate::support::http::{assert_refused, client, get, get_with, post};
use crate::support::own_workerd::OwnWorkerd;
use crate::support::process::Folder;
use crate::support::socket::Socket;
use crate::support::stack::{Stack, Tokens};
use serde_json::{Value, json};

/// A Worker as the API: it says what it received, streams, and echoes messages.
const API: &str = r#"
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (request.headers.get('upgrade') === 'websocket') {
      const [client, server] = Object.values(new WebSocketPair());
      server.accept();
      server.addEventListener('message', ({ data }) => server.send(data));
      return new Response(null, { status: 101, webSocket: client });
    }
    if (pathname.endsWith('/stream')) {
      const { readable, writable } = new TransformStream();
      const writer = writable.getWriter();
      (async () => {
        for (const part of ['one ', 'two ', 'three']) await writer.write(new TextEncoder().encode(part));
        await writer.close();
      })();
      return new Response(readable);
    }
    const { url, method, headers } = request;
    return Response.json({ url, method, headers: Object.fromEntries(headers), body: await request.text() });
  },
};
"#;

/// A Worker that passes requests on to the auth service.
const AUTH: &str = r#"
export default {
  fetch(request) {
    const { pathname, search } = new URL(request.url);
    return fetch(new Request(`AUTH_URL${pathname}${search}`, request));
  },
};
"#;

/// Starts an edge whose upstream and auth service are bindings.
fn start(bindings: &str) -> (Stack, OwnWorkerd) {
    let stack = Stack::start(&["--engine", "workerd"], None);
    let auth = AUTH.replace("AUTH_URL", stack.fact("auth_url"));
    let own =
        OwnWorkerd::start(&stack, &[("api", API), ("auth", &auth)], |name, text| match name {
            "config.capnp" => text.replacen("bindings = [", &format!("bindings = [{bindings}"), 1),
            // The policy names URLs by variables.
            "policy.js" => text
                .replace("${UPSTREAM_URL}", "binding:API")
                .replace("${AUTH_URL}", "binding:AUTH")
                .replace("${JWKS_URL}", "binding:AUTH/.well-known/jwks.json")
                .replace(
                    "${INTROSPECTION_URL}",
                    "binding:AUTH https://auth.example/oauth/introspect",
                ),
            _ => text,
        });
    (stack, own)
}

const BINDINGS: &str = r#"(name = "API", service = "api"), (name = "AUTH", service = "auth"), "#;

#[tokio::test]
async fn upstream_and_auth_service_can_be_bindings() {
    let (stack, edge) = start(BINDINGS);
    let login = json!({ "username": stack.username(), "password": stack.password() });
    let response = post(&edge.url("/auth/login"), login).await;
    assert_eq!(response.status(), 200, "{}", edge.process.text());
    let tokens = Tokens::read(response).await;
    let request = client().post(edge.url("/api/x?q=1")).bearer_auth(&tokens.access);
    let echo: Value = request.body("the body").send().await.unwrap().json().await.unwrap();
    assert_eq!(echo["url"], "https://api.binding/api/x?q=1", "{echo}");
    assert_eq!((&echo["method"], &echo["body"]), (&json!("POST"), &json!("the body")));
    assert!(echo["headers"]["portcullis-subject"].is_string(), "{echo}");
    assert_eq!(echo["headers"]["authorization"], Value::Null);

    let stream = get_with(&edge.url("/api/stream"), &tokens.access).await;
    assert_eq!(stream.text().await.unwrap(), "one two three");

    let address = edge.url("").replace("http://", "");
    let token = tokens.access.clone();
    let socket = move || Socket::open(&address, "/api/socket", &token).echoes(b"hello");
    tokio::task::spawn_blocking(socket).await.unwrap();

    // A refresh is read to its end, and a logout revokes.
    let refresh = json!({ "refresh_token": tokens.refresh });
    let refreshed = Tokens::read(post(&edge.url("/auth/refresh"), refresh).await).await;
    let logout = client().post(edge.url("/auth/logout")).bearer_auth(&refreshed.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert_refused(get_with(&edge.url("/api/x"), &refreshed.access).await, 401, "token_revoked")
        .await;
}

#[tokio::test]
async fn missing_binding_is_an_error_at_the_start() {
    let (_stack, edge) = start(r#"(name = "API", service = "api"), "#);
    assert_refused(get(&edge.url("/public/x")).send().await.unwrap(), 503, "configuration_invalid")
        .await;
    let log = edge.process.says("configuration_invalid").await;
    for place in ["auth.url: the Worker has no binding AUTH", "issuers[0].introspection.url"] {
        assert!(log.contains(place), "{place}: {log}");
    }
    assert!(!log.contains("binding API"), "{log}");
}

#[test]
fn malformed_binding_is_an_error_of_the_policy() {
    let folder = Folder::new();
    let shipped =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../portcullis.toml"));
    let policy = shipped.unwrap().replace("${UPSTREAM_URL}", "binding:MY-API");
    let file = folder.write("portcullis.toml", &policy);
    let output = xtask().args(["policy", "check"]).arg(file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("upstream.url: is not a URL") && text.contains("binding:NAME"), "{text}");
}
