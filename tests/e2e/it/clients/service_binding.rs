//! The edge as an RPC service of other Workers: the example's Worker, and one that passes on what a
//! test wants to be checked.

use crate::support::environment::ROOT;
use crate::support::http::{assert_refused, client, field, get, get_with, post};
use crate::support::own_workerd::OwnWorkerd;
use crate::support::process::free_ports;
use crate::support::stack::{Stack, Tokens, stop};
use reqwest::Response;
use serde_json::{Value, json};
use std::collections::HashMap;

/// A Worker that returns the verdict about the request in its body, or what was thrown.
const PROBE: &str = r#"
export default {
  async fetch(request, env) {
    try {
      const asked = await request.json();
      if (asked.as === 'Request') return Response.json(await env.GATE.check(new Request(asked.url, asked)));
      if (asked.as === 'Headers') asked.headers = new Headers(asked.headers);
      return Response.json(await env.GATE.check(asked));
    } catch (error) {
      return Response.json({ thrown: String(error) });
    }
  },
};
"#;

struct System {
    stack: Stack,
    edge: OwnWorkerd,
    app: String,
    probe: String,
}

impl System {
    /// Starts the example: its policy in the edge, its Worker, and the probe.
    async fn start() -> Self {
        tokio::task::spawn_blocking(|| {
            let policy = format!("{ROOT}/examples/service-binding/portcullis.toml");
            let stack = Stack::start(&["--policy", &policy], None);
            let script = format!("{ROOT}/examples/service-binding/app/index.js");
            let app = std::fs::read_to_string(script).unwrap();
            let ports: [u16; 2] = free_ports();
            let workers = [("app", app.as_str()), ("probe", PROBE)];
            let edge = OwnWorkerd::start(&stack, &workers, |name, text| match name {
                "config.capnp" => bind_gate(text, &["app", "probe"], &ports),
                _ => text,
            });
            let [app, probe] = ports.map(|port| format!("http://127.0.0.1:{port}"));
            Self { stack, edge, app, probe }
        })
        .await
        .unwrap()
    }

    async fn login(&self) -> Tokens {
        let (username, password) = (self.stack.username(), self.stack.password());
        let login = json!({ "username": username, "password": password });
        let response = post(&format!("{}/auth/login", self.app), login).await;
        assert_eq!(response.status(), 200, "{}", self.edge.process.text());
        Tokens::read(response).await
    }

    async fn hello(&self, token: &str) -> Response {
        get_with(&format!("{}/api/hello", self.app), token).await
    }

    async fn check(&self, request: Value) -> Value {
        post(&self.probe, request).await.json().await.unwrap()
    }
}

/// Binds the gate's RPC entrypoint to these Workers, and gives each a port.
fn bind_gate(mut config: String, workers: &[&str], ports: &[u16]) -> String {
    for (name, port) in workers.iter().zip(ports) {
        let module = format!("esModule = embed \"{name}.js\")]");
        let binding =
            "(name = \"GATE\", service = (name = \"main\", entrypoint = \"GateService\"))";
        config = config.replace(&module, &format!("{module}, bindings = [{binding}]"));
        let socket = format!("address = \"127.0.0.1:{port}\", http = (), service = \"{name}\"");
        config =
            config.replace("sockets = [", &format!("sockets = [(name = \"{name}\", {socket}), "));
    }
    config
}

fn headers(pairs: &Value) -> HashMap<&str, &str> {
    let pairs = pairs.as_array().unwrap().iter();
    pairs.map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap())).collect()
}

/// The Worker of the example logs in, calls, and refuses a token that was revoked.
#[tokio::test]
async fn worker_answers_what_the_bound_gate_permits() {
    let system = System::start().await;
    let url = format!("{}/api/hello", system.app);
    let refused = get(&url).send().await.unwrap();
    assert!(field(&refused, "x-request-id").len() > 30, "{:?}", refused.headers());
    let challenge = assert_refused(refused, 401, "token_missing").await;
    assert!(challenge.starts_with("Bearer"), "{challenge}");
    let elsewhere = get(&format!("{}/nowhere", system.app)).send().await.unwrap();
    assert_refused(elsewhere, 404, "route_not_found").await;

    let tokens = system.login().await;
    let hello = system.hello(&tokens.access).await;
    assert_eq!(hello.status(), 200, "{}", system.edge.process.text());
    assert!(field(&hello, "ratelimit").contains("r=999"), "{:?}", hello.headers());
    let request_id = field(&hello, "x-request-id");
    let hello: Value = hello.json().await.unwrap();
    assert!(hello["hello"].as_str().is_some_and(|subject| !subject.is_empty()), "{hello}");
    assert_eq!(hello["scopes"], json!(["api:read", "api:write"]));

    // The gate logs the check at once.
    let log = system.edge.process.says(&request_id).await;
    let line = log.lines().find(|line| line.contains(&request_id)).unwrap();
    let line: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    assert_eq!((&line["outcome"], &line["status"]), (&json!("forwarded"), &json!(200)), "{line}");
    assert_eq!(line["route"], "api");

    // What is revoked at the gate is refused here with the next request.
    let logout = client().post(format!("{}/auth/logout", system.app)).bearer_auth(&tokens.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert_refused(system.hello(&tokens.access).await, 401, "token_revoked").await;
    let System { stack, edge, .. } = system;
    drop(edge);
    stop(stack).await;
}

/// A verdict is plain data about the request that the caller describes.
#[tokio::test]
async fn verdict_states_the_caller_and_both_lists_of_headers() {
    let system = System::start().await;
    let tokens = system.login().await;
    let bearer = format!("Bearer {}", tokens.access);
    let request = json!({ "url": "https://any.example/api/x?q=1", "method": "POST", "headers": [
        ["authorization", bearer], ["portcullis-subject", "mallory"], ["x-own", "kept"],
    ] });
    let verdict = system.check(request.clone()).await;
    assert_eq!(
        (&verdict["permitted"], &verdict["route"]),
        (&json!(true), &json!("api")),
        "{verdict}"
    );
    for name in ["subject", "session", "clientId"] {
        assert!(verdict[name].is_string(), "{name}: {verdict}");
    }
    assert_eq!(verdict["issuer"], system.stack.fact("edge_url"));
    assert!(verdict["expiresAt"].as_u64().unwrap() > 1_700_000_000);
    assert!(verdict["claims"].is_object());
    assert_eq!(verdict["scopes"], json!(["api:read", "api:write"]));
    let sent = headers(&verdict["requestHeaders"]);
    assert_eq!(sent["portcullis-subject"], verdict["subject"].as_str().unwrap());
    assert_eq!(sent["x-own"], "kept");
    assert!(!sent.contains_key("authorization"), "{sent:?}");
    let added = headers(&verdict["responseHeaders"]);
    assert_eq!(added["x-request-id"], sent["x-request-id"]);
    assert!(added.contains_key("ratelimit") && !added.contains_key("content-type"), "{added:?}");

    // The same by other means.
    for form in ["Headers", "Request"] {
        let mut request = request.clone();
        request["as"] = form.into();
        let other = system.check(request).await;
        assert_eq!(other["subject"], verdict["subject"], "{form}: {other}");
    }

    let refused = system.check(json!({ "url": "https://any.example/api/x" })).await;
    let seen = (&refused["permitted"], &refused["status"], &refused["code"]);
    assert_eq!(seen, (&json!(false), &json!(401), &json!("token_missing")), "{refused}");
    let body: Value = serde_json::from_str(refused["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["code"], "token_missing");
    assert!(headers(&refused["headers"])["www-authenticate"].starts_with("Bearer"));
    assert_eq!(refused["subject"], Value::Null);

    for invalid in
        [json!({}), json!({ "url": "/api/x" }), json!({ "url": "https://a/", "method": "a b" })]
    {
        let thrown = system.check(invalid.clone()).await;
        assert!(
            thrown["thrown"].as_str().is_some_and(|text| text.contains("TypeError")),
            "{invalid}: {thrown}"
        );
    }
    // An error of the caller harms no other check.
    assert_eq!(system.check(request).await["permitted"], true);
    let System { stack, edge, .. } = system;
    drop(edge);
    stop(stack).await;
}

/// The address is that of the described request: one client's failures do not count for another.
#[tokio::test]
async fn failures_count_for_the_address_in_the_described_headers() {
    let system = System::start().await;
    let guess = |address: &'static str| {
        system.check(json!({ "url": "https://any.example/api/x", "headers": [
            ["authorization", "Bearer forged"], ["cf-connecting-ip", address],
        ] }))
    };
    assert_eq!(guess("203.0.113.7").await["code"], "token_malformed");
    let mut guesses = 1;
    while guess("203.0.113.7").await["code"] != "too_many_invalid_tokens" {
        guesses += 1;
        assert!(guesses < 40, "they are not limited");
    }
    assert_eq!(guess("203.0.113.8").await["code"], "token_malformed");
    let System { stack, edge, .. } = system;
    drop(edge);
    stop(stack).await;
}
