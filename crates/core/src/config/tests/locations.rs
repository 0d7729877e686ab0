//! Countries and autonomous systems.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn location_is_asked_for_only_if_a_rule_or_a_limit_needs_it() {
    assert!(!policy().needs_location);
    let limited = |by: &str| {
        format!(
            r#"[{{"name":"a","path":"/","access":"public",
                "limit":{{"quota":1,"window_seconds":1,"by":"{by}"}}}}]"#
        )
    };
    let ruled = r#"[{"name":"a","path":"/","access":"public","ip_rules":{"allow_asns":[1]}}]"#;
    for (name, value, expect) in [
        ("ip_rules", r#"{"deny_countries":["DE"]}"#, true),
        ("ip_rules", r#"{"deny_countries":[],"deny":["192.0.2.1"]}"#, false),
        ("ip_rules", r#"{"allow_asns":[64496]}"#, true),
        ("routes", ruled, true),
        ("routes", &limited("country"), true),
        ("routes", &limited("asn"), true),
        ("routes", &limited("address"), false),
    ] {
        assert_eq!(policy_with(&[(name, value)]).needs_location, expect, "{value}");
        let proxied = [(name, value), ("client_address.trusted_proxy_hops", "1")];
        let place = "client_address.trusted_proxy_hops";
        let places = [place];
        check(&proxied, places.get(..usize::from(expect)).unwrap_or_default());
    }
}

#[test]
fn malformed_places_are_errors_of_their_own() {
    check(
        &[(
            "ip_rules",
            r#"{"deny_countries":["DE","de",1],"allow_countries":"DE","deny_asns":[0,1,"AS1"],
                "allow_asns":[4294967296,4294967295]}"#,
        )],
        &[
            "ip_rules.deny_countries[1]",
            "ip_rules.deny_countries[2]",
            "ip_rules.allow_countries",
            "ip_rules.deny_asns[0]",
            "ip_rules.deny_asns[2]",
            "ip_rules.allow_asns[0]",
        ],
    );
    check(&[("block.refresh_seconds", "3601")], &["block.refresh_seconds"]);
    check(&[("block.refresh_seconds", "0")], &[]);
    assert_eq!(policy().block_refresh_seconds, 5);
}
