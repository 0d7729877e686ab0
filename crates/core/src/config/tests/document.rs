//! The policy file as a whole: environments, variables, and what a check assumes.

use super::*;
use crate::config::fixtures::document;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn messages(changes: &[(&str, &str)]) -> Vec<String> {
    let errors = Policy::parse(&document(changes), lookup(changes)).err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn file_must_be_one_table_without_duplicates() {
    for text in ["", "{", "[]", r#"{"store":{"url":"a","url":"b"}}"#, r#"{"env":1}"#] {
        let errors = Policy::parse(text, |_| None).unwrap_err();
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    }
    check(&[("store", "1")], &["store"]);
    check(&[("routes", "{}")], &["routes"]);
    check(&[("strore", "{}"), ("env", r#"{"a":{}}"#)], &["strore"]);
    assert_eq!(messages(&[("strore", "{}")]), ["strore: unknown member; did you mean store?"]);
}

#[test]
fn environment_is_laid_over_the_file() {
    let staging = r#"{"staging":{"store":{"timeout_ms":9},"routes":[{"name":"only","path":"/*",
        "access":"public"}]},"empty":{}}"#;
    let parse = |name: &str| policy_with(&[("env", staging), ("PORTCULLIS_ENV", name)]);
    let policy = parse("staging");
    assert_eq!(policy.timeouts.store_ms, 9);
    assert_eq!(policy.routes.len(), 1, "lists are replaced");
    assert_eq!(policy.upstream.as_str(), "https://upstream.example", "the rest is the file's");
    for name in ["", "empty"] {
        assert_eq!(parse(name).timeouts.store_ms, 250);
    }
    assert_eq!(
        messages(&[("env", staging), ("PORTCULLIS_ENV", "stagign")]),
        ["PORTCULLIS_ENV: must be one of the policy's environments: empty, staging"]
    );
    check(&[("PORTCULLIS_ENV", "staging")], &["PORTCULLIS_ENV"]);
    check(&[("env", r#"{"a":1}"#), ("PORTCULLIS_ENV", "a")], &["env.a"]);
}

#[test]
fn whole_text_can_be_a_variable() {
    let url = ("upstream.url", "${API_URL}");
    assert_eq!(
        policy_with(&[url, ("API_URL", "https://api.example")]).upstream.as_str(),
        "https://api.example"
    );
    assert_eq!(
        messages(&[url]),
        ["upstream.url: the variable API_URL is not set; set it, or write the value here"]
    );
    check(&[url, ("API_URL", "")], &["upstream.url"]);
    check(&[url, ("API_URL", "api.example")], &["upstream.url"]);
    for part in ["https://${HOST}", "${HOST", "${}", "${A B}", "${A}${B}", "$${A}"] {
        check(&[("upstream.url", part), ("HOST", "a.example")], &["upstream.url"]);
    }
    // A variable is a text, and references in its value are not resolved.
    check(&[("store.timeout_ms", "${MS}"), ("MS", "100")], &["store.timeout_ms"]);
    let audience = issuer(r#""jwks_url":"https://i/k","algorithms":["EdDSA"]"#);
    let audience = audience.replace(r#""api""#, r#""${AUDIENCE}""#);
    let policy = policy_with(&[("issuers", &audience), ("AUDIENCE", "${AUDIENCE}")]);
    assert_eq!(policy.issuers[0].audiences, ["${AUDIENCE}"]);
    let memcached = ("MEMCACHED", "memcached://127.0.0.1:11211");
    let plain = r#"[{"name":"a","path":"/a","access":"public"}]"#;
    let policy = policy_with(&[("store.url", "${MEMCACHED}"), memcached, ("routes", plain)]);
    assert!(format!("{:?}", policy.store).contains("11211"));
}

#[test]
fn check_assumes_what_is_not_known_yet() {
    let check = |changes: &[(&str, &str)], expect: &[&str]| {
        let errors = Policy::assume(&document(changes), |_| None).err().unwrap_or_default();
        let names: Vec<_> = errors.into_iter().map(|error| error.name).collect();
        assert_eq!(names, expect, "{changes:?}");
    };
    check(&[], &[]);
    check(&[("upstream.url", "${API_URL}"), ("store.key_prefix", "${PREFIX}")], &[]);
    let hmac = issuer(r#""algorithms":["HS256"],"jwks_variable":"KEYS""#);
    check(&[("issuers", &hmac)], &[]);
    check(&[("assertion", r#"{"issuer":"a","audience":"b"}"#)], &[]);
    let field = |name: &str| format!(r#"{{"issuer":"a","audience":"b","field":"{name}"}}"#);
    let subject = ("identity.subject", "x-user");
    check(&[("assertion", &field("x-user")), subject], &["identity.subject"]);
    check(&[("assertion", &field("x-caller")), subject], &[]);
    let keys = r#"[{"name":"a","path":"/a","access":"protected","api_key_header":"X-Caller"}]"#;
    let own = &["routes[0].api_key_header"];
    check(&[("assertion", &field("x-caller")), ("routes", keys)], own);
    check(&[("assertion", &field("x-user")), ("routes", keys)], &[]);
    check(&[("upstream.url", "${API_URL}"), ("auth.url", "x")], &["auth.url"]);
    check(&[("auth.url", "${A}x")], &["auth.url"]);
    let silent = r#"[{"name":"app","path":"/app/*","access":"protected"},
        {"name":"site","path":"/*","access":"public"}]"#;
    let of = |more: &[(&str, &str)]| {
        let changes = [&[("routes", silent)], more].concat();
        Policy::assume(&document(&changes), |_| None).unwrap().open_warnings().count()
    };
    assert_eq!(of(&[]), 1);
    assert_eq!(of(&[("accept", r#"["suffixes_kept:app"]"#)]), 0);
}

/// An error of an assumed value says nothing about the other members.
#[test]
fn suffixes_are_checked_next_to_assumed_values() {
    let check = |first: &str, more: &str, expect: &[&str]| {
        let routes = format!(
            r#"[{{"name":"first","path":"/first","access":"{first}"}},
                {{"name":"admin","path":"/api/admin","access":"protected","scopes":["admin"]}},
                {{"name":"api","path":"/api/*","access":"protected"{more}}}]"#
        );
        let errors = Policy::assume(&document(&[("routes", &routes)]), |_| None).err();
        let names: Vec<_> = errors.into_iter().flatten().map(|error| error.name).collect();
        assert_eq!(names, expect, "{first} {more}");
    };
    let suffixes = &["routes[1].suffixes"];
    check("public", "", suffixes);
    check("public", r#","cookie":"${TOKEN_COOKIE}""#, suffixes);
    // A route that can't be read leaves the others at their places.
    check("${ACCESS}", "", suffixes);
    check("public", r#","cookie":"a=b""#, &["routes[2].cookie"]);
}

#[test]
fn auth_service_is_needed_by_its_routes_alone() {
    let of = |access: &str| format!(r#"[{{"name":"a","path":"/a","access":"{access}"}}]"#);
    let without = |access: &str| {
        let (document, lookup) = (document(&[("routes", &of(access))]), lookup(&[]));
        let document = document.replace(r#""url":"https://auth.example/""#, "");
        Policy::parse(&document, lookup).map(|policy| policy.auth.is_some())
    };
    assert_eq!(without("protected").ok(), Some(false));
    let errors = without("auth").unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].name, "auth.url");
}

#[test]
fn secrets_do_not_belong_in_the_file() {
    let secret = [("store.token", "x")];
    assert!(messages(&secret)[0].starts_with("store.token: a secret does not belong"));
    let client = r#"[{"issuer":"https://i","audience":"a","introspection":{"url":"https://i/x",
        "client_id":"a","client_secret_variable":"STORE_TOKEN","client_secret":"x"}}]"#;
    check(&[("issuers", client)], &["issuers[0].introspection.client_secret"]);
}

#[test]
fn both_entries_are_named_where_two_are_involved() {
    let two = |first: &str, second: &str| {
        format!(
            r#"[{{"name":"{first}","path":"/a/*","access":"public"}},
                {{"name":"{second}","path":"/a/b","access":"public"}}]"#
        )
    };
    assert_eq!(
        messages(&[("routes", &two("x", "y"))]),
        ["routes[1] (route y): route x takes every request of this one; move this one before it"]
    );
    assert_eq!(
        messages(&[("routes", &two("x", "x"))])[0],
        "routes[1].name (route x): is also that of routes[0]; use each name once"
    );
}
