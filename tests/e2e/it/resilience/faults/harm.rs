//! The faults of a store, an auth service or an upstream, and the expected result of each.

use super::scene::Seen;
use crate::support::proxy::{Fault, fixed_response};

/// Asserts the result of a fault: an existing response is forwarded, and a missing one is replaced
/// by the edge's own.
pub fn judge_harm(fault: &str, seen: &Seen, (good, failed, gone): (u16, u16, u16)) {
    let expect = match fault {
        "does nothing wrong" | "answers 300 ms late" => seen.count(good),
        "answers 429" => seen.count(429),
        "answers 500" => seen.count(failed),
        "answers half" => seen.cut + seen.count(gone),
        _ => seen.count(gone),
    };
    assert_eq!(expect, seen.total(), "{fault}: {}", seen.shown());
}

/// Returns the faults of auth service and upstream.
pub fn harm() -> Vec<(&'static str, Fault)> {
    vec![
        ("does nothing wrong", Fault::None),
        ("refuses connections", Fault::Refuses),
        ("resets connections", Fault::Resets),
        ("hangs", Fault::Hangs),
        ("answers 300 ms late", Fault::Late { ms: 300 }),
        ("answers half", Fault::Half),
        ("answers bytes that are not HTTP", Fault::Responds(b"\x00\xff garbage \r\n\r\n".to_vec())),
        ("answers 429", fixed_response("429 Too Many Requests", "text/plain", "slow down")),
        ("answers 500", fixed_response("500 Internal Server Error", "text/plain", "oops")),
    ]
}

/// Returns the faults of a store whose timeout is `deadline_ms`.
pub fn store_faults(deadline_ms: u64) -> Vec<(&'static str, Fault)> {
    let json = |status, body| fixed_response(status, "application/json", body);
    vec![
        ("does nothing wrong", Fault::None),
        ("refuses connections", Fault::Refuses),
        ("resets connections", Fault::Resets),
        ("hangs", Fault::Hangs),
        ("answers 100 ms late", Fault::Late { ms: 100 }),
        ("answers too late", Fault::Late { ms: deadline_ms + 150 }),
        ("answers half", Fault::Half),
        ("answers garbage", fixed_response("200 OK", "text/html", "<html>it works</html>")),
        ("answers bytes that are not HTTP", Fault::Responds(b"\x00\xff garbage \r\n\r\n".to_vec())),
        ("answers 401", json("401 Unauthorized", r#"{"error":"Unauthorized"}"#)),
        ("answers 429", json("429 Too Many Requests", r#"{"error":"slow down"}"#)),
        ("answers 500", fixed_response("500 Internal Server Error", "text/plain", "oops")),
        ("says NOSCRIPT for ever", Fault::NoScript),
    ]
}
