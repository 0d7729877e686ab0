//! Commands as bytes for Redis, and checks of its short replies.

use redis_rest::{Command, Reply, encode_resp2_command};

/// Encodes commands for one write to Redis.
pub fn encode_commands(commands: &[Command]) -> Vec<u8> {
    let mut bytes = Vec::new();
    commands.iter().for_each(|command| encode_resp2_command(command, &mut bytes));
    bytes
}

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
