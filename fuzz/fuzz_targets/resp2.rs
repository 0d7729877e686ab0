//! Replies of a Redis, in arbitrary pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_rest::{Decoder, Reply, encode_resp2};

fuzz_target!(|data: &[u8]| {
    let Some((piece, bytes)) = data.split_first() else {
        return;
    };
    let whole = replies(bytes, bytes.len().max(1), 4096);
    // The pieces do not change the result.
    assert_eq!(whole, replies(bytes, usize::from(*piece).max(1), 4096));
    // A parsed reply encodes to bytes that parse to the same reply, with nothing left over.
    let written = write(&whole);
    let again = replies(&written, 7, usize::MAX >> 2);
    assert_eq!(again.len(), whole.len());
    assert_eq!(write(&again), written);
});

fn write(replies: &[Reply]) -> Vec<u8> {
    let mut bytes = Vec::new();
    replies.iter().for_each(|reply| encode_resp2(reply, &mut bytes));
    bytes
}

fn replies(bytes: &[u8], piece: usize, bytes_max: usize) -> Vec<Reply> {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next(bytes_max) {
                Ok(Some(reply)) => found.push(reply),
                Ok(None) => break,
                Err(_) => return found,
            }
        }
    }
    found
}
