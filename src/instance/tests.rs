//! Runs requests on two isolates in one process, with the calls that JavaScript would make.

use crate::config::{Config, StoredSecrets};
use crate::context::{Purpose, RequestContext};
use crate::dependency::breakers::Dependency;
use crate::instance::Instance;
use crate::limits::counters::Over;
use crate::platform::clock;
use crate::platform::protocol::End;
use crate::renewals::queue::Batch;
use crate::{pipeline, renewals};
use portcullis_core::{
    BucketKey, CallPermit, Outage, Policy, RenewedToken, TokenHash, TokenRequirement,
};
use serde_json::{Value, json};
use std::rc::Rc;

mod operators;

/// A policy whose upstream timeout is too short for a retry, because the pause of a retry needs the
/// platform.
const POLICY: &str = r#"{
    "store": {"url":"https://store.example"},
    "upstream": {"url":"https://upstream.example","timeout_ms":1},
    "revocation": {"delay_seconds_max":60},
    "block": {"refresh_seconds":0},
    "breaker": {"failures":1},
    "logging": {"requests":"refused"},
    "issuers": [{"issuer":"https://issuer.example","audience":"api","introspection":
        {"url":"https://issuer.example/introspect","client_id":"edge","client_secret_variable":"PASS"}}],
    "routes": [
        {"name":"api","path":"/api","access":"protected"},
        {"name":"limited","path":"/limited","access":"public",
         "limit":{"quota":1,"window_seconds":60,"by":"address"}},
        {"name":"leased","path":"/leased","access":"public",
         "limit":{"quota":6000,"window_seconds":60,"by":"header:key","lease_seconds":60}}]}"#;

fn isolate() -> Rc<Instance> {
    Rc::new(Instance::new(0, config(POLICY)))
}

fn config(policy: &str) -> Config {
    let secrets = [("STORE_TOKEN", "store-secret"), ("PASS", "provider-secret")];
    let secret = |name: &str| secrets.iter().find(|(own, _)| *own == name);
    let policy = Policy::parse(policy, |name| secret(name).map(|(_, text)| (*text).to_owned()));
    let policy: &'static Policy = Box::leak(Box::new(policy.unwrap()));
    Config { policy: Some(policy), ..no_policy() }
}

fn no_policy() -> Config {
    let stored_secrets = StoredSecrets::default();
    Config { policy: None, local_limiter: None, analytics: None, stored_secrets }
}

/// What a request needs next.
#[derive(Debug, Eq, PartialEq)]
enum Next {
    Store,
    Provider,
    Upstream,
    /// The request ended, with this status, or `None` for the upstream's response.
    End(Option<u16>),
}

fn next(step: &str) -> Next {
    let line = |at| step.lines().nth(at).unwrap_or_default();
    match step.get(..1) {
        Some("A") if line(1).starts_with("https://store.example/") => Next::Store,
        Some("A") if line(1) == "https://issuer.example/introspect" => Next::Provider,
        Some("F") if line(3).starts_with("https://upstream.example/") => Next::Upstream,
        Some("R") => Next::End(step.lines().next().unwrap()[1..].parse().ok()),
        Some("D") | None => Next::End(None),
        _ => panic!("{step}"),
    }
}

fn begin(isolate: &Rc<Instance>, id: u32, path: &str) -> Next {
    begin_with(isolate, id, path, "x\ny")
}

/// Begins a request with one more header: its name and value, a line each.
fn begin_with(isolate: &Rc<Instance>, id: u32, path: &str, field: &str) -> Next {
    next(&first_step(isolate, id, path, field))
}

fn first_step(isolate: &Rc<Instance>, id: u32, path: &str, field: &str) -> String {
    let now_ms = clock::now_ms();
    let head = format!(
        "{now_ms}\nid{id}\nHAM\nGET\nhttps://edge.example{path}\n\
         authorization\nBearer opaque\ncf-connecting-ip\n192.0.2.1\n{field}"
    );
    pipeline::begin(isolate, id, Purpose::Forward, head)
}

fn store_replies(isolate: &Instance, id: u32, replies: &[Value]) -> Next {
    let results: Vec<Value> = replies.iter().map(|reply| json!({ "result": reply })).collect();
    next(&isolate.executor.resume(id, 200, Value::from(results).to_string()))
}

fn store_times_out(isolate: &Instance, id: u32) -> Next {
    fails(isolate, id, "timeout")
}

/// Fails the step, with a reason in the words of the wire format.
fn fails(isolate: &Instance, id: u32, word: &str) -> Next {
    next(&isolate.executor.resume(id, 0, word.to_owned()))
}

fn upstream_responds(isolate: &Instance, id: u32) -> Next {
    next(&isolate.executor.resume(id, 200, String::new()))
}

/// Runs a request with a token that the isolate has not seen. The store has its record and no
/// marker.
fn verify_token(isolate: &Rc<Instance>, id: u32) {
    let exp = clock::now_ms() / 1000 + 900;
    let record = json!({ "sub": "alice", "scope": "", "exp": exp, "aud": "api" }).to_string();
    assert_eq!(begin(isolate, id, "/api"), Next::Store);
    assert_eq!(store_replies(isolate, id, &[record.into()]), Next::Store);
    assert_eq!(store_replies(isolate, id, &[json!([null, null, null])]), Next::Upstream);
    assert_eq!(upstream_responds(isolate, id), Next::End(None));
}

/// Runs a request on the limited route while the store fails, so that the isolate counts it.
fn count_locally(isolate: &Rc<Instance>, id: u32) {
    assert_eq!(begin(isolate, id, "/limited"), Next::Store);
    assert_eq!(store_times_out(isolate, id), Next::Upstream);
    assert_eq!(upstream_responds(isolate, id), Next::End(None));
}

#[test]
fn isolates_of_one_process_share_no_state() {
    let (one, other) = (isolate(), isolate());

    // One isolate has the token in its cache, so that its next request goes straight to the
    // upstream.
    verify_token(&one, 1);
    assert_eq!(begin(&one, 2, "/api"), Next::Upstream);
    assert_eq!(begin(&other, 2, "/api"), Next::Store);

    // In one isolate, the breaker of the store is open and the limit is used up.
    count_locally(&one, 3);
    assert_eq!(begin(&one, 4, "/limited"), Next::End(Some(429)));
    assert_eq!(begin(&other, 4, "/limited"), Next::Store);

    // Dropping one isolate frees all that it holds. Tasks with the same numbers continue in the
    // other.
    let weak = Rc::downgrade(&one);
    one.executor.forget(2);
    drop(one);
    assert!(weak.upgrade().is_none());
    assert_eq!(store_times_out(&other, 4), Next::Upstream);
    assert_eq!(upstream_responds(&other, 4), Next::End(None));
    other.executor.forget(2);
    assert_eq!(begin(&other, 5, "/limited"), Next::End(Some(429)));
}

/// Otherwise a blocked network would pass after each change of a secret.
#[test]
fn changed_secret_keeps_the_blocked_networks() {
    let before = isolate().isolate();
    let list = json!({ "v": 1, "networks": [["192.0.2.0/24", 4_102_444_800_u64]] });
    assert!(!before.block_list.replace(Some(&list.to_string()), 1));
    let same = before.followed_by(config(POLICY));
    assert!(!same.block_list.is_empty() && Rc::ptr_eq(&same.usage, &before.usage));
}

#[test]
fn an_isolate_without_a_policy_answers_503() {
    let isolate = Rc::new(Instance::new(0, no_policy()));
    assert_eq!(begin(&isolate, 1, "/api"), Next::End(Some(503)));
}

#[test]
fn a_request_that_can_not_be_decoded_is_an_internal_error() {
    let end = pipeline::begin(
        &isolate(),
        1,
        Purpose::Forward,
        "now\nid\n\nGET\nhttps://a.example/".to_owned(),
    );
    assert_eq!(end, "Xhead_invalid");
}

/// The breakers of this policy open at the first failure.
#[test]
fn too_large_responses_open_no_breaker() {
    let isolate = isolate();
    for id in [1, 2, 3] {
        assert_eq!(begin(&isolate, id, "/api"), Next::Store, "the store's breaker is open");
        assert_eq!(fails(&isolate, id, "too large"), Next::End(Some(503)));
    }
    for id in [4, 5, 6] {
        assert_eq!(begin(&isolate, id, "/api"), Next::Store);
        let record_missing = store_replies(&isolate, id, &[Value::Null]);
        assert_eq!(record_missing, Next::Provider, "the provider's breaker is open");
        assert_eq!(fails(&isolate, id, "too large"), Next::End(Some(503)));
    }
}

#[test]
fn call_limit_of_the_platform_opens_no_breaker() {
    let isolate = isolate();
    for id in [1, 2, 3] {
        assert_eq!(begin(&isolate, id, "/api"), Next::Store, "the store's breaker is open");
        assert_eq!(fails(&isolate, id, "rejected"), Next::End(Some(503)));
    }
    verify_token(&isolate, 4);
    for id in [5, 6] {
        assert_eq!(begin(&isolate, id, "/api"), Next::Upstream, "the upstream's breaker is open");
        assert_eq!(fails(&isolate, id, "rejected"), Next::End(Some(502)));
    }
}

/// A client chooses the resource that it requests, and may choose a slow one.
#[test]
fn upstream_timeout_is_inconclusive_if_other_requests_succeeded_meanwhile() {
    let isolate = isolate();
    verify_token(&isolate, 1);
    assert_eq!(begin(&isolate, 2, "/api"), Next::Upstream);
    assert_eq!(begin(&isolate, 3, "/api"), Next::Upstream);
    assert_eq!(upstream_responds(&isolate, 3), Next::End(None));
    assert_eq!(fails(&isolate, 2, "timeout"), Next::End(Some(504)));
    assert_eq!(begin(&isolate, 4, "/api"), Next::Upstream, "the upstream's breaker is open");
    // No other request succeeded meanwhile.
    assert_eq!(fails(&isolate, 4, "timeout"), Next::End(Some(504)));
    assert_eq!(begin(&isolate, 5, "/api"), Next::End(Some(504)));
}

/// Servers drop connections with too large a head, which the client or the token's claims cause.
#[test]
fn large_head_opens_no_breaker() {
    let isolate = isolate();
    verify_token(&isolate, 1);
    let large = format!("x\n{}", "y".repeat(9000));
    for id in [2, 3] {
        let begun = begin_with(&isolate, id, "/api", &large);
        assert_eq!(begun, Next::Upstream, "the upstream's breaker is open");
        assert_eq!(fails(&isolate, id, "unreachable"), Next::End(Some(502)));
    }
    assert_eq!(begin(&isolate, 4, "/api"), Next::Upstream);
    assert_eq!(fails(&isolate, 4, "unreachable"), Next::End(Some(502)));
    assert_eq!(begin(&isolate, 5, "/api"), Next::End(Some(502)));
}

/// One node of a Cluster may be down.
#[test]
fn clearances_are_renewed_one_by_one_after_their_common_query_failed() {
    // The failure of the common query opens no breaker, which opens at the first.
    let instance = isolate();
    verify_token(&instance, 1);
    let shared = instance.isolate();
    let policy = shared.config.policy.unwrap();
    let token = shared.tokens.get(TokenHash::of("opaque")).unwrap().verification.token;
    let requirement = TokenRequirement::NotRevoked;
    let batch = Batch::Clearances(vec![RenewedToken { token, requirement }; 2]);
    let step = instance.executor.begin(2, 0, |port| async move {
        let (purpose, now_ms) = (Purpose::Forward, clock::now_ms());
        let context = RequestContext::new(shared, port, policy, purpose, now_ms, "id".to_owned());
        renewals::ask(batch, &context).await;
        End::Pass
    });
    let queries = |step: &str| step.matches("MGET").count();
    assert_eq!(queries(&step), 1, "{step}");
    let failed = json!([{ "error": "CLUSTERDOWN" }]).to_string();
    let step = instance.executor.resume(2, 200, failed);
    assert_eq!(queries(&step), 2, "{step}");
    assert_eq!(
        store_replies(&instance, 2, &[json!([null, null]), json!([null, null])]),
        Next::End(None)
    );
}

/// More leases are to be renewed than may wait. A lease whose renewal found no room is asked for
/// with the next request of its key, and one that waits is not.
#[test]
fn lease_whose_renewal_found_no_room_is_asked_for_again() {
    let isolate = isolate();
    let request = |key: u32, round: u32| (key * 10 + round) * 10;
    let field = |key: u32| format!("key\n{key}");
    // The word of the script's command that says how much to take in advance.
    let asked = |key: u32, round: u32| {
        let step = first_step(&isolate, request(key, round), "/leased", &field(key));
        let body = step.lines().last().unwrap_or_default();
        let commands: Value = serde_json::from_str(body).unwrap_or_default();
        commands[1].get(9).and_then(Value::as_str).is_some_and(|ahead| ahead != "0")
    };
    for key in 0..KEYS {
        for (round, taken) in [(0, 0), (1, 1)] {
            assert_eq!(asked(key, round), taken > 0, "{key}");
            let reply = json!([1, 5000, 0, 0, taken, 0]);
            let id = request(key, round);
            assert_eq!(store_replies(&isolate, id, &[Value::Null, reply]), Next::Upstream);
            assert_eq!(upstream_responds(&isolate, id), Next::End(None));
        }
        // The lease has one request. What comes after it is asked for in the background.
        let id = request(key, 2);
        assert_eq!(begin_with(&isolate, id, "/leased", &field(key)), Next::Upstream);
        assert_eq!(upstream_responds(&isolate, id), Next::End(None));
    }
    assert!(!asked(0, 3), "its question waits");
    assert!(asked(KEYS - 1, 3), "no question of it waits");
}

/// More keys than questions may wait.
const KEYS: u32 = 1100;

/// What a token's provider or the store said would seem younger than it is.
#[test]
fn clock_that_goes_back_empties_the_cache_of_tokens() {
    let instance = isolate();
    verify_token(&instance, 1);
    let tokens = &instance.isolate().tokens;
    let is_cached = || tokens.get(TokenHash::of("opaque")).is_some();
    let now_ms = clock::now_ms() + 60_000;
    tokens.observe(now_ms);
    tokens.observe(now_ms - 40);
    assert!(is_cached(), "a clock may be corrected by a few milliseconds");
    // A request that began before is answered after it.
    let token = tokens.get(TokenHash::of("opaque")).unwrap().verification;
    let hash = token.token.hash();
    let isolate = instance.isolate();
    let key = BucketKey { key: [7; 32], quota: 5, cost: 1 };
    let over = Over { ask_ms: now_ms + 9000, retry_ms: now_ms + 9000, quota: 5 };
    isolate.limits.set_over(key, over);
    isolate.breakers.with(Dependency::Store, |breaker| {
        let breaker_policy = isolate.config.policy.unwrap().breaker;
        breaker.failed(CallPermit::Ordinary, Outage::StoreTimeout, breaker_policy, now_ms, 0)
    });
    assert!(isolate.breakers.is_open(Dependency::Store, now_ms));
    let before = tokens.clock_steps();
    let after = isolate.observe_clock(now_ms - 1000);
    assert!(!is_cached() && after != before);
    assert!(isolate.limits.over(key, now_ms - 1000).is_none());
    assert!(!isolate.breakers.is_open(Dependency::Store, now_ms - 1000));
    tokens.insert(hash, token.clone(), before);
    assert!(!is_cached());
    tokens.insert(hash, token, after);
    let requirement = TokenRequirement::NotRevoked;
    for (steps, cleared) in [(before, None), (after, Some(requirement))] {
        tokens.set_cleared(hash, requirement, now_ms + 9000, steps);
        assert_eq!(tokens.get(hash).unwrap().cleared(now_ms), cleared);
    }
}
