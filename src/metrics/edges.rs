//! The state of the isolate, as operators see it.

use super::observed::Observation;
use crate::context::RequestContext;
use crate::platform::clock;
use portcullis_core::json_object_text;
use redis_rest::{Command, Reply};
use serde_json::{Map, Value};

/// Returns the commands that write the isolate's state under its location and a random name, and
/// keep the states of all if that is due.
///
/// Isolates end without notice, and leave their state behind. If too many did, the state of all is
/// dropped: those that live write theirs again.
pub fn commands(
    seen: &Observation,
    renews: bool,
    colo: &str,
    context: &RequestContext,
) -> Vec<Command> {
    let (key, observed) = (context.policy.keys.edges(), &context.isolate.counters.observed);
    let mut commands = Vec::new();
    let starts_again = observed.has_too_many.take();
    if starts_again {
        commands.push(Command::new("EXPIRE").arg(&key).arg(0));
    }
    let field = format!("{colo}/{}", observed.name(&context.request_id));
    commands.push(Command::new("HSET").arg(&key).arg(field).arg(state(seen, colo, context)));
    if renews || starts_again {
        commands.push(Command::new("EXPIRE").arg(&key).arg(KEPT_SECONDS));
    }
    if !observed.was_written() {
        commands.push(Command::new("HLEN").arg(key));
    }
    commands
}

/// Reads the replies to these commands.
pub fn read(replies: &[Reply], context: &RequestContext) {
    let observed = &context.isolate.counters.observed;
    if !observed.was_written()
        && let Some(Reply::Integer(ISOLATES_MAX..)) = replies.last()
    {
        observed.has_too_many.set(true);
    }
}

fn state(seen: &Observation, colo: &str, context: &RequestContext) -> String {
    let (policy, now_ms) = (context.policy, clock::now_ms());
    let not_closed = context.isolate.breakers.not_closed(policy, now_ms).into_iter();
    let breakers: Map<String, Value> =
        not_closed.map(|(name, state)| (name, state.into())).collect();
    json_object_text(vec![
        ("at", Some(now_ms.into())),
        ("policy", policy.document.as_ref().map(|document| document.hash.as_str().into())),
        ("version", Some(env!("CARGO_PKG_VERSION").into())),
        ("colo", Some(colo.into())),
        ("breakers", Some(breakers.into())),
        ("degraded", Some(seen.degraded.clone().into())),
        ("clearance_age_ms_max", Some(seen.clearance_age_ms_max.into())),
        ("delay_ms_max", Some((u64::from(policy.revocation_delay_seconds_max) * 1000).into())),
        ("requests", Some(seen.requests.into())),
    ])
}

/// How long the store keeps states that no isolate renews.
const KEPT_SECONDS: u32 = 3600;
/// More isolates than a gate has at once.
const ISOLATES_MAX: i64 = 5000;
