//! The client's country and autonomous system: in address rules and in limits, as the platform
//! states them.

use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, client};
use crate::support::own_workerd::OwnWorkerd;
use crate::support::stack::stop;
use reqwest::Response;
use serde_json::{Value, json};

/// The header from which the test's workerd takes `request.cf`. Cloudflare has none.
const CF: &str = "x-test-cf";

async fn send(url: &str, cf: Option<Value>, field: Option<(&str, &str)>) -> Response {
    let mut request = client().get(url).header("cf-connecting-ip", "192.0.2.1");
    if let Some(cf) = cf {
        request = request.header(CF, cf.to_string());
    }
    if let Some((name, value)) = field {
        request = request.header(name, value);
    }
    request.send().await.unwrap()
}

fn route(name: &str, more: Value) -> Value {
    let mut route = json!({ "name": name, "path": format!("/public/{name}"), "access": "public" });
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    route
}

#[tokio::test(flavor = "multi_thread")]
async fn countries_and_networks_are_refused_and_counted_as_the_platform_states_them() {
    let limit = |by: &str| {
        json!({ "limit": {
            "quota": 2, "window_seconds": 600, "by": by, "algorithm": "fixed_window",
        } })
    };
    let own = std::process::id();
    let (by_country, by_asn) = (format!("by-country-{own}"), format!("by-asn-{own}"));
    let stack = start_edge(json!({
        "ip_rules": { "deny_countries": ["FR", "T1"], "deny_asns": [64_496] },
        "routes": [
            route(&by_country, limit("country")),
            route(&by_asn, limit("asn")),
            route("germany", json!({ "ip_rules": { "allow_countries": ["DE"] } })),
            route("any", json!({ "ip_rules": {} })),
            route("x", json!({})),
        ],
    }))
    .await;
    let start = || {
        OwnWorkerd::start(&stack, &[], |name, text| match name {
            "config.capnp" => {
                assert!(text.contains("http = ()"), "{text}");
                text.replace("http = ()", &format!("http = (cfBlobHeader = \"{CF}\")"))
            }
            _ => text,
        })
    };
    let edge = tokio::task::block_in_place(start);
    let cf = |country: &str, asn: u32| Some(json!({ "country": country, "asn": asn }));
    for (path, cf, passes) in [
        ("x", cf("DE", 3320), true),
        ("x", cf("FR", 3215), false),
        ("x", cf("T1", 3320), false),
        ("x", cf("DE", 64_496), false),
        ("x", cf("XX", 3320), false),
        ("x", Some(json!({ "asn": 3320 })), false),
        ("x", Some(json!({ "country": "DE" })), false),
        ("x", Some(json!({ "country": null, "asn": null })), false),
        ("x", None, false),
        ("germany", cf("DE", 64_496), true),
        ("germany", cf("AT", 1), false),
        ("germany", None, false),
        ("any", cf("FR", 64_496), true),
        ("any", None, true),
    ] {
        let response = send(&edge.url(&format!("/public/{path}")), cf.clone(), None).await;
        match passes {
            true => assert_eq!(response.status(), 200, "{path} {cf:?}"),
            false => drop(assert_refused(response, 403, "address_refused").await),
        }
    }
    // No header states a country.
    for field in [("cf-ipcountry", "DE"), ("x-country", "DE"), ("portcullis-country", "DE")] {
        let response = send(&edge.url("/public/germany"), cf("FR", 3215), Some(field)).await;
        assert_refused(response, 403, "address_refused").await;
        let response = send(&stack.edge("/public/germany"), cf("DE", 3320), Some(field)).await;
        assert_refused(response, 403, "address_refused").await;
    }
    // Each country and each network has its own quota, whatever the other is.
    let count = async |name: &str, cf: Option<Value>| {
        let mut passed = 0;
        for field in ["a", "b", "c"] {
            let url = edge.url(&format!("/public/{name}"));
            let field = Some(("cf-ipcountry", field));
            passed += usize::from(send(&url, cf.clone(), field).await.status() == 200);
        }
        passed
    };
    assert_eq!(count(&by_country, cf("DE", 3320)).await, 2);
    assert_eq!(count(&by_country, cf("DE", 1)).await, 0);
    assert_eq!(count(&by_country, cf("AT", 3320)).await, 2);
    assert_eq!(count(&by_asn, cf("DE", 1)).await, 2);
    assert_eq!(count(&by_asn, cf("AT", 1)).await, 0);
    assert_eq!(count(&by_asn, cf("AT", 2)).await, 2);
    tokio::task::spawn_blocking(move || drop(edge)).await.unwrap();
    stop(stack).await;
}
