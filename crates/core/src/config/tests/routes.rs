//! What routes say of each other, and of issuers.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ISSUERS: &str = r#"[
    {"issuer":"https://a","audience":"api","algorithms":["EdDSA"],"jwks_url":"https://a/k"},
    {"issuer":"https://b","audience":"api","algorithms":["EdDSA"],"jwks_url":"https://b/k"}]"#;

#[test]
fn route_names_its_issuers() {
    let check = |access: &str, issuers: &str, expect: &[&str]| {
        let route =
            format!(r#"[{{"name":"a","path":"/a","access":"{access}","issuers":{issuers}}}]"#);
        check(&[("issuers", ISSUERS), ("routes", &route)], expect);
    };
    check("protected", r#"["https://a"]"#, &[]);
    check("protected", r#"["https://a","https://b"]"#, &[]);
    check("protected", "[]", &["routes[0].issuers"]);
    check("protected", r#"["https://c"]"#, &["routes[0].issuers[0]"]);
    check("protected", r#"["https://a","https://a"]"#, &["routes[0].issuers[1]"]);
    check("public", r#"["https://a"]"#, &["routes[0].issuers"]);
}

#[test]
fn deny_route_has_a_path_and_methods_alone() {
    let check = |more: &str, expect: &[&str]| {
        let route = format!(r#"[{{"name":"a","path":"/a/*","access":"deny"{more}}}]"#);
        check(&[("routes", &route)], expect);
    };
    check("", &[]);
    check(r#","methods":["DELETE"]"#, &[]);
    check(
        r#","scopes":["x"],"upstream":"https://u","cost":2,"limits":[]"#,
        &["routes[0].scopes", "routes[0].limits", "routes[0].cost", "routes[0].upstream"],
    );
}

#[test]
fn route_of_one_path_says_what_its_suffixes_are_where_a_weaker_one_follows() {
    let check = |admin: &str, api: &str, expect: &[&str]| {
        let routes = format!(
            r#"[{{"name":"admin","path":"/api/admin","access":"protected"{admin}}},
                {{"name":"api","path":"/api/*","access":"protected"{api}}}]"#
        );
        check(&[("routes", &routes)], expect);
    };
    let suffixes = &["routes[0].suffixes"];
    check(r#","scopes":["admin"]"#, "", suffixes);
    check(r#","scopes":["admin"],"suffixes":"distinct""#, "", &[]);
    check(r#","scopes":["admin"],"suffixes":"same""#, "", &[]);
    check(r#","scopes":["admin"],"suffixes":"none""#, "", suffixes);
    check(r#","scopes":["admin"]"#, r#","scopes":["admin","x"]"#, &[]);
    check(r#","scopes_any":["a","b"]"#, "", suffixes);
    check(r#","scopes_any":["a","b"]"#, r#","scopes_any":["a","c"]"#, suffixes);
    check(r#","scopes_any":["a","b"]"#, r#","scopes_any":["a"]"#, &[]);
    check(r#","scopes_any":["a","b"]"#, r#","scopes":["a"]"#, &[]);
    check(r#","claims":{"tenant":["a","b"]}"#, "", suffixes);
    check(r#","claims":{"tenant":["a","b"]}"#, r#","claims":{"tenant":"a"}"#, &[]);
    check(r#","claims":{"tenant":"a"}"#, r#","claims":{"tenant":["a","b"]}"#, suffixes);
    check(r#","acr_values":["a","b"]"#, "", suffixes);
    check(r#","acr_values":["a","b"]"#, r#","acr_values":["b"]"#, &[]);
    check(r#","acr_values":["a"]"#, r#","acr_values":["a","b"]"#, suffixes);
    check(r#","max_age_seconds":60"#, "", suffixes);
    check(r#","max_age_seconds":60"#, r#","max_age_seconds":61"#, suffixes);
    check(r#","max_age_seconds":60"#, r#","max_age_seconds":60"#, &[]);
    check("", r#","require":"not_revoked""#, suffixes);
    check(r#","require":"not_revoked""#, "", &[]);
    check("", "", &[]);
    let check = |routes: &str, expect: &[&str]| super::check(&[("routes", routes)], expect);
    let public = r#"{"name":"rest","path":"/*","access":"public"}"#;
    let one = r#"{"name":"x","path":"/a/{id}/x","access":"protected"}"#;
    check(&format!("[{one},{public}]"), suffixes);
    let denied = one.replace("protected", "deny");
    check(&format!("[{denied},{public}]"), suffixes);
    let named = r#"{"name":"y","path":"/a/{id}/x.json","access":"public"}"#;
    check(&format!("[{one},{named}]"), &[]);
    let id = r#"{"name":"id","path":"/{id}","access":"protected"}"#;
    check(&format!("[{id},{public}]"), &[]);
}

#[test]
fn assertion_audience_needs_an_assertion() {
    let check = |more: &str, expect: &[&str]| {
        let route = format!(r#"[{{"name":"a","path":"/a","access":"protected"{more}}}]"#);
        let assertion = [("assertion", ASSERTION), ("ASSERTION_KEY", SIGNING_KEY)];
        check(&[assertion[0], assertion[1], ("routes", &route)], expect);
    };
    check(r#","assertion":true,"assertion_audience":"orders""#, &[]);
    check(r#","assertion_audience":"orders""#, &["routes[0].assertion_audience"]);
    check(r#","assertion":true,"assertion_audience":"""#, &["routes[0].assertion_audience"]);
}

/// A path that only looks like another one with a suffix keeps its own route.
#[test]
fn route_that_spells_a_suffix_is_never_taken_over_silently() {
    let check = |v1: &str, rest: &str, expect: &[&str]| {
        let routes = format!(
            r#"[{{"name":"v1","path":"/v1/*","access":"protected"{v1}}},
                {{"name":"v11","path":"/v1.1/*","access":"protected","scopes":["admin"]}},
                {{"name":"rest","path":"/*","access":"{rest}"}}]"#
        );
        check(&[("routes", &routes)], expect);
    };
    check("", "public", &["routes[0].suffixes"]);
    check(r#","suffixes":"distinct""#, "public", &[]);
    check("", "protected", &[]);
}

#[test]
fn later_route_that_shares_no_method_takes_no_suffix() {
    let check = |methods: &str, expect: &[&str]| {
        let routes = format!(
            r#"[{{"name":"create","path":"/items","access":"protected","methods":["POST"]}},
                {{"name":"site","path":"/*","access":"public","methods":{methods}}}]"#
        );
        check(&[("routes", &routes)], expect);
    };
    check(r#"["GET"]"#, &[]);
    check(r#"["GET","POST"]"#, &["routes[0].suffixes"]);
}

#[test]
fn route_without_the_networks_of_another_asks_for_less() {
    let routes = r#"[
        {"name":"admin","path":"/admin","access":"public","ip_rules":{"allow":["10.0.0.0/8"]}},
        {"name":"rest","path":"/*","access":"public"}]"#;
    check(&[("routes", routes)], &["routes[0].suffixes"]);
}

#[test]
fn anonymous_limits_are_for_optional_routes_and_need_no_token() {
    let limits = r#"[{"name":"guests","quota":1,"window_seconds":1,"by":"address"},
        {"name":"users","quota":5,"window_seconds":1,"by":"subject"}]"#;
    let check = |access: &str, more: &str, expect: &[&str]| {
        let route = format!(r#"[{{"name":"a","path":"/a","access":"{access}"{more}}}]"#);
        check(&[("limits", limits), ("routes", &route)], expect);
    };
    let guests = r#","anonymous_limits":["guests"]"#;
    check("optional", guests, &[]);
    check("optional", r#","scopes":["x"],"cookie":"t","limits":["users"]"#, &[]);
    for access in ["auth", "deny", "protected", "public"] {
        check(access, guests, &["routes[0].anonymous_limits"]);
    }
    let users = r#","anonymous_limits":["users"]"#;
    check("optional", users, &["routes[0]: limit users"]);
    check("optional", r#","anonymous_limits":["x"]"#, &["routes[0].anonymous_limits[0]"]);
    let twice = r#","anonymous_limits":["guests","guests"]"#;
    check("optional", twice, &["routes[0].anonymous_limits[1]"]);
    let costly = format!(r#"{guests},"cost":2"#);
    check("optional", &costly, &["routes[0].cost: limit guests"]);
}

#[test]
fn optional_route_asks_for_less_than_a_protected_one() {
    let check = |item: &str, rest: &str, expect: &[&str]| {
        let routes = format!(
            r#"[{{"name":"item","path":"/item","access":"{item}"}},
                {{"name":"rest","path":"/*","access":"{rest}"}}]"#
        );
        super::check(&[("routes", &routes)], expect);
    };
    check("protected", "optional", &["routes[0].suffixes"]);
    check("optional", "public", &["routes[0].suffixes"]);
    check("deny", "optional", &["routes[0].suffixes"]);
    check("optional", "optional", &[]);
    check("optional", "protected", &[]);
    let scopes = |scope: &str| format!(r#"protected","scopes":["{scope}"],"cookie":"t"#);
    let optional = scopes("a").replace("protected", "optional");
    check(&optional, "protected", &["routes[0].suffixes"]);
    check(&optional, &scopes("b"), &["routes[0].suffixes"]);
    check(&optional, &scopes("a"), &[]);
    check(&scopes("a"), "optional", &["routes[0].suffixes"]);
}

#[test]
fn route_that_does_not_enforce_asks_for_less() {
    let check = |item: &str, rest: &str, expect: &[&str]| {
        let routes = format!(
            r#"[{{"name":"item","path":"/item",{item}}},{{"name":"rest","path":"/*",{rest}}}]"#
        );
        super::check(&[("routes", &routes)], expect);
    };
    let (protected, public) = (r#""access":"protected""#, r#""access":"public""#);
    let trial = |route: &str| format!(r#"{route},"enforce":false"#);
    let suffixes = &["routes[0].suffixes"];
    check(protected, &trial(protected), suffixes);
    check(r#""access":"optional""#, &trial(protected), suffixes);
    check(&trial(protected), &trial(protected), &[]);
    check(&trial(protected), protected, &[]);
    // A public route refuses nothing but by its networks.
    check(public, &trial(public), &[]);
    let networks = format!(r#"{public},"ip_rules":{{"deny":["10.0.0.0/8"]}}"#);
    check(&networks, &trial(&networks), suffixes);
}

#[test]
fn route_names_its_resource() {
    let check = |access: &str, resources: &str, resource: &str, expect: &[&str]| {
        let route =
            format!(r#"[{{"name":"r","path":"/r","access":"{access}","resource":"{resource}"}}]"#);
        let own = [("resource.url", "https://own.example"), ("resources", resources)];
        check(&[own[0], own[1], ("routes", &route)], expect);
    };
    let two = r#"[{"name":"a","url":"https://a.example"},
        {"name":"b","url":"https://b.example/mcp","audience":"b"}]"#;
    check("protected", two, "b", &[]);
    check("optional", two, "a", &[]);
    check("public", two, "a", &["routes[0].resource"]);
    check("auth", two, "a", &["routes[0].resource"]);
    check("protected", two, "c", &["routes[0].resource"]);
    check("protected", r#"[{"name":"a"}]"#, "a", &["resources[0].url"]);
    check("protected", r#"[{"url":"https://a"}]"#, "a", &["resources[0].name"]);
    check("protected", r#"[{"name":"a b","url":"https://a"}]"#, "a b", &["resources[0].name"]);
    check("protected", r#"[{"name":"a","url":"https://a?x"}]"#, "a", &["resources[0].url"]);
    for audience in [r#""""#, "7", r#"["x",""]"#, r#"["x","x"]"#, "[]"] {
        let one = format!(r#"[{{"name":"a","url":"https://a","audience":{audience}}}]"#);
        let at = if audience.starts_with("[\"") { "[1]" } else { "" };
        check("protected", &one, "a", &[&format!("resources[0].audience{at}")]);
    }
    let pair = |name: &str, url: &str, audience: &str| {
        format!(
            r#"[{{"name":"a","url":"https://a.example"}},
                {{"name":"{name}","url":"{url}","audience":{audience}}}]"#
        )
    };
    let other = pair("b", "https://a.example/b", r#""b""#);
    check("protected", &other, "a", &[]);
    check("protected", &pair("a", "https://b", r#""b""#), "a", &["resources[1].name"]);
    check("protected", &pair("b", "https://a.example/", r#""b""#), "a", &["resources[1].url"]);
    let shared = pair("b", "https://b", r#"["b","https://a.example/"]"#);
    check("protected", &shared, "a", &["resources[1].audience"]);
    check("protected", &pair("b", "https://own.example", r#""b""#), "a", &["resources[1].url"]);
    let many: Vec<String> =
        (0..64).map(|at| format!(r#"{{"name":"n{at}","url":"https://a.example/{at}"}}"#)).collect();
    check("protected", &format!("[{}]", many[..63].join(",")), "n62", &[]);
    check("protected", &format!("[{}]", many.join(",")), "n63", &["resources"]);
}
