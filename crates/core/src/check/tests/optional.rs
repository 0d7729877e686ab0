//! Routes with `access = "optional"`: anonymous requests, and tokens that must be valid.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const LIMITS: &str = r#"[
    {"name":"guests","quota":2,"window_seconds":60,"by":"address"},
    {"name":"users","quota":100,"window_seconds":60,"by":"subject"}]"#;
const ROUTES: &str = r#"[
    {"name":"feed","path":"/feed","access":"optional","require":"not_revoked","scopes":["api:read"],
     "cookie":"t","limits":["users"],"anonymous_limits":["guests"]},
    {"name":"free","path":"/free","access":"optional","require":"not_revoked"}]"#;

fn open() -> Policy {
    policy_with(&[("limits", LIMITS), ("routes", ROUTES)])
}

/// Runs `work` with the check of a GET request with these fields, or returns why there is none.
fn checked<'p, T>(
    policy: &'p Policy,
    path: &str,
    fields: Vec<(&str, &str)>,
    work: impl FnOnce(Check<'_, 'p>) -> T,
) -> Result<T, Denial> {
    let url = format!("https://a.example{path}");
    let head = RequestHead::new("GET", &url, fields);
    Check::new(&head, route_of(policy, &head)?, policy).map(work)
}

/// Returns the name of the store's key that each command reads or counts.
fn keys(commands: Vec<Command>) -> Vec<String> {
    let key = |command: &Command| {
        let at = if command.name() == "EVALSHA" { 3 } else { 1 };
        command.text(at).unwrap().split(':').take(3).collect::<Vec<_>>().join(":")
    };
    commands.iter().map(key).collect()
}

#[test]
fn request_without_a_credential_is_anonymous_and_counts_by_its_own_limits() {
    let policy = open();
    checked(&policy, "/feed", Vec::new(), |check| {
        assert_eq!((check.token_hash(), check.received_claims()), (None, None));
        assert_eq!(check.unverified_token(NOW).err(), Some(Denial::TokenMissing));
        let authenticated = check.without_token().unwrap();
        assert_eq!(keys(check.commands(&authenticated)), ["pc:block:address", "pc:limit:guests"]);
        let admitted = Reply::Array([1, 1, 0, 0].map(Reply::Integer).to_vec());
        let permit = decide(&check, &authenticated, Ok(vec![Reply::Null, admitted])).unwrap();
        assert_eq!((permit.cleared(), permit.is_personal()), (None, true));
        assert!(matches!(permit.target(), crate::forward::permit::Target::Upstream(_)));
        assert!(permit.touch_session(NOW).is_none());
        assert_eq!(permit.facts(None).to_string(), r#"{"route":"feed"}"#);
        let over = Reply::Array([0, 0, 900, 900].map(Reply::Integer).to_vec());
        let verdict = decide(&check, &authenticated, Ok(vec![Reply::Null, over]));
        assert_eq!(verdict.err(), Some(Denial::RateLimited { wait_ms: 900 }.into()));
    })
    .unwrap();
    checked(&policy, "/free", Vec::new(), |check| {
        let authenticated = check.without_token().unwrap();
        assert!(check.commands(&authenticated).is_empty(), "the store is not needed");
        assert!(decide(&check, &authenticated, Ok(Vec::new())).is_ok());
    })
    .unwrap();
}

#[test]
fn credential_that_is_present_is_never_ignored() {
    let policy = open();
    for (fields, expect) in [
        (vec![("authorization", "Basic eDp5")], Denial::TokenMissing),
        (vec![("authorization", "")], Denial::TokenMissing),
        (vec![("authorization", "Bearer")], Denial::CredentialMalformed),
        (vec![("authorization", "Bearer a b")], Denial::CredentialMalformed),
        (vec![("authorization", "Bearer a, Bearer b")], Denial::CredentialMalformed),
        (vec![("cookie", "t=")], Denial::CredentialMalformed),
        (vec![("cookie", "t=a; t=b")], Denial::CredentialMalformed),
        (vec![("cookie", "t=a"), ("authorization", "Bearer a")], Denial::CredentialMalformed),
    ] {
        let refused = checked(&policy, "/feed", fields.clone(), |_| ()).err();
        assert_eq!(refused, Some(expect), "{fields:?}");
    }
    for fields in [vec![("authorization", "Bearer a.b.c")], vec![("cookie", "t=a.b.c")]] {
        checked(&policy, "/feed", fields, |check| {
            assert_eq!(check.unverified_token(NOW).err(), Some(Denial::TokenMalformed));
            assert_eq!(check.without_token().err(), Some(Denial::TokenMissing));
        })
        .unwrap();
    }
    // Another cookie does not count as a credential.
    checked(&policy, "/feed", vec![("cookie", "other=a")], |check| {
        assert!(check.without_token().is_ok());
    })
    .unwrap();
}

#[test]
fn token_on_an_optional_route_is_checked_as_on_a_protected_one() {
    let policy = open();
    for (scope, marker, expect) in [
        ("api:read", Reply::Null, None),
        ("api:write", Reply::Null, Some(Denial::ScopeInsufficient)),
        ("api:read", Reply::text("9999999999"), Some(Denial::TokenRevoked)),
    ] {
        let token = token(scope);
        checked(&policy, "/feed", vec![("authorization", &token)], |check| {
            let authenticated = authenticate(&check).unwrap();
            assert_eq!(
                keys(check.commands(&authenticated)),
                ["pc:revoked:sub", "pc:limit:users"],
                "the limits of anonymous requests do not count it"
            );
            let admitted = Reply::Array([1, 1, 0, 0].map(Reply::Integer).to_vec());
            let markers = marked(&[Reply::Null, marker.clone()]);
            let verdict = decide(&check, &authenticated, Ok(vec![markers, admitted]));
            assert_eq!(verdict.as_ref().err(), expect.map(Refusal::from).as_ref(), "{scope}");
            if let Ok(permit) = verdict {
                assert_eq!(permit.facts(None)["subject"], "alice");
            }
            let out = decide(&check, &authenticated, Err(Outage::StoreTimeout));
            assert_eq!(out.err(), Some(Outage::StoreTimeout.into()));
        })
        .unwrap();
    }
    // The verdict on an anonymous request is not that on a request with a token.
    let anonymous =
        checked(&policy, "/free", Vec::new(), |check| check.without_token().unwrap()).unwrap();
    checked(&policy, "/free", vec![("authorization", &token("api:read"))], |check| {
        let verdict = check.decide(&anonymous, &[]);
        assert_eq!(verdict.err(), Some(Denial::SignatureInvalid.into()));
    })
    .unwrap();
}
