//! A refresh as a client asks for it, and an answer as an origin gives it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{Answered, Head, Keys, Refresh, Revocation, Turn};
use redis_rest::Reply;

fuzz_target!(|text: &str| {
    let keys = Keys::new("pc");
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    if let Some(head) = Head::parse(head) {
        let _ = Revocation::read(&head, body);
        if let Some(refresh) = Refresh::read(&head, body, &keys) {
            let turn = |held: Reply| refresh.turn("me", &[Reply::Null, held, Reply::Null]);
            assert!(matches!(turn(Reply::text("Lme")), Some(Turn::First { .. })));
            let _ = turn(Reply::text(text));
            // What is kept for one who asks is given to whoever asks the same.
            let answer = Answered { fields: Vec::new(), body: body.to_owned() };
            if let Some(commands) = refresh.keep(&answer, "f", [0; 12], 10, &keys) {
                let value = commands[0].words()[2].clone();
                let Some(Turn::Replay { answer: again, .. }) = turn(Reply::Bulk(value)) else {
                    panic!("it is not given again");
                };
                assert_eq!(again, answer);
            }
        }
    }
    let _ = Answered::parse(text);
});
