//! The names of variables.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn variable_that_seems_to_mean_a_setting_is_an_error() {
    let check = |changes: &[(&str, &str)], expect: &[&str]| {
        let names: Vec<String> = changes
            .iter()
            .filter(|(name, _)| !name.contains('.') && *name != "issuers")
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let errors = Policy::parse_named(&document(changes), &names, lookup(changes))
            .err()
            .unwrap_or_default();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), expect.len(), "{errors:?}");
        for (error, start) in errors.iter().zip(expect) {
            assert!(error.starts_with(start), "{error}");
        }
    };
    let misspelt = "STORE_TOKN: unknown variable; rename it to STORE_TOKEN";
    check(&[("STORE_TOKN", "5")], &[misspelt]);
    check(&[("STORE_TOKN", "5"), ("logging.requests", "x")], &["logging.requests: must", misspelt]);
    check(&[("PORTCULLIS_ENVIRONMENT", "x")], &["PORTCULLIS_ENVIRONMENT: unknown variable"]);
    check(&[("Store_Token", "5")], &["Store_Token: unknown variable; rename it to STORE_TOKEN"]);
    check(&[("EDGE_AUTH_KEY", KEY), ("STORE_TOKEN", "x")], &[]);
    for own in ["DATABASE", "INTROSPECTION_SECRET", "KV", "BLOB", "PASS", "API_URL", "ENVIRONMENT"]
    {
        check(&[(own, "x")], &[]);
    }
    // The policy may name a variable like a secret of ours.
    let issuers = issuer(r#""algorithms":["HS256"],"jwks_variable":"STORE_TOKENS""#);
    let keys = format!(r#"{{"keys":[{OCT}]}}"#);
    check(&[("issuers", &issuers), ("STORE_TOKENS", &keys)], &[]);
    check(&[("upstream.url", "${STORE_TOKENS}"), ("STORE_TOKENS", "https://a.example")], &[]);
}

/// 32 bytes.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
