//! The store: one POST for everything that a verdict needs.

use crate::breakers::{self, Dependency, Health};
use crate::host::{self, ContentType, Fault, TextRequest};
use crate::{Arrival, retry};
use portcullis_core::{LIMIT_SCRIPT, Outage, Policy, StoreAddress, StoreResult};
use redis_rest::{Command, Reply, decode_replies, encode_pipeline};

/// What the store says to `commands`, in their order; no trip for no commands. A store that failed this
/// request once is not asked by it again.
pub async fn ask(
    policy: &'static Policy,
    commands: &[Command],
    arrival: &Arrival,
) -> Vec<StoreResult> {
    if commands.is_empty() {
        return Vec::new();
    }
    let begun_ms = host::now_ms();
    let outcome = match arrival.trace.store_out.get() {
        Some(outage) => Err(outage),
        None => trip(policy, commands, arrival).await,
    };
    let trace = &arrival.trace;
    trace.store_ms.set(trace.store_ms.get() + host::now_ms().saturating_sub(begun_ms));
    match outcome {
        Ok(replies) => {
            let results = replies.into_iter().map(|reply| match reply {
                Reply::Error(_) => StoreResult::Out(Outage::StoreBadResponse),
                reply => StoreResult::Reply(reply),
            });
            results.collect()
        }
        Err(outage) => {
            trace.store_out.set(Some(outage));
            commands.iter().map(|_| StoreResult::Out(outage)).collect()
        }
    }
}

/// The replies to `commands`. Where the store has not met the limit's script yet, a second trip brings it,
/// once, within the same deadline.
pub async fn trip(
    policy: &'static Policy,
    commands: &[Command],
    arrival: &Arrival,
) -> Result<Vec<Reply>, Outage> {
    let deadline_ms = policy.timeouts.store_ms;
    let work = async {
        let outcome = replies(policy, commands, arrival).await;
        let health = match &outcome {
            Ok(replies) if no_read_works(commands, replies) => {
                Health::Failed(Outage::StoreBadResponse)
            }
            Ok(_) => Health::Good,
            Err(outage) => Health::Failed(*outage),
        };
        (health, outcome)
    };
    breakers::call(Dependency::Store, policy, arrival, deadline_ms, work).await?
}

async fn replies(
    policy: &'static Policy,
    commands: &[Command],
    arrival: &Arrival,
) -> Result<Vec<Reply>, Outage> {
    let until_ms = host::now_ms() + u64::from(policy.timeouts.store_ms);
    let mut replies = post(policy, commands, arrival, until_ms).await?;
    let unmet = |(reply, command): (&Reply, &Command)| reply.is_noscript().then(|| whole(command));
    let scripts: Vec<Command> = replies.iter().zip(commands).filter_map(unmet).collect();
    if !scripts.is_empty() {
        let mut again = post(policy, &scripts, arrival, until_ms).await?.into_iter();
        for reply in replies.iter_mut().filter(|reply| reply.is_noscript()) {
            *reply = again.next().ok_or(Outage::StoreBadResponse)?;
        }
    }
    Ok(replies)
}

/// Whether nothing of what was to be read could be. A limit that can't be counted says nothing of the rest: a
/// Redis that is full, or a replica, can still be read.
fn no_read_works(commands: &[Command], replies: &[Reply]) -> bool {
    let mut reads = commands
        .iter()
        .zip(replies)
        .filter(|(command, _)| matches!(command.name(), "GET" | "MGET"));
    let first = reads.next().map(|(_, reply)| reply);
    matches!(first, Some(Reply::Error(_)))
        && reads.all(|(_, reply)| matches!(reply, Reply::Error(_)))
}

/// Tells the store something that no answer depends on: whether it has it. That says nothing of whether the
/// store is well, which is for verdicts to find out.
pub async fn tell(policy: &'static Policy, commands: &[Command], arrival: &Arrival) -> bool {
    if breakers::is_open(Dependency::Store) {
        return false;
    }
    let until_ms = host::now_ms() + u64::from(policy.timeouts.store_ms);
    let replies = post(policy, commands, arrival, until_ms).await;
    replies.is_ok_and(|replies| !replies.iter().any(|reply| matches!(reply, Reply::Error(_))))
}

/// The command that carries its script along.
fn whole(command: &Command) -> Command {
    let mut whole = Command::new("EVAL").arg(LIMIT_SCRIPT);
    for word in command.words().iter().skip(2) {
        whole = whole.arg_bytes(word.as_slice());
    }
    whole
}

async fn post(
    policy: &Policy,
    commands: &[Command],
    arrival: &Arrival,
    until_ms: u64,
) -> Result<Vec<Reply>, Outage> {
    let (url, token) = match &policy.store {
        StoreAddress::Memcached(address) => {
            return batch(address, commands, arrival, until_ms).await;
        }
        StoreAddress::Rest { url, token } => (url.join("/pipeline"), token),
    };
    let body = encode_pipeline(commands);
    let authorization = format!("Bearer {}", token.expose());
    let request = TextRequest {
        method: "POST",
        url: &url,
        request_id: &arrival.request_id,
        authorization: Some(&authorization),
        body: Some((ContentType::Json, &body)),
        deadline_ms: 0,
        bytes_max: ANSWER_BYTES_MAX,
    };
    match retry::text(request, until_ms, arrival).await {
        Ok((200, text)) => {
            decode_replies(&text, commands.len()).map_err(|_| Outage::StoreBadResponse)
        }
        Ok(_) | Err(Fault::TooLarge) => Err(Outage::StoreBadResponse),
        Err(Fault::Timeout) => Err(Outage::StoreTimeout),
        Err(Fault::Unreachable) => Err(Outage::StoreUnreachable),
    }
}

/// The same by memcached's own protocol.
async fn batch(
    address: &memcached::Address,
    commands: &[Command],
    arrival: &Arrival,
    until_ms: u64,
) -> Result<Vec<Reply>, Outage> {
    let words =
        String::from_utf8(memcached::encode(commands)).map_err(|_| Outage::StoreBadResponse)?;
    let mut answer = exchange(address, &words, until_ms).await;
    if answer == Err(Fault::Unreachable) && retry::pause(until_ms, arrival).await {
        answer = exchange(address, &words, until_ms).await;
    }
    match answer {
        Ok(text) => {
            memcached::decode(commands, text.as_bytes()).map_err(|_| Outage::StoreBadResponse)
        }
        Err(Fault::TooLarge) => Err(Outage::StoreBadResponse),
        Err(Fault::Timeout) => Err(Outage::StoreTimeout),
        Err(Fault::Unreachable) => Err(Outage::StoreUnreachable),
    }
}

async fn exchange(
    address: &memcached::Address,
    words: &str,
    until_ms: u64,
) -> Result<String, Fault> {
    let left_ms = retry::left_ms(until_ms).ok_or(Fault::Timeout)?;
    host::exchange(address, words, left_ms, ANSWER_BYTES_MAX).await
}

const ANSWER_BYTES_MAX: u32 = 64 * 1024;
