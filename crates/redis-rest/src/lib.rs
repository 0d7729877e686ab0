//! The Upstash REST protocol for Redis, as values. No I/O and no clock.
//!
//! A client encodes [`Command`]s as the JSON of `POST /pipeline`, and decodes [`Reply`]s from the
//! response. A server does the reverse, and uses RESP2 towards Redis.
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
pub use resp2::{
    Decoder, ProtocolError, TOO_LARGE, encode_resp2, encode_resp2_command, resp2_bytes,
};
