//! Tests of when streams end.

use super::*;
use crate::config::fixtures::policy_with;
use crate::forward::permit::{Degraded, Target};
use crate::policy::Policy;
use crate::time::UnixSeconds;
use crate::token::record::TokenRecord;
use crate::token_hash::TokenHash;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

fn policy() -> Policy {
    let routes = r#"[{"name":"a","path":"/a","access":"protected","on_store_outage":"signature",
        "stream_seconds_max":3600,"stream_recheck_seconds":1}]"#;
    policy_with(&[("routes", routes)])
}

/// Returns the bounds of a stream whose token expires in 60 s.
fn bounds(policy: &Policy) -> StreamBounds {
    let record = TokenRecord {
        sub: "alice".into(),
        aud: Some("api".into()),
        exp: Some(NOW.0 + 60),
        ..TokenRecord::default()
    };
    let claims = record.claims(&policy.issuers[0]).unwrap();
    let hash = TokenHash::of("token");
    let permit = Permit {
        route: &policy.routes[0],
        target: Target::Auth(policy.auth.as_ref().unwrap()),
        policy,
        verified: Some(Rc::new(VerifiedToken::new(&policy.keys, hash, 0, claims))),
        cacheable: false,
        degraded: Degraded::default(),
    };
    permit.stream_bounds(NOW.0 * 1000).unwrap()
}

#[test]
fn stream_lasts_as_long_as_its_token_opens_requests() {
    let policy = policy();
    let bounds = bounds(&policy);
    let leeway_seconds = policy.issuers[0].leeway_seconds;
    assert!(leeway_seconds > 0);
    let last_ms = (NOW.0 + 60 + leeway_seconds) * 1000;
    assert_eq!(bounds.end_by_time(last_ms - 1), None);
    let expired = StreamEnd::Refused(Denial::TokenExpired.into());
    assert_eq!(bounds.end_by_time(last_ms), Some(expired));
}

#[test]
fn stream_that_can_not_be_rechecked_again_ends() {
    let policy = policy();
    let bounds = bounds(&policy);
    let outage = Outage::StoreUnreachable;
    assert_eq!(bounds.end_by_reply(Err(outage), true), None, "its signature suffices");
    let end = StreamEnd::Refused(outage.into());
    assert_eq!(bounds.end_by_reply(Err(outage), false), Some(end));
}

#[test]
fn anonymous_stream_is_never_rechecked() {
    let bounds = |members: &str| {
        let routes = format!(r#"[{{"name":"a","path":"/a","access":"optional",{members}}}]"#);
        let policy = policy_with(&[("routes", &routes)]);
        let permit = Permit {
            route: &policy.routes[0],
            target: Target::Upstream(&policy.upstream),
            policy: &policy,
            verified: None,
            cacheable: false,
            degraded: Degraded::default(),
        };
        permit.stream_bounds(NOW.0 * 1000)
    };
    assert!(bounds(r#""stream_recheck_seconds":1"#).is_none());
    let both = bounds(r#""stream_recheck_seconds":1,"stream_seconds_max":60"#).unwrap();
    assert_eq!((both.recheck(), both.pause_ms(NOW.0 * 1000)), (None, 60_000));
    assert_eq!(both.end_by_time((NOW.0 + 60) * 1000), Some(StreamEnd::TimeOver));
}
