//! The store: one POST, or one batch to memcached, for everything that a verdict needs.

use crate::context::RequestContext;
use crate::dependency::breakers::{Dependency, Health};
use crate::dependency::{call, retry};
use crate::platform::protocol::{ContentType, PlatformError, TextBody, TextRequest, TextResponse};
use crate::platform::{clock, socket};
use portcullis_core::{LIMIT_SCRIPT, Outage, StoreAddress, StoreResult};
use redis_rest::{Command, Reply, decode_replies, encode_pipeline};

/// Returns the results of `commands`, in their order. Each is an outage if the store fails; a
/// store that failed once is not queried again for the same request.
pub async fn query(commands: &[Command], context: &RequestContext) -> Vec<StoreResult> {
    if commands.is_empty() {
        return Vec::new();
    }
    let begun_ms = clock::now_ms();
    let outcome = match context.store_failure.get() {
        Some(outage) => Err(outage),
        None => execute(commands, context).await,
    };
    let store_ms = &context.trace.store_ms;
    store_ms.set(store_ms.get() + clock::now_ms().saturating_sub(begun_ms));
    match outcome {
        Ok(replies) => {
            let results = replies.into_iter().map(|reply| match reply {
                Reply::Error(_) => StoreResult::Out(Outage::StoreBadResponse),
                reply => StoreResult::Reply(reply),
            });
            results.collect()
        }
        Err(outage) => {
            context.store_failure.set(Some(outage));
            commands.iter().map(|_| StoreResult::Out(outage)).collect()
        }
    }
}

/// Returns the replies to `commands`. A store that does not know the limit's script yet receives it
/// with a second request, within the same deadline.
pub async fn execute(commands: &[Command], context: &RequestContext) -> Result<Vec<Reply>, Outage> {
    let work = async {
        let outcome = replies(commands, context).await;
        let health = match &outcome {
            Ok(replies) if all_reads_failed(commands, replies) => {
                Health::Failed(Outage::StoreBadResponse)
            }
            Ok(_) => Health::Good,
            Err(outage) => Health::Failed(*outage),
        };
        (health, outcome)
    };
    call::call(Dependency::Store, context.policy.timeouts.store_ms, work, context).await?
}

/// Writes what no response depends on. Returns whether the store has it. The result does not
/// count for the circuit breaker, which is for verdicts.
pub async fn write(commands: &[Command], context: &RequestContext) -> bool {
    if context.isolate.breakers.is_open(Dependency::Store, clock::now_ms()) {
        return false;
    }
    let until_ms = clock::now_ms() + u64::from(context.policy.timeouts.store_ms);
    let replies = send(commands, until_ms, context).await;
    replies.is_ok_and(|replies| !replies.iter().any(|reply| matches!(reply, Reply::Error(_))))
}

async fn replies(commands: &[Command], context: &RequestContext) -> Result<Vec<Reply>, Outage> {
    let until_ms = clock::now_ms() + u64::from(context.policy.timeouts.store_ms);
    let mut replies = send(commands, until_ms, context).await?;
    let unknown =
        |(reply, command): (&Reply, &Command)| reply.is_noscript().then(|| with_script(command));
    let scripts: Vec<Command> = replies.iter().zip(commands).filter_map(unknown).collect();
    if !scripts.is_empty() {
        let mut again = send(&scripts, until_ms, context).await?.into_iter();
        for reply in replies.iter_mut().filter(|reply| reply.is_noscript()) {
            *reply = again.next().ok_or(Outage::StoreBadResponse)?;
        }
    }
    Ok(replies)
}

/// Returns whether there were reads, and all of them failed. Limits are not considered: a Redis
/// that is full, or a replica, can still be read.
fn all_reads_failed(commands: &[Command], replies: &[Reply]) -> bool {
    let mut reads = commands
        .iter()
        .zip(replies)
        .filter(|(command, _)| matches!(command.name(), "GET" | "MGET"));
    let first = reads.next().map(|(_, reply)| reply);
    matches!(first, Some(Reply::Error(_)))
        && reads.all(|(_, reply)| matches!(reply, Reply::Error(_)))
}

/// Returns the command with the script instead of its hash.
fn with_script(command: &Command) -> Command {
    let mut whole = Command::new("EVAL").arg(LIMIT_SCRIPT);
    for word in command.words().iter().skip(2) {
        whole = whole.arg_bytes(word.as_slice());
    }
    whole
}

async fn send(
    commands: &[Command],
    until_ms: u64,
    context: &RequestContext,
) -> Result<Vec<Reply>, Outage> {
    let (url, token) = match &context.policy.store {
        StoreAddress::Memcached(address) => {
            return send_to_memcached(address, commands, until_ms, context).await;
        }
        StoreAddress::Rest { url, token } => (url.join("/pipeline"), token),
    };
    let body = encode_pipeline(commands);
    let authorization = format!("Bearer {}", token.expose());
    let request = TextRequest {
        method: "POST",
        url: &url,
        request_id: &context.request_id,
        authorization: Some(&authorization),
        body: Some(TextBody { content_type: ContentType::Json, text: &body }),
        deadline_ms: 0,
        bytes_max: RESPONSE_BYTES_MAX,
    };
    match retry::text(request, until_ms, context).await {
        Ok(TextResponse { status: 200, text }) => {
            decode_replies(&text, commands.len()).map_err(|_| Outage::StoreBadResponse)
        }
        Ok(_) => Err(Outage::StoreBadResponse),
        Err(error) => Err(outage(error)),
    }
}

async fn send_to_memcached(
    address: &memcached::Address,
    commands: &[Command],
    until_ms: u64,
    context: &RequestContext,
) -> Result<Vec<Reply>, Outage> {
    let batch =
        String::from_utf8(memcached::encode(commands)).map_err(|_| Outage::StoreBadResponse)?;
    let mut reply = exchange(address, &batch, until_ms, context).await;
    if matches!(reply, Err(PlatformError::Unreachable | PlatformError::Rejected))
        && retry::pause(until_ms, context).await
    {
        reply = exchange(address, &batch, until_ms, context).await;
    }
    let text = reply.map_err(outage)?;
    memcached::decode(commands, text.as_bytes()).map_err(|_| Outage::StoreBadResponse)
}

async fn exchange(
    address: &memcached::Address,
    batch: &str,
    until_ms: u64,
    context: &RequestContext,
) -> Result<String, PlatformError> {
    let left_ms = retry::left_ms(until_ms).ok_or(PlatformError::Timeout)?;
    socket::exchange(&context.port, address, batch, left_ms, RESPONSE_BYTES_MAX).await
}

fn outage(error: PlatformError) -> Outage {
    match error {
        PlatformError::Timeout => Outage::StoreTimeout,
        PlatformError::TooLarge | PlatformError::Protocol => Outage::StoreBadResponse,
        PlatformError::Unreachable | PlatformError::Rejected => Outage::StoreUnreachable,
    }
}

const RESPONSE_BYTES_MAX: u32 = 64 * 1024;
