//! How the edge is, from what the isolate last knew.

use crate::context::RequestContext;
use crate::dependency::breakers::Dependency;
use crate::platform::clock;
use crate::platform::protocol::TextRequest;
use crate::store;
use crate::token::key_sets::Age;
use portcullis_core::{Issuer, TokenHash, json_object_text};
use redis_rest::{Command, Reply};
use serde_json::{Map, Value};

/// Returns the state as JSON. Has dependencies probed after the response of which nothing recent is
/// known.
pub fn body(context: &RequestContext) -> String {
    let policy = context.policy;
    let mut is_ok = true;
    let store = dependency(Dependency::Store, &mut is_ok, context);
    let auth = policy.auth.as_ref().map(|_| dependency(Dependency::Auth, &mut is_ok, context));
    let issuers = policy.issuers.iter().enumerate().filter(|(_, issuer)| issuer.keys.is_some());
    let key_sets: Vec<Value> =
        issuers.map(|(index, issuer)| key_set(index, issuer, &mut is_ok, context)).collect();
    json_object_text(vec![
        ("status", Some(if is_ok { "ok" } else { "degraded" }.into())),
        ("policy", policy.document.as_ref().map(|document| document.hash.as_str().into())),
        ("store", Some(store)),
        ("auth", auth),
        ("key_sets", Some(key_sets.into())),
    ])
}

fn dependency(dependency: Dependency, is_ok: &mut bool, context: &RequestContext) -> Value {
    let (isolate, now_ms) = (&context.isolate, clock::now_ms());
    let known = isolate.operator.of(dependency);
    if known.is_some_and(|known| known.is_probe_due(now_ms)) {
        context.spawn(move |context| async move { probe(dependency, &context).await });
    }
    let last = known.and_then(|known| known.last(now_ms));
    let (state, age_seconds) = match last {
        Some((is_up, seconds)) => (if is_up { "up" } else { "down" }, Some(seconds)),
        None => ("unknown", None),
    };
    let breaker = isolate.breakers.state(dependency, now_ms).name();
    *is_ok &= state != "down" && breaker == "closed";
    object(vec![
        ("state", state.into()),
        ("breaker", breaker.into()),
        ("age_seconds", age_seconds.into()),
    ])
}

fn key_set(index: usize, issuer: &Issuer, is_ok: &mut bool, context: &RequestContext) -> Value {
    let (key_sets, now_ms) = (&context.isolate.key_sets, clock::now_ms());
    let current = key_sets.current(index);
    let age = current.as_ref().map(|own| own.age(context.policy, now_ms));
    let state = match (age, key_sets.failed_at_ms(index) > 0) {
        (None | Some(Age::TooOld), true) => "down",
        (None | Some(Age::TooOld), false) => "unknown",
        (Some(Age::Fresh | Age::Ageing | Age::Stale), true) => "stale",
        (Some(Age::Fresh | Age::Ageing | Age::Stale), false) => "up",
    };
    *is_ok &= matches!(state, "up" | "unknown");
    let fetched_at_ms = current.as_ref().and_then(|own| own.fetched_at_ms);
    let age_seconds = fetched_at_ms.map(|at_ms| now_ms.saturating_sub(at_ms) / 1000);
    object(vec![
        ("issuer", issuer.issuer.as_str().into()),
        ("state", state.into()),
        ("age_seconds", age_seconds.into()),
        ("keys", current.map_or(0, |own| own.usable()).into()),
    ])
}

fn object(members: Vec<(&str, Value)>) -> Value {
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
    Value::Object(members.collect::<Map<_, _>>())
}

/// Asks a dependency whether it works. The answer counts for no breaker.
async fn probe(dependency: Dependency, context: &RequestContext) {
    let policy = context.policy;
    let is_up = match (dependency, &policy.auth) {
        (Dependency::Auth, Some(auth)) => {
            let request = TextRequest {
                method: "GET",
                url: &auth.join("/healthz"),
                request_id: &context.request_id,
                authorization: None,
                body: None,
                deadline_ms: policy.timeouts.auth_ms,
                bytes_max: REPLY_BYTES_MAX,
            };
            let response = request.send(&context.port).await;
            response.is_ok_and(|response| response.status < 500)
        }
        _ => {
            // No token has this hash, so that the reply is short.
            let get = Command::new("GET").arg(policy.keys.token(&TokenHash::of("")));
            let reply = store::read(get, REPLY_BYTES_MAX, context).await;
            reply.is_some_and(|reply| !matches!(reply, Reply::Error(_)))
        }
    };
    context.isolate.operator.record(dependency, is_up, clock::now_ms());
}

const REPLY_BYTES_MAX: u32 = 64 * 1024;
