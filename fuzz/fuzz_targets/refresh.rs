//! A client's refresh request, and an auth service's response.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{CapturedResponse, LeaseState, Refresh, RequestHead, Revocation, StoreKeys};
use redis_rest::Reply;

fuzz_target!(|text: &str| {
    let keys = StoreKeys::new("pc");
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    if let Some(head) = RequestHead::parse(head) {
        let _ = Revocation::read(&head, body);
        if let Some(refresh) = Refresh::read(&head, body, &keys) {
            let turn = |held: Reply| refresh.lease_state("me", &[Reply::Null, held, Reply::Null]);
            assert!(matches!(turn(Reply::text("Lme")), Some(LeaseState::First { .. })));
            let _ = turn(Reply::text(text));
            // A stored response opens for the same request.
            let answer = CapturedResponse { fields: Vec::new(), body: body.to_owned() };
            if let Some(commands) = refresh.store_response(&answer, "f", [0; 12], 10, &keys) {
                let value = commands[0].words()[2].clone();
                let Some(LeaseState::Replay { answer: again, .. }) = turn(Reply::Bulk(value))
                else {
                    panic!("it is not given again");
                };
                assert_eq!(again, answer);
            }
        }
    }
    let _ = CapturedResponse::parse(text);
});
