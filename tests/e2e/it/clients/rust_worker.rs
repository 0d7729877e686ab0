//! examples/rust-api in workerd, behind the edge by a service binding. Long runs build it.

use crate::support::edge::start_edge;
use crate::support::environment::ROOT;
use crate::support::http::client;
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header};
use crate::support::own_workerd::OwnWorkerd;
use crate::support::stack::{Stack, stop};
use serde_json::{Value, json};

const ASSERTION_KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"edge-1","alg":"EdDSA",
    "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// The public half of the key, as the edge serves it.
const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"edge-1","alg":"EdDSA",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// Starts the edge again, with the example as the upstream of all routes.
fn bind_example(stack: &Stack) -> OwnWorkerd {
    let built = format!("{ROOT}/target/rust-api/worker");
    let script = std::fs::read_to_string(format!("{built}/index.js"))
        .expect("cargo xtask test --long builds it");
    let module = "rust_api_bg.wasm";
    std::fs::copy(format!("{built}/{module}"), stack.folder().join("edge").join(module)).unwrap();
    OwnWorkerd::start(stack, &[("api", &script)], |name, text| match name {
        "config.capnp" => {
            let text = text.replacen(
                "bindings = [",
                r#"bindings = [(name = "API", service = "api"), "#,
                1,
            );
            let own = "esModule = embed \"api.js\")";
            let variable = |(name, value): (&str, &str)| {
                format!("(name = \"{name}\", text = {}), ", json!(value))
            };
            let variables: String = [
                ("ASSERTION_ISSUER", "https://edge.example"),
                ("ASSERTION_AUDIENCE", "rust-api"),
                ("ASSERTION_JWKS", JWKS),
            ]
            .map(variable)
            .concat();
            let wasm = format!("(name = \"./{module}\", wasm = embed \"{module}\")");
            text.replace(&format!("{own}]"), &format!("{own}, {wasm}], bindings = [{variables}]"))
        }
        "policy.js" => text.replace("https://api.invalid", "binding:API"),
        _ => text,
    })
}

#[tokio::test]
async fn worker_in_rust_answers_callers_that_the_edge_asserts() {
    let route = |name: &str, members: Value| {
        let mut route = json!({
            "name": name, "path": format!("/{name}"), "access": "protected",
            "require": "not_revoked",
        });
        route.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        route
    };
    let stack = start_edge(json!({
        "issuers": [{
            "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks(),
        }],
        "upstream.url": "https://api.invalid",
        "routes": [
            route("asserted", json!({ "assertion": true })),
            route("silent", json!({})),
            route("foreign", json!({ "assertion": true, "assertion_audience": "another" })),
        ],
        "assertion": { "issuer": "https://edge.example", "audience": "rust-api" },
        "ASSERTION_KEY": ASSERTION_KEY,
    }))
    .await;
    let (stack, edge) = tokio::task::spawn_blocking(move || {
        let edge = bind_example(&stack);
        (stack, edge)
    })
    .await
    .unwrap();
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({})));
    let call = async |path: &str| {
        let request = client().get(edge.url(path)).bearer_auth(&token);
        // A client's own assertion does not reach the upstream.
        request.header("portcullis-assertion", "forged").send().await.unwrap()
    };
    let hello = call("/asserted").await;
    assert_eq!(hello.status(), 200, "{}", edge.process.text());
    let hello: Value = hello.json().await.unwrap();
    assert_eq!(hello, json!({ "hello": "alice", "scope": "api:read" }));
    for path in ["/silent", "/foreign"] {
        assert_eq!(call(path).await.status(), 401, "{path}");
    }
    edge.process.says("assertion rejected: InvalidAudience").await;
    drop(edge);
    stop(stack).await;
}
