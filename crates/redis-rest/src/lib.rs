//! The Upstash REST protocol for Redis, as values. No I/O and no clock.
//!
//! A client encodes [`Command`]s as the JSON of `POST /pipeline`, and decodes [`Reply`]s from the
//! response. A server does the reverse, and uses RESP2 towards Redis.
//!
//! # A client
//!
//! ```
//! use redis_rest::{Command, Reply, decode_replies, encode_pipeline};
//!
//! let body = encode_pipeline(&[Command::new("GET").arg("greeting")]);
//! assert_eq!(body, r#"[["GET","greeting"]]"#);
//! let replies = decode_replies(r#"[{"result":"hello"}]"#, 1).unwrap();
//! assert_eq!(replies, [Reply::text("hello")]);
//! ```
//!
//! # A server
//!
//! ```
//! use redis_rest::{BodyBounds, Decoder, Encoding, decode_pipeline, encode_replies};
//! use redis_rest::encode_resp2_command;
//!
//! let bounds = BodyBounds { commands_max: 100, words_max: 1000 };
//! let commands = decode_pipeline(br#"[["GET","greeting"]]"#, bounds).unwrap();
//! let mut to_redis = Vec::new();
//! encode_resp2_command(&commands[0], &mut to_redis);
//! assert_eq!(to_redis, b"*2\r\n$3\r\nGET\r\n$8\r\ngreeting\r\n");
//!
//! // Redis's reply may come in pieces.
//! let mut decoder = Decoder::default();
//! decoder.push(b"$5\r\nhe");
//! assert_eq!(decoder.next(1024), Ok(None));
//! decoder.push(b"llo\r\n");
//! let reply = decoder.next(1024).unwrap().unwrap();
//!
//! let mut response = Vec::new();
//! encode_replies(&[reply], Encoding::Text, &mut response).unwrap();
//! assert_eq!(response, br#"[{"result":"hello"}]"#);
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
