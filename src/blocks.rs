//! Blocked networks, which count for each request, whatever it asks of the store.

pub mod list;

use crate::context::RequestContext;
use crate::dependency::breakers::Health;
use crate::platform::clock;
use crate::platform::log::{Level, Line};
use crate::store;
use portcullis_core::{
    BlockKind, Denial, Outage, Refusal, RequestHead, RevocationMarker, client_address,
};
use redis_rest::{Command, Reply};

/// Rejects a request from a network that is on the list. Has the list fetched in the background if
/// it is due.
///
/// # Errors
///
/// [`Denial::Blocked`].
pub fn check_network(head: &RequestHead<'_>, context: &RequestContext) -> Result<(), Refusal> {
    let list = &context.isolate.block_list;
    let is_blocked = !list.is_empty()
        && list.contains(client_address(head, context.policy.trusted_proxy_hops), context.now);
    let refresh_ms = u64::from(context.policy.block_refresh_seconds) * 1000;
    // The end of a block takes effect as soon as that of a blocked token.
    fetch_if_due(if is_blocked { refresh_ms.min(BLOCKED_MS) } else { refresh_ms }, context);
    if !is_blocked {
        return Ok(());
    }
    context.trace.marker.set(Some(RevocationMarker::Block(BlockKind::Address)));
    Err(Denial::Blocked.into())
}

/// Has the list fetched if it may be no older than `refresh_ms`; 0 if it is never fetched.
fn fetch_if_due(refresh_ms: u64, context: &RequestContext) {
    if refresh_ms == 0 {
        return;
    }
    if context.isolate.block_list.begins_fetch(refresh_ms, context.now_ms) {
        context.spawn(|context| async move { fetch(&context).await });
    }
}

/// Fetches the list. If the store fails, the isolate keeps the list that it has.
async fn fetch(context: &RequestContext) {
    let asked_ms = clock::now_ms();
    let query = Command::new("GET").arg(context.policy.keys.blocked_networks());
    // That the store refuses this key alone says nothing about what verdicts need.
    let replies = store::execute_with(&[query], Health::Inconclusive, context).await;
    let text = match replies.as_ref().map(|replies| replies.first()) {
        Ok(Some(Reply::Null)) => None,
        Ok(Some(reply)) => Some(reply.as_text().unwrap_or_default()),
        Ok(None) | Err(Outage::StoreTimeout | Outage::StoreUnreachable) => return,
        Err(_) => Some(""),
    };
    if context.isolate.block_list.replace(text, asked_ms) {
        let reason = match replies.as_ref().map(|replies| replies.first()) {
            Ok(Some(Reply::Error(error))) => error.as_str(),
            _ => "the store's answer is malformed or too large",
        };
        let mut line = Line::new(Level::Warn, "block_list_unreadable");
        line.text("reason", reason).write();
    }
}

/// How old the list may be while requests of blocked networks come.
const BLOCKED_MS: u64 = 1000;
