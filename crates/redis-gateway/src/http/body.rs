//! Reads request bodies within bounds of size, time and total memory.

use super::response::{ResponseBody, error, set_header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes};
use hyper::{Response, StatusCode, header};
use portcullis_server::RequestBody;
use redis_rest::Command;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A request's body. It holds its memory permits until it is dropped.
#[derive(Default)]
pub struct BufferedBody<'a> {
    /// The whole body, at most 10,000,000 bytes.
    pub bytes: Bytes,
    permits: Option<SemaphorePermit<'a>>,
}

impl<'a> BufferedBody<'a> {
    /// Releases the bytes, now that their commands are parsed, and keeps their memory for what is
    /// sent to Redis. Takes memory for the commands themselves: those of many short words are far
    /// larger than their body.
    ///
    /// # Errors
    ///
    /// [`BodyError::OutOfMemory`] if too little is left.
    pub fn parsed(&mut self, commands: &[Command], memory: &'a Semaphore) -> Result<(), BodyError> {
        self.bytes = Bytes::new();
        let words = commands.iter().flat_map(Command::words);
        let kib = words.map(|word| word.len() + WORD_BYTES).sum::<usize>() / 1024;
        take(memory, kib, &mut self.permits)
    }
}

/// Adds one permit for each KiB to those that are held.
fn take<'a>(
    memory: &'a Semaphore,
    kib: usize,
    held: &mut Option<SemaphorePermit<'a>>,
) -> Result<(), BodyError> {
    let kib = u32::try_from(kib).unwrap_or(u32::MAX);
    let more = memory.try_acquire_many(kib).map_err(|_| BodyError::OutOfMemory)?;
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
    }
    Ok(())
}

/// The reason why a body is rejected.
pub enum BodyError {
    /// It ended early: 400.
    Incomplete,
    /// The bodies and commands of all requests in progress take too much memory: 503.
    OutOfMemory,
    /// It has more than 10,000,000 bytes: 413.
    TooLarge,
    /// It takes more than 10 s: 408.
    TooSlow,
}

impl BodyError {
    /// Builds the response. It also closes the connection, because the rest of the body is not
    /// read.
    pub fn response(&self) -> Response<ResponseBody> {
        let mut response = match self {
            Self::Incomplete => {
                error(StatusCode::BAD_REQUEST, "ERR the request's body ended early")
            }
            Self::OutOfMemory => {
                let text = "ERR too many large requests at once";
                let mut response = error(StatusCode::SERVICE_UNAVAILABLE, text);
                set_header(response.headers_mut(), header::RETRY_AFTER, "1");
                response
            }
            Self::TooLarge => error(StatusCode::PAYLOAD_TOO_LARGE, "ERR max request size exceeded"),
            Self::TooSlow => error(StatusCode::REQUEST_TIMEOUT, "ERR the request came too slowly"),
        };
        set_header(response.headers_mut(), header::CONNECTION, "close");
        response
    }
}

/// Reads a body of at most 10,000,000 bytes within 10 s. `memory` has one permit for each KiB of
/// all bodies.
///
/// # Errors
///
/// One of the bounds is exceeded, or the body ends early.
pub async fn read(body: RequestBody, memory: &Semaphore) -> Result<BufferedBody<'_>, BodyError> {
    // Avoids the timer for the many requests without a body.
    if body.is_end_stream() {
        return Ok(BufferedBody::default());
    }
    match tokio::time::timeout(BODY_TIMEOUT, collect(body, memory)).await {
        Ok(read) => read,
        Err(_) => Err(BodyError::TooSlow),
    }
}

/// Collects a body. Reads and drops the rest of a rejected body, up to a limit.
///
/// If the connection closed while the client still sends, the client would not see the error
/// response.
async fn collect(mut body: RequestBody, memory: &Semaphore) -> Result<BufferedBody<'_>, BodyError> {
    let (mut length, mut permitted_kib) = (0_u64, 0);
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    let mut permits: Option<SemaphorePermit<'_>> = None;
    let mut error = (body.size_hint().lower() > BODY_BYTES_MAX).then_some(BodyError::TooLarge);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Incomplete)?;
        let Ok(data) = frame.into_data() else { continue };
        length += u64::try_from(data.len()).unwrap_or(u64::MAX);
        if length > BODY_BYTES_MAX {
            error.get_or_insert(BodyError::TooLarge);
        }
        if error.is_some() {
            (first, rest) = (Bytes::new(), Vec::new());
            permits = None;
            permitted_kib = 0;
            if length > DROPPED_BYTES_MAX {
                break;
            }
            continue;
        }
        // One permit for each KiB of the total, so that small frames do not take one permit each.
        let kib = length.div_ceil(1024) - permitted_kib;
        if kib > 0 {
            permitted_kib += kib;
            let kib = usize::try_from(kib).unwrap_or(usize::MAX);
            error = take(memory, kib, &mut permits).err();
        }
        // A body in a single frame is not copied.
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.extend(&first);
        }
        rest.extend(&data);
    }
    match error {
        Some(error) => Err(error),
        None if rest.is_empty() => Ok(BufferedBody { bytes: first, permits }),
        None => Ok(BufferedBody { bytes: rest.into(), permits }),
    }
}

/// The longest request body: 10 MB, as with Upstash.
const BODY_BYTES_MAX: u64 = 10_000_000;
/// The most bytes of a rejected body that are read and dropped.
const DROPPED_BYTES_MAX: u64 = 4 * BODY_BYTES_MAX;
/// What a word of a command takes beyond its bytes: its place in the list, and its allocation.
const WORD_BYTES: usize = 48;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_for_lack_of_memory_says_when_to_retry() {
        let response = BodyError::OutOfMemory.response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn commands_hold_the_memory_of_their_words() {
        let memory = Semaphore::new(20);
        let command = |words: usize| {
            let name = Command::new("MGET");
            (1..words).fold(name, |command, _| command.arg_bytes("a"))
        };
        let mut short = BufferedBody::default();
        assert!(short.parsed(&[command(20)], &memory).is_ok());
        assert_eq!(memory.available_permits(), 20, "no permit for a usual request");
        let mut long = BufferedBody::default();
        assert!(long.parsed(&[command(200), command(200)], &memory).is_ok());
        assert_eq!(memory.available_permits(), 1);
        assert!(matches!(short.parsed(&[command(50)], &memory), Err(BodyError::OutOfMemory)));
        drop(long);
        assert_eq!(memory.available_permits(), 20);
    }
}
