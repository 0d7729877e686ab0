//! The Upstash REST protocol for Redis, as values.
//!
//! A client turns [`Command`]s into the JSON of `POST /pipeline` and reads [`Reply`]s from the answer;
//! a server does the reverse, and speaks RESP2 to the Redis behind it. This crate does no I/O and has no
//! clock.
//!
//! ```
//! use redis_rest::{Command, Reply, decode_replies, encode_pipeline};
//!
//! let body = encode_pipeline(&[Command::new("GET").arg("greeting")]);
//! assert_eq!(body, r#"[["GET","greeting"]]"#);
//! let replies = decode_replies(r#"[{"result":"hello"}]"#, 1).unwrap();
//! assert_eq!(replies, [Reply::text("hello")]);
//! ```

mod command;
mod reply;
mod resp2;

pub use command::{
    BodyBounds, Command, CommandError, decode_command, decode_pipeline, encode_pipeline,
};
pub use reply::{Encoding, Reply, ReplyError, decode_replies, encode_replies, encode_reply};
pub use resp2::{Decoder, Garbled, TOO_LARGE, encode_resp2, encode_resp2_command};
