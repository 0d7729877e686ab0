//! The user's login that a route requires (RFC 9470).

use super::*;
use crate::policy::introspection::Introspection;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn policy_of(route: &str, leeway_seconds: u64) -> Policy {
    let issuers = format!(
        r#"[{{"issuer":"https://issuer.example","audience":"api","algorithms":["EdDSA"],
            "jwks_url":"https://issuer.example/jwks","leeway_seconds":{leeway_seconds}}},
            {{"issuer":"https://opaque.example","audience":"api",
            "leeway_seconds":{leeway_seconds},"introspection":{{"url":"https://p/i",
            "client_id":"edge","client_secret_variable":"STORE_TOKEN"}}}}]"#
    );
    let routes = format!(r#"[{{"name":"a","path":"/a","access":"protected",{route}}}]"#);
    policy_with(&[("issuers", &issuers), ("routes", &routes)])
}

/// Returns a token that expires late, with further claims.
fn bearer(claims: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt"}"#);
    let claims = format!(
        r#"{{"iss":"https://issuer.example","sub":"alice","aud":"api","exp":{},"iat":1{claims}}}"#,
        NOW.0 * 2
    );
    format!("Bearer {header}.{}.AAAA", URL_SAFE_NO_PAD.encode(claims))
}

/// Returns why a verified token is refused at a time after [`NOW`], with the store's clearance.
fn denial(route: &str, claims: &str, after: u64) -> Option<Denial> {
    with_check(&policy_of(route, 30), "GET", "/a", &bearer(claims), |check| {
        let verified = verify(&check, true).unwrap();
        let cleared = Some(TokenRequirement::Record);
        check.authenticate(verified, cleared, NOW.plus(after)).err()
    })
}

const ACR: Option<Denial> = Some(Denial::InsufficientUserAuthentication("acr"));
const AUTH_TIME: Option<Denial> = Some(Denial::InsufficientUserAuthentication("auth_time"));

#[test]
fn login_must_be_of_one_of_the_classes() {
    let route = r#""acr_values":["phr","urn:a:b"]"#;
    let check = |claim: &str, expect: Option<Denial>| {
        assert_eq!(denial(route, claim, 0), expect, "{claim}");
    };
    check(r#","acr":"phr""#, None);
    check(r#","acr":"urn:a:b""#, None);
    for claim in ["", r#""PHR""#, r#""phr urn:a:b""#, r#"["phr"]"#, r#""ph""#, r#""""#, "1", "null"]
    {
        let claim = if claim.is_empty() { String::new() } else { format!(r#","acr":{claim}"#) };
        check(&claim, ACR);
    }
    assert_eq!(denial(r#""acr_values":[]"#, "", 0), None);
}

#[test]
fn login_must_be_recent_at_each_request() {
    let route = r#""max_age_seconds":300"#;
    let at = |offset: i64, after: u64| {
        let login = NOW.0.checked_add_signed(offset).unwrap();
        denial(route, &format!(r#","auth_time":{login}"#), after)
    };
    // The issuer's clock may differ by 30 s.
    assert_eq!(at(0, 0), None);
    assert_eq!(at(-330, 0), None);
    assert_eq!(at(-331, 0), AUTH_TIME);
    assert_eq!(at(0, 330), None);
    assert_eq!(at(0, 331), AUTH_TIME);
    assert_eq!(at(30, 0), None);
    assert_eq!(at(31, 0), AUTH_TIME, "a login in the future");
    let wrong = ["", "null", "-1", "1e300", r#"["now"]"#, "true", "18446744073709551615"];
    for claim in wrong.iter().copied().chain([format!(r#""{}""#, NOW.0).as_str()]) {
        let claim =
            if claim.is_empty() { String::new() } else { format!(r#","auth_time":{claim}"#) };
        assert_eq!(denial(route, &claim, 0), AUTH_TIME, "{claim}");
    }
    assert_eq!(denial(route, &format!(r#","auth_time":{}.9"#, NOW.0 - 330), 0), None);
    // Milliseconds are a time in the far future.
    assert_eq!(denial(route, &format!(r#","auth_time":{}000"#, NOW.0), 0), AUTH_TIME);
}

#[test]
fn cached_verdict_does_not_prolong_a_login() {
    let policy = policy_of(r#""max_age_seconds":60,"acr_values":["phr"]"#, 0);
    let token = bearer(&format!(r#","acr":"phr","auth_time":{}"#, NOW.0));
    with_check(&policy, "GET", "/a", &token, |check| {
        let verified = verify(&check, true).unwrap();
        let at = |after| {
            let (verified, cleared) = (Rc::clone(&verified), Some(TokenRequirement::Record));
            check.authenticate(verified, cleared, NOW.plus(after))
        };
        let authenticated = at(60).unwrap();
        assert!(check.commands(&authenticated).is_empty());
        assert!(decide(&check, &authenticated, Ok(Vec::new())).is_ok());
        // It is refused before the store could be asked.
        assert_eq!(at(61).err(), AUTH_TIME);
    });
}

#[test]
fn login_of_an_introspected_token_is_checked_as_well() {
    let policy = policy_of(r#""max_age_seconds":60,"acr_values":["phr"],"scopes":["pay"]"#, 0);
    let issuer = &policy.issuers[1];
    let read = |claims: &str| {
        let response = format!(r#"{{"active":true,"sub":"alice","scope":"pay"{claims}}}"#);
        let record =
            Introspection::read(issuer, &policy.other_claims, 200, &response, NOW).unwrap();
        // As it comes back from the store.
        TokenRecord::decode(&record.encode("k", None, [0; 12]), "k", None).unwrap()
    };
    with_check(&policy, "GET", "/a", "Bearer opaque", |check| {
        let at = |claims: &str, after| {
            let verified = check.accept_record(1, read(claims)).unwrap();
            check.authenticate(verified, None, NOW.plus(after)).err()
        };
        let login = |acr: &str| format!(r#","acr":"{acr}","auth_time":{}"#, NOW.0);
        assert_eq!(at(&login("phr"), 60), None);
        assert_eq!(at(&login("phr"), 61), AUTH_TIME);
        assert_eq!(at(&login("pwd"), 0), ACR);
        assert_eq!(at("", 0), ACR);
        assert_eq!(at(r#","acr":"phr""#, 0), AUTH_TIME);
    });
}

/// One challenge then names what the client lacks of both.
#[test]
fn insufficient_login_is_reported_before_a_missing_scope() {
    assert_eq!(denial(r#""acr_values":["phr"],"scopes":["pay"]"#, "", 0), ACR);
}

#[test]
fn policies_without_such_routes_keep_no_claim_of_the_login() {
    assert_eq!(policy_of(r#""scopes":["a"]"#, 0).other_claims, [""; 0]);
    assert_eq!(policy_of(r#""acr_values":["a"]"#, 0).other_claims, ["acr"]);
    assert_eq!(policy_of(r#""max_age_seconds":9"#, 0).other_claims, ["auth_time"]);
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn login_is_accepted_from_its_time_on_for_the_longest_age(
            login in 0_u64..4_000, age in 1_u32..2_000, leeway in 0_u64..=300, after in 0_u64..4_000,
        ) {
            let (start, now) = (NOW.0, NOW.0 + after);
            let login = start + login;
            let policy = policy_of(&format!(r#""max_age_seconds":{age}"#), leeway);
            let token = bearer(&format!(r#","auth_time":{login}"#));
            let denied = with_check(&policy, "GET", "/a", &token, |check| {
                check.authenticate(verify(&check, true).unwrap(), None, UnixSeconds(now)).err()
            });
            // In signed numbers, unlike the code.
            let elapsed = i128::from(now) - i128::from(login);
            let (leeway, age) = (i128::from(leeway), i128::from(age));
            let is_recent = (-leeway..=age + leeway).contains(&elapsed);
            prop_assert_eq!(denied, if is_recent { None } else { AUTH_TIME });
        }
    }
}
