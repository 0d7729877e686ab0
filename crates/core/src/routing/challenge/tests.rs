use super::*;
use crate::config::fixtures::{policy, policy_with};
use crate::policy::fixtures::route;
use crate::refusal::Outage;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const LOGIN: Denial = Denial::InsufficientUserAuthentication("acr");

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn challenge_names_the_scope_that_the_route_requires() {
    fn check(denial: Denial, scopes: &[&str], any: &[&str], expect: Option<&str>) {
        let own = Route { scopes: texts(scopes), scopes_any: texts(any), ..route() };
        let challenge = policy().challenge(denial.into(), Some(&own));
        assert_eq!(challenge.as_deref(), expect, "{denial:?} {scopes:?} {any:?}");
    }
    let missing = Denial::TokenMissing;
    check(missing, &[], &[], Some("Bearer"));
    check(missing, &["a", "b"], &[], Some(r#"Bearer scope="a b""#));
    check(missing, &[], &["a", "b"], Some(r#"Bearer scope="a b""#));
    check(missing, &["c"], &["a", "b"], Some(r#"Bearer scope="c a b""#));
    // A token with all of the scopes has one of them.
    check(missing, &["b"], &["a", "b"], Some(r#"Bearer scope="b""#));
    let expired = r#"Bearer error="invalid_token", error_description="the token has expired""#;
    check(Denial::TokenExpired, &[], &[], Some(expired));
    check(Denial::TokenExpired, &["a"], &[], Some(&format!(r#"{expired}, scope="a""#)));
    let scope = r#"Bearer error="insufficient_scope", error_description="the token lacks a scope that this route requires", scope="a""#;
    check(Denial::ScopeInsufficient, &["a"], &[], Some(scope));
    let malformed = r#"Bearer error="invalid_request", error_description="the credential is malformed; send one Bearer token""#;
    check(Denial::CredentialMalformed, &["a"], &[], Some(malformed));
    for denial in
        [Denial::ClaimInsufficient, Denial::RateLimited { wait_ms: 1 }, Denial::RouteDenied]
    {
        check(denial, &["a"], &[], None);
    }
    let refusal = Refusal::Out(Outage::StoreTimeout);
    assert_eq!(policy().challenge(refusal, Some(&route())), None);
}

#[test]
fn challenge_of_an_insufficient_login_names_the_login_that_the_route_requires() {
    fn challenge(denial: Denial, classes: &[&str], max_age_seconds: Option<u32>) -> String {
        let (scopes, acr_values) = (texts(&["pay"]), texts(classes));
        let own = Route { scopes, acr_values, max_age_seconds, ..route() };
        let policy = policy_with(&[("resource.url", "https://api.example/v1")]);
        policy.challenge(denial.into(), Some(&own)).unwrap()
    }
    let begin = r#"Bearer error="insufficient_user_authentication", error_description="the user must log in again; the token's acr is not enough for this route""#;
    let rest = r#"scope="pay", resource_metadata="https://api.example/.well-known/oauth-protected-resource/v1""#;
    for (classes, max_age_seconds, expect) in [
        (&["phr", "urn:a:b"][..], None, r#"acr_values="phr urn:a:b", "#),
        (&[], Some(300), r#"max_age="300", "#),
        (&["phr"], Some(300), r#"acr_values="phr", max_age="300", "#),
    ] {
        let expect = format!("{begin}, {expect}{rest}");
        assert_eq!(challenge(LOGIN, classes, max_age_seconds), expect);
    }
    assert_eq!(challenge(Denial::TokenMissing, &["phr"], Some(300)), format!("Bearer {rest}"));
    assert_eq!(policy().challenge(LOGIN.into(), Some(&route())).as_deref(), Some(begin));
    assert_eq!(LOGIN.code(), "insufficient_user_authentication");
    assert_eq!(Refusal::Denied(LOGIN).status_and_challenge().0, 401);
    assert!(!LOGIN.is_guess());
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Reads the parameters of a challenge, each a token and a quoted text without escapes (RFC
    /// 9110 section 11.6.1). Returns `None` if it has another form.
    fn parameters(challenge: &str) -> Option<Vec<(&str, &str)>> {
        let mut rest = challenge.strip_prefix("Bearer ")?;
        let mut found = Vec::new();
        loop {
            let (name, after) = rest.split_once("=\"")?;
            let (value, after) = after.split_once('"')?;
            let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            if !is_name || !value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'\\') {
                return None;
            }
            found.push((name, value));
            match after.strip_prefix(", ") {
                Some(after) => rest = after,
                None => return after.is_empty().then_some(found),
            }
        }
    }

    proptest! {
        /// Settings that the reader of the policy would reject break no challenge either.
        #[test]
        fn no_setting_ends_its_parameter(
            scopes in proptest::collection::vec(any::<String>(), 1..3),
            acr_values in proptest::collection::vec("[ -~]{1,9}", 1..3),
            claim in "[\\x00-\\x7f\u{e9}]{0,9}",
        ) {
            let own = Route { scopes: scopes.clone(), acr_values, max_age_seconds: Some(7), ..route() };
            let claim: &'static str = Box::leak(claim.into_boxed_str());
            let denial = Denial::InsufficientUserAuthentication(claim);
            let text = policy().challenge(denial.into(), Some(&own)).unwrap();
            let found = parameters(&text);
            let names = found.iter().flatten().map(|(name, _)| *name).collect::<Vec<_>>();
            let expect = ["error", "error_description", "acr_values", "max_age", "scope"];
            let count = if scopes.concat().is_empty() && scopes.len() == 1 { 4 } else { 5 };
            prop_assert_eq!(names, expect[..count].to_vec(), "{}", text);
        }
    }
}

#[test]
fn challenge_names_the_metadata_of_the_routes_own_resource() {
    let resources = r#"[{"name":"a","url":"https://a.example/mcp"}]"#;
    let policy = policy_with(&[("resource.url", "https://own.example"), ("resources", resources)]);
    let url = |resource| {
        let own = Route { resource, ..route() };
        policy.challenge(Denial::TokenMissing.into(), Some(&own)).unwrap()
    };
    let path = "/.well-known/oauth-protected-resource";
    assert_eq!(url(None), format!(r#"Bearer resource_metadata="https://own.example{path}""#));
    assert_eq!(url(Some(0)), format!(r#"Bearer resource_metadata="https://a.example{path}/mcp""#));
}
