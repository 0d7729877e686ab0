//! Checks of Redis's short replies.

use redis_rest::Reply;

/// Returns whether a reply to PING shows a live server.
///
/// A user without permission for PING gets `NOPERM`, which also shows a live server.
pub fn is_alive(reply: &Reply) -> bool {
    match reply {
        Reply::Error(text) => text.starts_with("NOPERM"),
        reply => reply.as_text() == Some("PONG"),
    }
}

/// Returns the role in a reply to ROLE, such as `master`.
pub fn role(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Array(fields) => fields.first().and_then(Reply::as_text),
        _ => None,
    }
}
