//! RESP2, Redis's own protocol: encodes commands and replies, and decodes replies.
//!
//! Encoder and decoder stay in one file, however long: they are the two halves of one wire format,
//! and the tests check each against the other.

use crate::{Command, Reply};
use std::fmt;

/// Appends an encoded command.
pub fn encode_resp2_command(command: &Command, out: &mut Vec<u8>) {
    line(out, b'*', &command.words().len().to_string());
    command.words().iter().for_each(|argument| bulk(out, argument));
}

/// Appends an encoded reply. Line breaks in a status or an error become spaces.
pub fn encode_resp2(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Array(replies) => {
            line(out, b'*', &replies.len().to_string());
            replies.iter().for_each(|reply| encode_resp2(reply, out));
        }
        Reply::Bulk(bytes) => bulk(out, bytes),
        Reply::Error(text) => line(out, b'-', text),
        Reply::Integer(number) => line(out, b':', &number.to_string()),
        Reply::Null => out.extend(b"$-1\r\n"),
        Reply::Status(text) => line(out, b'+', text),
    }
}

/// Returns the length of an encoded reply, in bytes.
pub fn resp2_bytes(reply: &Reply) -> usize {
    let line = |text: &str| text.len() + 3;
    match reply {
        Reply::Array(replies) => {
            line(&replies.len().to_string()) + replies.iter().map(resp2_bytes).sum::<usize>()
        }
        Reply::Bulk(bytes) => line(&bytes.len().to_string()) + bytes.len() + 2,
        Reply::Error(text) | Reply::Status(text) => line(text),
        Reply::Integer(number) => line(&number.to_string()),
        Reply::Null => 5,
    }
}

/// Appends a line. Replaces line breaks in its text, which would start another reply.
fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend(b"\r\n");
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    line(out, b'$', &bytes.len().to_string());
    out.extend(bytes);
    out.extend(b"\r\n");
}

/// A decoder for replies that arrive in pieces.
///
/// A script can return an error that is not UTF-8, deeply nested arrays, or a huge reply. The
/// decoder truncates such replies and still finds the next one, which may belong to another
/// request.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// The position of the first byte that is not decoded yet.
    position: usize,
    /// How many bytes of a dropped string are still to come.
    skip: usize,
    /// Whether the rest of the current line is dropped.
    skip_line: bool,
    /// The incomplete arrays, outermost first.
    open: Vec<OpenArray>,
    /// The size of the current reply so far.
    bytes: usize,
    /// The size of the last complete reply.
    last_bytes: usize,
}

/// An array without all of its replies.
struct OpenArray {
    replies: Vec<Reply>,
    missing: usize,
}

/// Bytes that are not RESP2. The bytes after them can't be decoded either.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProtocolError;

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not RESP2")
    }
}

impl std::error::Error for ProtocolError {}

impl Decoder {
    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.position > 0 && self.position >= self.buffer.len() / 2 {
            self.buffer.drain(..self.position);
            self.position = 0;
            // Releases the memory of a large reply.
            if self.buffer.capacity() > BUFFER_BYTES && self.buffer.len() < BUFFER_BYTES / 2 {
                self.buffer.shrink_to(BUFFER_BYTES);
            }
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next reply, or `None` if it is incomplete.
    ///
    /// A reply of more than `bytes_max` in memory is replaced by the error [`TOO_LARGE`]. What is
    /// nested in more than 64 arrays is replaced by an error, too.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] if the bytes are not RESP2. The decoder can't be used any longer then.
    pub fn next(&mut self, bytes_max: usize) -> Result<Option<Reply>, ProtocolError> {
        loop {
            if self.skip > 0 {
                let skipped = self.skip.min(self.buffer.len() - self.position);
                self.position += skipped;
                self.skip -= skipped;
                if self.skip > 0 {
                    return Ok(None);
                }
            }
            if self.skip_line && !self.skip_to_line_end() {
                return Ok(None);
            }
            let Some(mut reply) = self.element(bytes_max)? else { return Ok(None) };
            // A complete reply may complete the array that contains it, and so on.
            loop {
                let depth = self.open.len();
                let Some(open) = self.open.last_mut() else {
                    let bytes = std::mem::take(&mut self.bytes);
                    if bytes > bytes_max {
                        self.last_bytes = 0;
                        return Ok(Some(Reply::Error(TOO_LARGE.to_owned())));
                    }
                    self.last_bytes = bytes;
                    return Ok(Some(reply));
                };
                // Beyond the bounds, replies are counted and dropped.
                if self.bytes <= bytes_max && depth <= DEPTH_MAX {
                    open.replies.push(reply);
                }
                open.missing -= 1;
                if open.missing > 0 {
                    break;
                }
                let replies = self.open.pop().map(|open| open.replies).unwrap_or_default();
                reply = if depth > DEPTH_MAX {
                    Reply::Error("ERR the reply is nested too deeply".to_owned())
                } else {
                    Reply::Array(replies)
                };
            }
        }
    }

    /// Handles an incomplete line. A text over the bound is truncated and returned.
    fn incomplete_line(&mut self) -> Result<Option<Reply>, ProtocolError> {
        let rest = self.buffer.get(self.position..).unwrap_or_default();
        match rest.split_first() {
            Some((kind @ (b'+' | b'-'), text)) if rest.len() > LINE_BYTES_MAX => {
                let text = lossy(text);
                let reply = if *kind == b'+' { Reply::Status(text) } else { Reply::Error(text) };
                self.bytes += ELEMENT_BYTES + rest.len();
                (self.position, self.skip_line) = (self.buffer.len(), true);
                Ok(Some(reply))
            }
            Some((b'+' | b'-', _)) | None => Ok(None),
            Some(_) if rest.len() > NUMBER_BYTES_MAX => Err(ProtocolError),
            Some(_) => Ok(None),
        }
    }

    /// Drops bytes up to the end of the line. Returns whether the end was found.
    fn skip_to_line_end(&mut self) -> bool {
        let rest = self.buffer.get(self.position..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n');
        self.position += end.map_or(rest.len(), |end| end + 1);
        self.skip_line = end.is_none();
        end.is_some()
    }

    /// Returns the size of the last complete reply in memory, in bytes; 0 if it was too large.
    pub fn last_bytes(&self) -> usize {
        self.last_bytes
    }

    /// Returns the next value. Opens arrays that are not empty, and goes on with their elements.
    fn element(&mut self, bytes_max: usize) -> Result<Option<Reply>, ProtocolError> {
        loop {
            let rest = self.buffer.get(self.position..).unwrap_or_default();
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                return self.incomplete_line();
            };
            let line =
                rest.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(ProtocolError)?;
            let (kind, text) = line.split_first().ok_or(ProtocolError)?;
            let after = self.position + end + 1;
            let reply = match kind {
                b'+' => Reply::Status(lossy(text)),
                b'-' => Reply::Error(lossy(text)),
                b':' => Reply::Integer(number(text)?),
                b'$' => match usize::try_from(number(text)?) {
                    Err(_) => Reply::Null,
                    Ok(length) if length > BULK_BYTES_MAX => return Err(ProtocolError),
                    Ok(length) if self.bytes + ELEMENT_BYTES + length > bytes_max => {
                        self.bytes += ELEMENT_BYTES + length;
                        (self.position, self.skip) = (after, length + 2);
                        return Ok(Some(Reply::Null));
                    }
                    Ok(length) => {
                        let Some(terminated) = self.buffer.get(after..after + length + 2) else {
                            return Ok(None);
                        };
                        let bytes = terminated.strip_suffix(b"\r\n").ok_or(ProtocolError)?.to_vec();
                        self.bytes += ELEMENT_BYTES + length;
                        self.position = after + length + 2;
                        return Ok(Some(Reply::Bulk(bytes)));
                    }
                },
                b'*' => match usize::try_from(number(text)?) {
                    Err(_) => Reply::Null,
                    Ok(0) => Reply::Array(Vec::new()),
                    Ok(_) if self.open.len() >= OPEN_MAX => return Err(ProtocolError),
                    Ok(missing) => {
                        self.position = after;
                        // Memory is reserved for a few elements instead of the announced length.
                        self.bytes += 4 * ELEMENT_BYTES;
                        self.open.push(OpenArray { replies: Vec::new(), missing });
                        continue;
                    }
                },
                _ => return Err(ProtocolError),
            };
            self.bytes += ELEMENT_BYTES + text.len();
            self.position = after;
            return Ok(Some(reply));
        }
    }
}

/// The error in place of a reply that is too large. The command itself ran.
pub const TOO_LARGE: &str = "ERR the reply is too large";

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn number(text: &[u8]) -> Result<i64, ProtocolError> {
    // The same bound as for an incomplete line.
    if text.len() + 2 > NUMBER_BYTES_MAX {
        return Err(ProtocolError);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(ProtocolError)
}

/// Deeper than any reply except a script's.
const DEPTH_MAX: usize = 64;
/// The size of a value besides its bytes.
const ELEMENT_BYTES: usize = 32;
/// Far above Redis's own bound, and small enough for sums without overflow.
const BULK_BYTES_MAX: usize = usize::MAX >> 2;
/// Redis itself nests less deeply.
const OPEN_MAX: usize = 10_001;
const LINE_BYTES_MAX: usize = 1 << 20;
/// Longer than any number.
const NUMBER_BYTES_MAX: usize = 64;
/// A larger buffer shrinks once it is mostly empty.
const BUFFER_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests;
