//! Renewals of clearances.

use super::*;
use crate::check::renewal::Renewal;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn renewal_follows_the_markers_and_the_record() {
    let policy = policy();
    with_check(&policy, "POST", "/api/x", &token("api:write"), |check| {
        let verified = verify(&check, true).unwrap();
        let renewal = |requirement, values: Vec<Reply>| {
            policy.renewal(&verified, requirement, Reply::Array(values), NOW)
        };
        let (full, marker_only) = (TokenRequirement::Record, TokenRequirement::NotRevoked);
        let query = policy.renewal_query(&verified, full);
        assert!(query.words().last().unwrap().starts_with(b"pc:token:"));
        let markers = query.words().len() - 2;
        let clean = || vec![Reply::Null; markers];
        let with = |last: Reply| {
            let mut values = clean();
            values.push(last);
            values
        };
        assert_eq!(renewal(marker_only, clean()), Renewal::Cleared);
        assert_eq!(renewal(full, with(record())), Renewal::Cleared);
        assert_eq!(renewal(full, with(Reply::Null)), Renewal::Ended);
        assert_eq!(renewal(full, with(Reply::text("not a record"))), Renewal::Ended);
        assert_eq!(renewal(full, clean()), Renewal::Unknown, "a value is missing");
        assert_eq!(renewal(marker_only, with(Reply::Null)), Renewal::Unknown);
        let mut revoked = with(record());
        revoked[0] = Reply::text(&(NOW.0 + 1).to_string());
        assert_eq!(renewal(full, revoked), Renewal::Revoked(RevocationMarker::Subject));
        let error = policy.renewal(&verified, full, Reply::Error("ERR".into()), NOW);
        assert_eq!(error, Renewal::Unknown);
    });
}
