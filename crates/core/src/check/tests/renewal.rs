//! Renewals of clearances.

use super::*;
use crate::check::renewal::{Renewal, RenewedToken};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn renewal_follows_the_markers_and_the_record() {
    let policy = policy();
    with_check(&policy, "POST", "/api/x", &token("api:write"), |check| {
        let token = verify(&check, true).unwrap();
        let of = |requirement| RenewedToken { token: Rc::clone(&token), requirement };
        let renewal = |requirement, values: Vec<Reply>| {
            policy.renewals(&[of(requirement)], Reply::Array(values), NOW)[0]
        };
        let (full, marker_only) = (TokenRequirement::Record, TokenRequirement::NotRevoked);
        let query = policy.renewal_query(&[of(full)]);
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
        let error = policy.renewals(&[of(full)], Reply::Error("ERR".into()), NOW);
        assert_eq!(error, [Renewal::Unknown]);
    });
}

#[test]
fn renewals_of_several_tokens_are_one_command_and_stay_apart() {
    let policy = policy();
    with_check(&policy, "POST", "/api/x", &token("api:write"), |check| {
        let token = verify(&check, true).unwrap();
        let of = |requirement| RenewedToken { token: Rc::clone(&token), requirement };
        let (full, marker_only) = (TokenRequirement::Record, TokenRequirement::NotRevoked);
        let renewed = [of(full), of(marker_only), of(full)];
        let query = policy.renewal_query(&renewed);
        let keys = query.words().len() - 1;
        let markers = (keys - 2) / 3;
        let mut values = vec![Reply::Null; keys];
        values[markers] = record();
        values[markers + 1] = Reply::text(&(NOW.0 + 1).to_string());
        let found = policy.renewals(&renewed, Reply::Array(values.clone()), NOW);
        let revoked = Renewal::Revoked(RevocationMarker::Subject);
        assert_eq!(found, [Renewal::Cleared, revoked, Renewal::Ended]);
        values.pop();
        let found = policy.renewals(&renewed, Reply::Array(values), NOW);
        assert_eq!(found, [Renewal::Unknown; 3], "a value is missing");
    });
}
