//! What a valid configuration warns of.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn warnings(changes: &[(&str, &str)]) -> Vec<String> {
    policy_with(changes).warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn later_route_that_asks_for_less_is_named() {
    let check = |reports: &str, api: &str, expect: &[&str]| {
        let routes = format!(
            r#"[{{"name":"reports","path":"/api/reports/*","access":"protected","suffixes":"same"{reports}}},
                {{"name":"api","path":"/api/*","access":"protected"{api}}}]"#
        );
        let warnings = warnings(&[("routes", &routes)]);
        assert_eq!(warnings.len(), usize::from(!expect.is_empty()), "{warnings:?}");
        for part in expect {
            assert!(warnings[0].contains(part), "{warnings:?} lacks {part}");
        }
    };
    let get = r#","methods":["GET"],"scopes":["reports"]"#;
    check(get, r#","methods":["GET","POST"]"#, &["reports", "api", "less (scopes)"]);
    check(get, "", &["reports", "api", "405"]);
    check(get, r#","methods":["GET"]"#, &[]);
    check(get, r#","methods":["GET","POST"],"scopes":["reports"]"#, &[]);
    check(r#","scopes":["reports"]"#, r#","methods":["POST"]"#, &[]);
    let record = r#","methods":["GET"],"claims":{"a":1},"issuers":["https://issuer.example"]"#;
    check(
        record,
        r#","methods":["POST"],"require":"not_revoked""#,
        &["less (claims, issuers, require)"],
    );
    let same = r#"[{"name":"a","path":"/api/*","access":"protected","methods":["GET"]},
        {"name":"b","path":"/api/x","access":"protected","scopes":["x"]}]"#;
    assert_eq!(warnings(&[("routes", same)]).len(), 1, "the second is never taken");
}

#[test]
fn route_that_keeps_suffixed_paths_silently_is_named() {
    let check = |app: &str, site: &str, expect: usize| {
        let routes = format!(
            r#"[{{"name":"app","path":"/app/*","access":"protected"{app}}},
                {{"name":"site","path":"/*","access":"{site}"}}]"#
        );
        let warnings = warnings(&[("routes", &routes)]);
        assert_eq!(warnings.len(), expect, "{warnings:?}");
        let names_both = |text: &String| text.contains("app ") && text.contains("site");
        assert!(warnings.iter().all(names_both), "{warnings:?}");
    };
    check("", "public", 1);
    check(r#","suffixes":"same""#, "public", 0);
    check(r#","suffixes":"distinct""#, "public", 0);
    check("", "protected", 0);
    check(r#","limit":{"quota":1,"window_seconds":1,"by":"subject"}"#, "protected", 1);
}

#[test]
fn route_that_does_not_enforce_has_no_limits() {
    let limit = r#","limit":{"quota":1,"window_seconds":1,"by":"address"}"#;
    let trial = &format!(r#"{limit},"enforce":false"#);
    for (app, site, expect) in
        [(limit, limit, 0), (limit, trial, 1), (trial, trial, 0), (trial, "", 0), (limit, "", 1)]
    {
        let routes = format!(
            r#"[{{"name":"app","path":"/app/*","access":"public"{app}}},
                {{"name":"site","path":"/*","access":"public"{site}}}]"#
        );
        assert_eq!(warnings(&[("routes", &routes)]).len(), expect, "{app} {site}");
    }
}

#[test]
fn recheck_of_streams_without_revocations_in_the_store_is_named() {
    let check = |introspection: &str, stream: &str, expect: usize| {
        let issuers = format!(
            r#"[{{"issuer":"https://a","audience":"api","introspection":{{"url":"https://a/i",
                "client_id":"edge","client_secret_variable":"STORE_TOKEN"{introspection}}}}}]"#
        );
        let routes =
            format!(r#"[{{"name":"chat","path":"/chat","access":"protected","{stream}":5}}]"#);
        let warnings = warnings(&[("issuers", &issuers), ("routes", &routes)]);
        assert_eq!(warnings.len(), expect, "{warnings:?}");
        assert!(warnings.iter().all(|text| text.contains("chat")), "{warnings:?}");
    };
    check("", "stream_recheck_seconds", 1);
    check("", "stream_seconds_max", 0);
    check(r#","revocations_in_store":true"#, "stream_recheck_seconds", 0);
}

#[test]
fn routes_for_every_issuer_are_named_where_there_are_several() {
    let issuer = |name: &str| {
        format!(
            r#"{{"issuer":"{name}","audience":"api","algorithms":["EdDSA"],"jwks_url":"https://a/k"}}"#
        )
    };
    let two = format!("[{},{}]", issuer("https://a"), issuer("https://b"));
    let routes = r#"[{"name":"open","path":"/open/*","access":"protected"},
        {"name":"own","path":"/own/*","access":"protected","issuers":["https://a"]}]"#;
    let both = warnings(&[("issuers", &two), ("routes", routes)]);
    assert!(both.len() == 1 && both[0].contains("open") && !both[0].contains("own "), "{both:?}");
    let one = format!("[{}]", issuer("https://a"));
    assert_eq!(warnings(&[("issuers", &one), ("routes", routes)]), [""; 0]);
}

#[test]
fn assertion_that_fits_several_upstreams_is_named() {
    let check = |audience: &str, expect: usize| {
        let routes = format!(
            r#"[{{"name":"a","path":"/a/*","access":"protected","assertion":true}},
                {{"name":"b","path":"/b/*","access":"protected","assertion":true,
                  "upstream":"https://b.example"{audience}}}]"#
        );
        let all =
            [("routes", routes.as_str()), ("assertion", ASSERTION), ("ASSERTION_KEY", SIGNING_KEY)];
        assert_eq!(warnings(&all).len(), expect);
    };
    check("", 1);
    check(r#","assertion_audience":"b""#, 0);
}
