//! The requests that a limit counts together, and the headers that report it.

use super::scene::{call, open, passed, protected, start, token, unique};
use crate::support::http::{assert_refused, client, field};
use crate::support::rate_limit::assert_rate_limit_fields;
use crate::support::stack::stop;
use serde_json::{Value, json};

#[tokio::test]
async fn requests_are_counted_by_the_limits_keys() {
    let limit = |by: Value| json!({ "limit": { "quota": 3, "window_seconds": 600, "by": by } });
    let names = ["a", "s", "c", "e", "h", "l", "sh", "pl", "co", "x1", "x2"].map(unique);
    let [a, s, c, e, h, l, sh, pl, co, x1, x2] = names.each_ref();
    let shared = unique("shared");
    let plans = json!({ "limit": { "quota": 1, "window_seconds": 600, "by": "subject",
        "plans": { "claim": "plan", "quotas": { "pro": 4, "7": 2 } } } });
    let stack = start(json!({
        "limits": [{ "name": shared, "quota": 3, "window_seconds": 600, "by": "subject" }],
        "ip_rules": { "deny": ["198.51.100.0/24"], "unlimited": ["203.0.113.7"] },
        "routes": [
            open(a, limit(json!("address"))["limit"].clone()),
            protected(s, limit(json!("subject"))), protected(c, limit(json!("client"))),
            protected(e, limit(json!("session"))), protected(h, limit(json!("header:X-Tenant"))),
            protected(l, limit(json!(["claim:level", "route"]))),
            protected(sh, limit(json!(["subject", "client"]))), protected(pl, plans),
            protected(co, json!({ "cost": 2, "limit": { "quota": 5, "window_seconds": 600, "by": "subject" } })),
            protected(x1, json!({ "limits": [shared] })), protected(x2, json!({ "limits": [shared] })),
        ],
    }))
    .await;
    let path = |name: &str| format!("/public/{name}");
    // Addresses: IPv6 by /64.
    assert_eq!(passed(&stack, &path(a), "192.0.2.1", None, 4).await, 3);
    assert_eq!(passed(&stack, &path(a), "192.0.2.2", None, 1).await, 1);
    assert_eq!(passed(&stack, &path(a), "2001:db8::1", None, 2).await, 2);
    assert_eq!(passed(&stack, &path(a), "2001:db8::ffff:2", None, 2).await, 1);
    assert_eq!(passed(&stack, &path(a), "2001:db8:0:1::1", None, 1).await, 1);
    assert_eq!(passed(&stack, &path(a), "203.0.113.7", None, 9).await, 9, "not limited");
    assert_refused(call(&stack, &path(a), "198.51.100.9", None).await, 403, "address_refused")
        .await;

    let path = |name: &str| format!("/api/{name}");
    let here = "192.0.2.9";
    let count = async |name: &str, changes: Value, calls: usize| {
        passed(&stack, &path(name), here, Some(&token(changes)), calls).await
    };
    for (name, member) in [(s, "sub"), (c, "client_id"), (e, "sid")] {
        assert_eq!(count(name, json!({ member: "one" }), 4).await, 3, "{member}");
        assert_eq!(count(name, json!({ member: "two" }), 1).await, 1, "{member}");
    }
    assert_eq!(count(l, json!({ "level": 1 }), 4).await, 3);
    assert_eq!(count(l, json!({ "level": 2 }), 1).await, 1);
    assert_eq!(count(sh, json!({ "sub": "one", "client_id": "x" }), 4).await, 3);
    assert_eq!(count(sh, json!({ "sub": "one", "client_id": "y" }), 1).await, 1);
    assert_eq!(count(pl, json!({ "sub": "free" }), 9).await, 1);
    assert_eq!(count(pl, json!({ "sub": "pro", "plan": "pro" }), 9).await, 4);
    assert_eq!(count(pl, json!({ "sub": "seven", "plan": 7 }), 9).await, 2);
    assert_eq!(count(co, json!({}), 9).await, 2, "five by two");
    // One limit over two routes.
    assert_eq!(count(x1, json!({}), 2).await + count(x2, json!({}), 9).await, 3);

    let tenant = async |tenant: &str| {
        let request = client().get(stack.edge(&path(h))).bearer_auth(token(json!({})));
        let request = request.header("cf-connecting-ip", here);
        request.header("x-tenant", tenant).send().await.unwrap().status().as_u16()
    };
    for expect in [200, 200, 200, 429] {
        assert_eq!(tenant("acme").await, expect);
    }
    assert_eq!(tenant("other").await, 200);
    stop(stack).await;
}

#[tokio::test]
async fn rate_limit_headers_are_sent_and_shadow_limits_reject_nothing() {
    let (visible, shadow) = (unique("visible"), unique("shadow"));
    let stack = start(json!({ "routes": [
        open(&visible, json!({ "quota": 3, "window_seconds": 600, "by": "address", "headers": true })),
        open(&shadow, json!({ "quota": 1, "window_seconds": 600, "by": "address", "shadow": true })),
    ]}))
    .await;
    let path = format!("/public/{visible}");
    for left in [2, 1, 0] {
        let response = call(&stack, &path, "192.0.2.1", None).await;
        assert_eq!(response.status(), 200);
        assert_rate_limit_fields(&response, &[&visible]);
        assert_eq!(field(&response, "ratelimit-policy"), format!("\"{visible}\";q=3;w=600"));
        assert_eq!(field(&response, "ratelimit"), format!("\"{visible}\";r={left};t=200"));
    }
    let response = call(&stack, &path, "192.0.2.1", None).await;
    assert_rate_limit_fields(&response, &[&visible]);
    let retry_after: u64 = field(&response, "retry-after").parse().unwrap();
    assert!((199..=220).contains(&retry_after), "{retry_after}");
    let rate = field(&response, "ratelimit");
    assert!(rate.starts_with(&format!("\"{visible}\";r=0;t=")), "{rate}");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(
        (&body["violated-policies"], &body["code"]),
        (&json!([visible]), &json!("rate_limited"))
    );

    assert_eq!(passed(&stack, &format!("/public/{shadow}"), "192.0.2.1", None, 5).await, 5);
    let log = stack.log("edge");
    let watched = format!("\"shadow\":[\"{shadow}\"]");
    assert_eq!(log.matches(&watched).count(), 4, "{log}");
    assert!(
        log.contains(&format!("\"limits\":[\"{visible}\"]")) && log.contains("\"limit_left\":2")
    );
    stop(stack).await;
}

/// Two plans from one address, and two costs of one limit.
#[tokio::test]
async fn exceeding_one_plans_quota_does_not_affect_another_plan() {
    let name = unique("nat");
    let plans = json!({ "limit": { "quota": 3, "window_seconds": 600, "by": "address",
        "plans": { "claim": "plan", "quotas": { "pro": 50 } } } });
    let stack = start(json!({ "routes": [protected(&name, plans)] })).await;
    let path = format!("/api/{name}");
    let (free, pro) = (token(json!({ "sub": "f" })), token(json!({ "sub": "p", "plan": "pro" })));
    assert_eq!(passed(&stack, &path, "192.0.2.1", Some(&free), 5).await, 3);
    assert!(passed(&stack, &path, "192.0.2.1", Some(&pro), 5).await > 0, "another's refusal");
    // Nor does a refusal by a small quota forgive what a large one has used.
    let here = "192.0.2.2";
    assert_eq!(passed(&stack, &path, here, Some(&pro), 60).await, 50);
    let refused = call(&stack, &path, here, Some(&free)).await;
    assert_eq!(refused.status(), 429);
    let costly = token(json!({ "sub": "q", "plan": "pro" }));
    assert_eq!(passed(&stack, &path, here, Some(&costly), 3).await, 0);
    stop(stack).await;
}
