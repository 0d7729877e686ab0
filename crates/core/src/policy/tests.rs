use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ISSUERS: &str = r#"[{"issuer":"https://issuer.example","audience":"api",
    "algorithms":["EdDSA"],"jwks_url":"https://issuer.example/jwks"}]"#;
const ROUTES: &str = r#"[
    {"name":"health","path":"/health","access":"public","limit":{"quota":5,"window_seconds":1,"by":"address"}},
    {"name":"auth","path":"/auth/*","access":"auth"},
    {"name":"write","path":"/api/*","access":"protected","methods":["POST"],"scopes":["api:write"]},
    {"name":"read","path":"/api/*","access":"protected","mode":"unrevoked","upstream":"http://read.example/v1/"},
    {"name":"limited","path":"/limited","access":"protected","limit":{"quota":2,"window_seconds":60,"by":"subject"}}]"#;

fn lookup<'a>(changes: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| {
        let changed = changes.iter().find(|(changed, _)| *changed == name);
        let text = match name {
            _ if changed.is_some() => changed.map_or("", |(_, text)| text),
            "ISSUERS" => ISSUERS,
            "ROUTES" => ROUTES,
            "UPSTREAM_URL" => "https://upstream.example",
            "ORIGIN_URL" => "https://origin.example/",
            "STORE_URL" => "https://store.example",
            "STORE_TOKEN" => "store-secret",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// A policy with one issuer and a route of each kind.
pub(crate) fn policy() -> Policy {
    Policy::parse(lookup(&[])).unwrap()
}

#[test]
fn a_full_configuration_is_read() {
    let policy = policy();
    assert_eq!(policy.routes.len(), 5);
    assert_eq!(policy.routes[2].mode, Mode::Registered);
    assert_eq!(policy.origin.join("/x"), "https://origin.example/x");
    assert_eq!(policy.issuers[0].token_type, TokenType::AtJwt);
    assert_eq!(policy.store_deadline_ms, 250);
    assert!(!format!("{policy:?}").contains("store-secret"));
}

#[test]
fn each_fault_is_named() {
    fn check(changes: &[(&str, &str)], expect: &[&str]) {
        let faults = Policy::parse(lookup(changes)).err().unwrap_or_default();
        let names: Vec<_> = faults.iter().map(|fault| fault.name.as_str()).collect();
        assert_eq!(names, expect, "{changes:?}: {faults:?}");
    }
    check(&[("STORE_TOKEN", "")], &["STORE_TOKEN"]);
    check(&[("UPSTREAM_URL", "upstream.example")], &["UPSTREAM_URL"]);
    check(&[("UPSTREAM_URL", "https://u:p@upstream.example")], &["UPSTREAM_URL"]);
    check(&[("STORE_DEADLINE_MS", "0")], &["STORE_DEADLINE_MS"]);
    check(&[("STORE_DEADLINE_MS", "60000")], &[]);
    check(&[("STORE_DEADLINE_MS", "60001")], &["STORE_DEADLINE_MS"]);
    check(&[("STORE_DEADLINE_MS", "1.5")], &["STORE_DEADLINE_MS"]);
    check(&[("KEY_PREFIX", "a:b")], &["KEY_PREFIX"]);
    check(&[("LOG", "some")], &["LOG"]);
    check(&[("ROUTES", "[]")], &["ROUTES"]);
    check(&[("ROUTES", "{")], &["ROUTES"]);
    check(&[("ISSUERS", "[{}]")], &["ISSUERS[0]"]);
    check(&[("ROUTES", r#"[{"name":"a","path":"/","access":"open"}]"#)], &["ROUTES[0]"]);
    check(&[("ROUTES", r#"[{"name":"a","path":"/","access":"public","typo":1}]"#)], &["ROUTES[0]"]);
    check(
        &[(
            "ROUTES",
            r#"[{"name":"a b","path":"/*/x","access":"public","mode":"registered"},
            {"name":"c","path":"/","access":"auth","upstream":"x","scopes":["s"]},
            {"name":"c","path":"/d","access":"protected","limit":{"quota":0,"window_seconds":86401,"by":"subject"}}]"#,
        )],
        &[
            "ROUTES[0].name",
            "ROUTES[0].mode",
            "ROUTES[0].path",
            "ROUTES[1].scopes",
            "ROUTES[1].upstream",
            "ROUTES[2].name",
            "ROUTES[2].limit.quota",
            "ROUTES[2].limit.window_seconds",
        ],
    );
    check(
        &[(
            "ISSUERS",
            r#"[{"issuer":"","audience":"","algorithms":[],"jwks_url":"x","leeway_seconds":301}]"#,
        )],
        &[
            "ISSUERS[0].issuer",
            "ISSUERS[0].audience",
            "ISSUERS[0].algorithms",
            "ISSUERS[0].jwks_url",
            "ISSUERS[0].leeway_seconds",
        ],
    );
}

#[test]
fn a_route_that_would_never_be_reached_or_never_hold_is_a_fault() {
    fn check(routes: &str, expect: &[&str]) {
        let changes = [("ROUTES", routes)];
        let faults = Policy::parse(lookup(&changes)).err().unwrap_or_default();
        let names: Vec<_> = faults.iter().map(|fault| fault.name.as_str()).collect();
        assert_eq!(names, expect, "{routes}: {faults:?}");
    }
    let below = r#"{"name":"a","path":"/api/*","access":"protected"}"#;
    let admin = r#"{"name":"b","path":"/API/admin/*","access":"protected","scopes":["admin"]}"#;
    check(&format!("[{below},{admin}]"), &["ROUTES[1]"]);
    check(&format!("[{admin},{below}]"), &[]);
    check(
        r#"[{"name":"a","path":"/","access":"protected","methods":["post"]}]"#,
        &["ROUTES[0].methods"],
    );
    check(r#"[{"name":"a","path":"/","access":"protected","scopes":[""]}]"#, &["ROUTES[0].scopes"]);
    check(
        r#"[{"name":"a","path":"/","access":"protected","scopes":["a b"]}]"#,
        &["ROUTES[0].scopes"],
    );
    check(
        r#"[{"name":"a","path":"/","access":"protected","scopes":["a\n"]}]"#,
        &["ROUTES[0].scopes"],
    );
}

#[test]
fn all_faults_are_reported_at_once() {
    let faults = Policy::parse(|_| None).unwrap_err();
    let names: Vec<_> = faults.iter().map(|fault| fault.name.as_str()).collect();
    let all = ["ISSUERS", "ROUTES", "UPSTREAM_URL", "ORIGIN_URL", "STORE_URL", "STORE_TOKEN"];
    assert_eq!(names, all);
}
