//! The names of variables.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn variable_that_seems_to_mean_a_setting_is_an_error() {
    let check = |changes: &[(&str, &str)], expect: &[&str]| {
        let names: Vec<String> = changes.iter().map(|(name, _)| (*name).to_owned()).collect();
        let errors = Policy::parse_named(&names, lookup(changes)).err().unwrap_or_default();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), expect.len(), "{errors:?}");
        for (error, start) in errors.iter().zip(expect) {
            assert!(error.starts_with(start), "{error}");
        }
    };
    let misspelt = "REVOCATION_SECOND_MAX: unknown setting; rename it to REVOCATION_SECONDS_MAX";
    check(&[("REVOCATION_SECOND_MAX", "5")], &[misspelt]);
    check(&[("REVOCATION_SECOND_MAX", "5"), ("LOG", "x")], &["LOG: must be", misspelt]);
    check(&[("BREAKER_LIMIT", "5")], &["BREAKER_LIMIT: unknown setting"]);
    check(&[("store_token", "5")], &["store_token: unknown setting; rename it to STORE_TOKEN"]);
    check(&[("REVOCATION_SECONDS_MAX", "5"), ("STORE_TOKEN", "x")], &[]);
    for own in ["DATABASE", "INTROSPECTION_SECRET", "KV", "BLOB", "PASS", "API_URL", "ENVIRONMENT"]
    {
        check(&[(own, "x")], &[]);
    }
    // An issuer may name a variable like a setting.
    let issuers = issuer(r#""algorithms":["HS256"],"jwks_variable":"KEYS_STORE""#);
    let keys = format!(r#"{{"keys":[{OCT}]}}"#);
    check(&[("ISSUERS", &issuers), ("KEYS_STORE", &keys)], &[]);
    check(&[("STORE_URL", "memcached://127.0.0.1:1"), ("STORE_TOKEN", ""), ("ROUTES", PLAIN)], &[]);
}

const PLAIN: &str = r#"[{"name":"a","path":"/a","access":"protected"}]"#;
