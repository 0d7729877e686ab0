//! The store: one POST for everything that a verdict needs.

use crate::host::{ContentType, Fault, TextRequest};
use portcullis_core::{LIMIT_SCRIPT, Outage, Policy};
use redis_rest::{Command, Reply, decode_replies, encode_pipeline};

/// The replies to `commands`, in their order; no trip for no commands. Where the store has not met the
/// limit's script yet, a second trip brings it, once.
pub async fn ask(
    policy: &Policy,
    commands: Vec<Command>,
    request_id: &str,
) -> Result<Vec<Reply>, Outage> {
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let mut replies = post(policy, &commands, request_id).await?;
    for (reply, command) in replies.iter_mut().zip(&commands) {
        if reply.is_noscript() {
            let mut whole = Command::new("EVAL").arg(LIMIT_SCRIPT);
            for word in command.words().iter().skip(2) {
                whole = whole.arg_bytes(word.as_slice());
            }
            *reply = post(policy, &[whole], request_id).await?.pop().ok_or(Outage::StoreFaulty)?;
        }
    }
    Ok(replies)
}

async fn post(
    policy: &Policy,
    commands: &[Command],
    request_id: &str,
) -> Result<Vec<Reply>, Outage> {
    let request = TextRequest {
        method: "POST",
        url: &policy.store.join("/pipeline"),
        request_id,
        authorization: Some(&format!("Bearer {}", policy.store_token.expose())),
        body: Some((ContentType::Json, &encode_pipeline(commands))),
        deadline_ms: policy.store_deadline_ms,
        bytes_max: ANSWER_BYTES_MAX,
    };
    match request.send().await {
        Ok((200, text)) => decode_replies(&text, commands.len()).map_err(|_| Outage::StoreFaulty),
        Ok(_) | Err(Fault::TooLarge) => Err(Outage::StoreFaulty),
        Err(Fault::Timeout) => Err(Outage::StoreTimeout),
        Err(Fault::Unreachable) => Err(Outage::StoreUnreachable),
    }
}

const ANSWER_BYTES_MAX: u32 = 64 * 1024;
