//! The policy that the isolate applies, for operators.

use crate::context::RequestContext;
use crate::platform::log::{Level, Line};
use redis_rest::{Command, Reply};

/// Returns the command that keeps the policy in the store, if that is due, or writes it if the
/// store lacks it. Returns `None` for one that is too large.
pub fn command(is_due: bool, context: &RequestContext) -> Option<Command> {
    let document = context.policy.document.as_ref()?;
    if document.text.len() > BYTES_MAX {
        if !context.isolate.counters.observed.was_written() {
            let mut line = Line::new(Level::Warn, "policy_not_written");
            line.number("bytes", document.text.len() as u64).write();
        }
        return None;
    }
    let key = context.policy.keys.policy(&document.hash);
    if context.isolate.counters.observed.lacks_policy.get() {
        let set = Command::new("SET").arg(key).arg(document.text.as_str());
        return Some(set.arg("EX").arg(KEPT_SECONDS));
    }
    is_due.then(|| Command::new("EXPIRE").arg(key).arg(KEPT_SECONDS))
}

/// Reads the reply to this command. The policy is written with the next batch if it is missing.
pub fn read(reply: &Reply, context: &RequestContext) {
    context.isolate.counters.observed.lacks_policy.set(*reply == Reply::Integer(0));
}

/// How long the store keeps a policy that no isolate applies.
const KEPT_SECONDS: u32 = 7 * 86_400;
/// The largest policy that is written.
const BYTES_MAX: usize = 256 * 1024;
