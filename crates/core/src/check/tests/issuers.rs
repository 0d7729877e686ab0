//! Tokens of several issuers.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ISSUERS: &str = r#"[
    {"issuer":"https://issuer.example","audience":"api","algorithms":["EdDSA"],"jwks_url":"https://a/k"},
    {"issuer":"https://partner.example","audience":"api","algorithms":["EdDSA"],"jwks_url":"https://b/k"}]"#;
const ROUTES: &str = r#"[
    {"name":"own","path":"/own/*","access":"protected","issuers":["https://issuer.example"]},
    {"name":"partner","path":"/partner/*","access":"protected","issuers":["https://partner.example"]},
    {"name":"any","path":"/any/*","access":"protected"},
    {"name":"off","path":"/off/*","access":"deny"}]"#;

#[test]
fn route_accepts_tokens_of_its_issuers_only() {
    let policy = policy_with(&[("issuers", ISSUERS), ("routes", ROUTES)]);
    let token = token("a");
    let code = |path: &str| {
        with_check(&policy, "GET", path, &token, |check| match authenticate(&check) {
            Ok(_) => "accepted",
            Err(denial) => denial.code(),
        })
    };
    assert_eq!(code("/own/x"), "accepted");
    assert_eq!(code("/any/x"), "accepted");
    assert_eq!(code("/partner/x"), "issuer_refused");
    // The cache does not bypass this: the route's issuers are checked for a verified token, too.
    let verified = with_check(&policy, "GET", "/own/x", &token, |check| verify(&check, true));
    let cached = with_check(&policy, "GET", "/partner/x", &token, |check| {
        check.authenticate(verified.unwrap(), None, NOW).map(|_| ()).map_err(Denial::code)
    });
    assert_eq!(cached, Err("issuer_refused"));
}

#[test]
fn deny_route_refuses_every_request() {
    let policy = policy_with(&[("issuers", ISSUERS), ("routes", ROUTES)]);
    let head = RequestHead::new("GET", "https://a.example/off/x", Vec::new());
    let check = Check::new(&head, route_of(&policy, &head).unwrap(), &policy);
    assert_eq!(check.err().map(Denial::code), Some("route_denied"));
}
