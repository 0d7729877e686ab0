//! The store. One POST, or one batch to memcached, has everything that a verdict needs.

use crate::context::RequestContext;
use crate::dependency::breakers::{Dependency, Health};
use crate::dependency::{call, retry};
use crate::platform::protocol::{ContentType, PlatformError, TextBody, TextRequest, TextResponse};
use crate::platform::{clock, socket};
use portcullis_core::{
    COUNTING_SCRIPTS, CountingScript, KEY_LOCKING, Outage, StoreAddress, StoreResult,
};
use redis_rest::{Command, Reply, decode_replies, encode_pipeline};

/// Returns the results of `commands`, in order. If the store fails, or takes longer than
/// `store.timeout_ms`, each result is an outage, and the store is not queried again for the same
/// request.
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

/// Returns the replies to `commands`. If the store does not know a limit's script yet, sends it
/// in a second request within the same deadline, `store.timeout_ms`.
///
/// # Errors
///
/// [`Outage::StoreTimeout`], [`Outage::StoreUnreachable`], also without a call while the breaker is
/// open, and [`Outage::StoreBadResponse`] for another status than 200 or a reply of over 64 KiB. An
/// error of a single command is a reply.
pub async fn execute(commands: &[Command], context: &RequestContext) -> Result<Vec<Reply>, Outage> {
    execute_with(commands, Health::Failed(Outage::StoreBadResponse), context).await
}

/// Does what [`execute`] does. `if_all_fail` is what it shows about the store if it replies to
/// every read with an error. A read of several tokens fails if one node of a Cluster is down.
pub async fn execute_with(
    commands: &[Command],
    if_all_fail: Health,
    context: &RequestContext,
) -> Result<Vec<Reply>, Outage> {
    let work = async {
        match replies(commands, context).await {
            Ok(replies) if all_reads_failed(commands, &replies) => (if_all_fail, Ok(replies)),
            Ok(replies) => (Health::Good, Ok(replies)),
            Err(Failure { outage, health, .. }) => (health, Err(outage)),
        }
    };
    call::call(Dependency::Store, context.policy.timeouts.store_ms, work, context).await?
}

/// Writes data that no response depends on, within `store.timeout_ms`. Returns whether the store
/// accepted every command. The result does not count for the circuit breaker, which protects
/// verdicts; while that is open, nothing is written.
pub async fn write(commands: &[Command], context: &RequestContext) -> bool {
    write_for_replies(commands, context).await.is_some()
}

/// Does what [`write`] does. Returns the replies, or `None` if the store did not accept every
/// command.
pub async fn write_for_replies(
    commands: &[Command],
    context: &RequestContext,
) -> Option<Vec<Reply>> {
    let replies = write_for_all_replies(commands, context).await?;
    let has_failed = replies.iter().any(|reply| matches!(reply, Reply::Error(_)));
    (!has_failed).then_some(replies)
}

/// Does what [`write`] does. Returns the replies, with those of commands that the store did not
/// accept, or `None` if it did not reply.
pub async fn write_for_all_replies(
    commands: &[Command],
    context: &RequestContext,
) -> Option<Vec<Reply>> {
    if context.isolate.breakers.is_open(Dependency::Store, clock::now_ms()) {
        return None;
    }
    send_in_time(commands, RESPONSE_BYTES_MAX, context).await
}

/// Returns the reply to a command that no verdict depends on, of at most `bytes_max`; `None` if
/// there is none within `store.timeout_ms`. It counts for no circuit breaker, and waits for none.
pub async fn read(command: Command, bytes_max: u32, context: &RequestContext) -> Option<Reply> {
    send_in_time(&[command], bytes_max, context).await?.pop()
}

async fn send_in_time(
    commands: &[Command],
    bytes_max: u32,
    context: &RequestContext,
) -> Option<Vec<Reply>> {
    let until_ms = clock::now_ms() + u64::from(context.policy.timeouts.store_ms);
    send_bounded(commands, until_ms, bytes_max, context).await.ok()
}

/// Returns whether a value is short enough to be read back: 40 KiB in JSON. A store may escape more
/// than JSON requires (RFC 8259 section 7), so each byte counts as its longest escape.
pub fn fits_reply(value: &str) -> bool {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'/' => 2,
        b'<' | b'>' | b'&' | b'\'' | b'+' | 0..0x20 | 0x7f => 6,
        0x20..0x7f => 1,
        // Two bytes or more are one escape of six, or two for a code point of four bytes.
        0x80.. => 3,
    };
    value.bytes().map(escaped).sum::<usize>() <= VALUE_BYTES_MAX
}

/// The reason why the store returned no replies.
struct Failure {
    outage: Outage,
    /// What the failure shows about the store.
    health: Health,
    /// Whether all further calls of the same request would fail, too.
    is_final: bool,
}

async fn replies(commands: &[Command], context: &RequestContext) -> Result<Vec<Reply>, Failure> {
    let until_ms = clock::now_ms() + u64::from(context.policy.timeouts.store_ms);
    let has_plain_scripts = &context.isolate.has_plain_scripts;
    let sent = match has_plain_scripts.get() {
        false => send(commands, until_ms, context).await,
        true => {
            let plain: Vec<Command> = commands.iter().cloned().map(with_plain_name).collect();
            send(&plain, until_ms, context).await
        }
    };
    let mut replies = sent.inspect_err(|failure| context.calls_used_up.set(failure.is_final))?;
    // The first time with key locking, and the second time without it if the store refuses that.
    for _ in 0..2 {
        let unknown = |(reply, command): (&Reply, &Command)| {
            wants_script(reply).then(|| with_script(command, has_plain_scripts.get()))
        };
        let scripts: Vec<Command> = replies.iter().zip(commands).filter_map(unknown).collect();
        if scripts.is_empty() {
            break;
        }
        let mut again = send(&scripts, until_ms, context).await?.into_iter();
        for reply in replies.iter_mut().filter(|reply| wants_script(reply)) {
            *reply = again.next().ok_or(Outage::StoreBadResponse)?;
        }
        if !replies.iter().any(refuses_key_locking) {
            break;
        }
        has_plain_scripts.set(true);
    }
    Ok(replies)
}

/// Returns whether a script did not run, because the store does not know it or refuses it with key
/// locking.
fn wants_script(reply: &Reply) -> bool {
    reply.is_noscript() || refuses_key_locking(reply)
}

/// Returns whether the store refuses the first line of a script. Redis before 7.0 can't compile
/// it, and later ones do not know the flag.
fn refuses_key_locking(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(text) if text.contains("allow-key-locking")
        || text.contains("unexpected symbol near '#'"))
}

/// Returns the command with the name of the script without key locking.
fn with_plain_name(mut command: Command) -> Command {
    if let Some(script) = script_of(&command) {
        command.replace(1, script.sha1.into());
    }
    command
}

/// Returns whether there were reads and all of them failed. Limit commands are ignored: a full
/// Redis, or a replica, can still be read.
fn all_reads_failed(commands: &[Command], replies: &[Reply]) -> bool {
    let mut reads = commands
        .iter()
        .zip(replies)
        .filter(|(command, _)| matches!(command.name(), "GET" | "MGET"));
    let first = reads.next().map(|(_, reply)| reply);
    matches!(first, Some(Reply::Error(_)))
        && reads.all(|(_, reply)| matches!(reply, Reply::Error(_)))
}

/// Returns the script that a command calls by its name with key locking.
fn script_of(command: &Command) -> Option<&'static CountingScript> {
    COUNTING_SCRIPTS.iter().find(|script| command.text(1) == Some(script.locking_sha1))
}

/// Returns the command with the script instead of its hash.
fn with_script(command: &Command, is_plain: bool) -> Command {
    let first_line = if is_plain { "" } else { KEY_LOCKING };
    let script = script_of(command).map_or("", |script| script.text);
    let mut whole = Command::new("EVAL").arg(format!("{first_line}{script}"));
    for word in command.words().iter().skip(2) {
        whole = whole.arg_bytes(word.as_slice());
    }
    whole
}

async fn send(
    commands: &[Command],
    until_ms: u64,
    context: &RequestContext,
) -> Result<Vec<Reply>, Failure> {
    send_bounded(commands, until_ms, RESPONSE_BYTES_MAX, context).await
}

async fn send_bounded(
    commands: &[Command],
    until_ms: u64,
    bytes_max: u32,
    context: &RequestContext,
) -> Result<Vec<Reply>, Failure> {
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
        bytes_max,
    };
    match retry::text(request, until_ms, context).await {
        Ok(TextResponse { status: 200, text }) => {
            Ok(decode_replies(&text, commands.len()).map_err(|_| Outage::StoreBadResponse)?)
        }
        Ok(_) => Err(Outage::StoreBadResponse.into()),
        Err(error) => Err(error.into()),
    }
}

async fn send_to_memcached(
    address: &memcached::Address,
    commands: &[Command],
    until_ms: u64,
    context: &RequestContext,
) -> Result<Vec<Reply>, Failure> {
    let batch =
        String::from_utf8(memcached::encode(commands)).map_err(|_| Outage::StoreBadResponse)?;
    let mut reply = exchange(address, &batch, until_ms, context).await;
    if matches!(reply, Err(PlatformError::Unreachable)) && retry::pause(until_ms, context).await {
        reply = exchange(address, &batch, until_ms, context).await;
    }
    let replies = memcached::decode(commands, reply?.as_bytes());
    Ok(replies.map_err(|_| Outage::StoreBadResponse)?)
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

impl From<Outage> for Failure {
    fn from(outage: Outage) -> Self {
        Self { outage, health: Health::Failed(outage), is_final: false }
    }
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Self {
        let inconclusive = |outage| Self {
            outage,
            health: Health::Inconclusive,
            is_final: error == PlatformError::Rejected,
        };
        match error {
            PlatformError::Timeout => Outage::StoreTimeout.into(),
            PlatformError::Protocol => Outage::StoreBadResponse.into(),
            PlatformError::Unreachable => Outage::StoreUnreachable.into(),
            // The values of one caller are too large. That must not open the breaker for other
            // callers.
            PlatformError::TooLarge => inconclusive(Outage::StoreBadResponse),
            // The request has used up its calls, which shows nothing about the store.
            PlatformError::Rejected => inconclusive(Outage::StoreUnreachable),
        }
    }
}

const RESPONSE_BYTES_MAX: u32 = 64 * 1024;
/// The longest value in a reply. The rest of the reply is for the markers, the limits and the
/// protocol.
const VALUE_BYTES_MAX: usize = 40 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_fits_a_reply_even_if_it_is_escaped() {
        assert!(fits_reply(&"a".repeat(VALUE_BYTES_MAX)));
        assert!(!fits_reply(&"a".repeat(VALUE_BYTES_MAX + 1)));
        for (text, escape) in [
            ("\"", r#"\""#),
            ("<", r"\u003c"),
            ("\u{e9}", r"\u00e9"),
            ("\u{1f600}", r"\ud83d\ude00"),
        ] {
            let fits = VALUE_BYTES_MAX / escape.len();
            assert!(!fits_reply(&text.repeat(fits + 1)), "{text}");
        }
    }
}
