mod names;
mod routes;
mod warnings;

use super::*;
use crate::config::fixtures::{error_names, lookup, policy, policy_with};
use crate::policy::introspection::ClientAuth;
use crate::policy::issuer::{KeyLocation, TokenType};
use crate::policy::route::TokenRequirement;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn complete_configuration_is_parsed() {
    let policy = policy();
    assert_eq!(policy.routes.len(), 5);
    assert_eq!(policy.routes[2].require, TokenRequirement::Record);
    assert_eq!(policy.auth.join("/x"), "https://auth.example/x");
    assert_eq!(policy.issuers[0].token_type, TokenType::AtJwt);
    assert_eq!(policy.timeouts.store_ms, 250);
    assert!(!format!("{policy:?}").contains("store-secret"));
}

fn check(changes: &[(&str, &str)], expect: &[&str]) {
    assert_eq!(error_names(changes), expect, "{changes:?}");
}

#[test]
fn config_errors_name_each_setting() {
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
    check(&[("ISSUERS", "[{}]")], &["ISSUERS[0].issuer", "ISSUERS[0].audience", "ISSUERS[0]"]);
    check(&[("ISSUERS", "[1]"), ("ROUTES", "{}")], &["ISSUERS[0]", "ROUTES"]);
    check(&[("ROUTES", r#"[{"name":"a","path":"/","access":"open"}]"#)], &["ROUTES[0].access"]);
    let twice = r#"[{"name":"a","path":"/","access":"protected","scopes":["s"],"scopes":[]}]"#;
    check(&[("ROUTES", twice)], &["ROUTES"]);
    check(
        &[("ROUTES", r#"[{"name":"a","path":"/","access":"public","typo":1}]"#)],
        &["ROUTES[0].typo"],
    );
    check(
        &[(
            "ROUTES",
            r#"[{"name":"a b","path":"/*/x","access":"public","require":"record"},
            {"name":"c","path":"/","access":"auth","upstream":"x","scopes":["s"]},
            {"name":"c","path":"/d","access":"protected","limit":{"quota":0,"window_seconds":86401,"by":"subject"}}]"#,
        )],
        &[
            "ROUTES[0].name",
            "ROUTES[0].require",
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
            "ISSUERS[0].leeway_seconds",
            "ISSUERS[0].algorithms",
            "ISSUERS[0].jwks_url",
        ],
    );
}

#[test]
fn route_is_rejected_when_unreachable_or_never_satisfied() {
    let check = |routes: &str, expect: &[&str]| check(&[("ROUTES", routes)], expect);
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

/// An issuer of these members beyond its name and audience.
fn issuer(members: &str) -> String {
    format!(r#"[{{"issuer":"https://i","audience":"api",{members}}}]"#)
}

const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const OCT: &str = r#"{"kty":"oct","kid":"h","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;

#[test]
fn issuer_needs_exactly_one_location_of_keys() {
    let check = |members: &str, expect: &[&str]| {
        let hmac = if members.contains("jwks_variable") { r#","HS256""# } else { "" };
        let issuers = issuer(&format!(r#""algorithms":["EdDSA"{hmac}]{members}"#));
        let secret = format!(r#"{{"keys":[{OCT}]}}"#);
        check(&[("ISSUERS", &issuers), ("KEYS", &secret), ("BAD", "{}")], expect);
    };
    check("", &["ISSUERS[0]"]);
    check(r#","jwks_url":"https://i/k?v=1""#, &[]);
    check(r#","metadata_url":"https://i/.well-known/openid-configuration""#, &[]);
    check(r#","metadata_url":"i""#, &["ISSUERS[0].metadata_url"]);
    check(r#","jwks_url":"https://i/k","metadata_url":"https://i/m""#, &["ISSUERS[0]"]);
    check(&format!(r#","jwks":{{"keys":[{ED}]}}"#), &[]);
    check(r#","jwks":{"keys":[]}"#, &["ISSUERS[0].jwks.keys"]);
    check(r#","jwks":{"kees":[]}"#, &["ISSUERS[0].jwks"]);
    check(&format!(r#","jwks":{{"keys":[{ED},{OCT}]}}"#), &["ISSUERS[0].jwks.keys[1]"]);
    check(&format!(r#","jwks":{{"keys":[{ED},{ED}]}}"#), &["ISSUERS[0].jwks.keys: kid"]);
    check(r#","jwks_variable":"KEYS""#, &[]);
    check(r#","jwks_variable":"NONE""#, &["NONE"]);
    check(r#","jwks_variable":"BAD""#, &["BAD"]);
    let policy = policy_with(&[
        ("ISSUERS", &issuer(r#""algorithms":["HS256"],"jwks_variable":"KEYS""#)),
        ("KEYS", &format!(r#"{{"keys":[{OCT}]}}"#)),
    ]);
    assert!(matches!(policy.issuers[0].keys, Some(KeyLocation::Inline(_))));
    assert!(!format!("{policy:?}").contains("AAAA"), "an HMAC secret is shown");
    let published = issuer(r#""algorithms":["RS256","HS256"],"jwks_url":"https://i/k""#);
    self::check(&[("ISSUERS", &published)], &["ISSUERS[0].algorithms"]);
}

#[test]
fn opaque_tokens_need_an_introspection() {
    let provider = |more: &str| {
        format!(
            r#"{{"url":"https://i/introspect","client_id":"edge","client_secret_variable":"PASS"{more}}}"#
        )
    };
    let check = |issuers: &str, expect: &[&str]| {
        check(&[("ISSUERS", issuers), ("PASS", "provider-secret")], expect);
    };
    let opaque = |more: &str| issuer(&format!(r#""introspection":{}"#, provider(more)));
    check(&opaque(""), &[]);
    check(&opaque(r#","client_auth":"client_secret_post","token_prefix":"pc_""#), &[]);
    check(&opaque(r#","client_auth":"none""#), &["ISSUERS[0].introspection.client_auth"]);
    check(&opaque("").replace("https://i/introspect", "i"), &["ISSUERS[0].introspection.url"]);
    check(&opaque("").replace("edge", ""), &["ISSUERS[0].introspection.client_id"]);
    check(&opaque("").replace("PASS", "NONE"), &["NONE"]);
    for prefix in ["a b", "a.b", "\u{e9}"] {
        let prefixed = opaque(&format!(r#","token_prefix":"{prefix}""#));
        check(&prefixed, &["ISSUERS[0].introspection.token_prefix"]);
    }
    // Algorithms need keys.
    check(
        &issuer(&format!(r#""algorithms":["EdDSA"],"introspection":{}"#, provider(""))),
        &["ISSUERS[0]"],
    );

    let two = |first: &str, second: &str| {
        let entry = |name: &str, more: &str| {
            let provider = provider(more);
            format!(r#"{{"issuer":"{name}","audience":"a","introspection":{provider}}}"#)
        };
        format!("[{},{}]", entry("https://a", first), entry("https://b", second))
    };
    let prefix = |text: &str| format!(r#","token_prefix":"{text}""#);
    check(&two(&prefix("a_"), &prefix("b_")), &[]);
    check(&two(&prefix("a_"), ""), &[]);
    check(&two("", &prefix("a_")), &["ISSUERS[1].introspection.token_prefix"]);
    check(&two(&prefix("a"), &prefix("a_")), &["ISSUERS[1].introspection.token_prefix"]);
    let both = format!(
        r#"[{{"issuer":"https://i","audience":"a","algorithms":["EdDSA"],"jwks_url":"https://i/k"}},
            {{"issuer":"https://i","audience":"a","introspection":{}}}]"#,
        provider("")
    );
    check(&both, &[]);
    let policy = policy_with(&[("ISSUERS", &opaque("")), ("PASS", "provider-secret")]);
    let introspection = policy.issuers[0].introspection.as_ref().unwrap();
    assert_eq!(introspection.client_auth, ClientAuth::ClientSecretBasic);
    assert!(!format!("{policy:?}").contains("provider-secret"));
}

#[test]
fn cors_members_are_validated() {
    let check = |cors: &str, expect: &[&str]| check(&[("CORS", cors)], expect);
    check(r#"{"origins":["https://app.example","http://localhost:3000"]}"#, &[]);
    check(r#"{"origins":["*"]}"#, &[]);
    check(r#"{"origins":[]}"#, &["CORS.origins"]);
    check(r#"{"origins":["*","https://app.example"]}"#, &["CORS.origins"]);
    check(r#"{"origins":["https://app.example/"]}"#, &["CORS.origins"]);
    check(r#"{"origins":["null"]}"#, &["CORS.origins"]);
    check(r#"{"origins":["*"],"credentials":true}"#, &["CORS.credentials"]);
    check(
        r#"{"origins":["*"],"methods":["get"],"headers":["a b"],"expose":["*"]}"#,
        &["CORS.methods", "CORS.headers", "CORS.expose"],
    );
    check(r#"{"origins":["*"],"max_age_seconds":86401}"#, &["CORS.max_age_seconds"]);
    check(r#"{"origin":["*"]}"#, &["CORS.origins", "CORS.origin"]);
    let route = r#"[{"name":"a","path":"/a","access":"public","cors":{"origins":["x"]}}]"#;
    super::tests::check(&[("ROUTES", route)], &["ROUTES[0].cors.origins"]);
}

#[test]
fn token_requirements_of_a_route_are_validated() {
    let check = |access: &str, members: &str, expect: &[&str]| {
        let routes = format!(r#"[{{"name":"a","path":"/a","access":"{access}",{members}}}]"#);
        check(&[("ROUTES", &routes)], expect);
    };
    check("protected", r#""claims":{"tenant":"acme","roles":["a",1,true]}"#, &[]);
    for value in ["null", "{}", "[]", "[[1]]"] {
        let name = ["ROUTES[0].claims.tenant"];
        check("protected", &format!(r#""claims":{{"tenant":{value}}}"#), &name);
    }
    check("protected", r#""cookie":"__Host-token","forward_token":true"#, &[]);
    check("protected", r#""cookie":"a=b""#, &["ROUTES[0].cookie"]);
    check("protected", r#""forward_token":"keep""#, &["ROUTES[0].forward_token"]);
    check("protected", r#""scopes_any":["a","b c"]"#, &["ROUTES[0].scopes_any"]);
    check("protected", r#""assertion":true"#, &["ROUTES[0].assertion"]);
    check(
        "public",
        r#""cookie":"a","forward_token":true,"claims":{"a":1},"scopes_any":["x"]"#,
        &[
            "ROUTES[0].scopes_any",
            "ROUTES[0].claims",
            "ROUTES[0].cookie",
            "ROUTES[0].forward_token",
        ],
    );
}

#[test]
fn missing_settings_are_all_reported() {
    let errors = Policy::parse(|_| None).unwrap_err();
    let names: Vec<_> = errors.iter().map(|error| error.name.as_str()).collect();
    let all = ["ISSUERS", "ROUTES", "UPSTREAM_URL", "AUTH_URL", "STORE_URL", "STORE_TOKEN"];
    assert_eq!(names, all);
}

#[test]
fn limit_members_are_validated() {
    fn check_limit(limit: &str, expect: &[&str]) {
        let routes =
            format!(r#"[{{"name":"a","path":"/a","access":"protected","limit":{limit}}}]"#);
        check(&[("ROUTES", &routes)], expect);
    }
    let with = |more: &str| format!(r#"{{"quota":5,"window_seconds":60,"by":"subject"{more}}}"#);
    check_limit(&with(""), &[]);
    check_limit(&with(r#","algorithm":"token_bucket","burst":9"#), &[]);
    check_limit(&with(r#","algorithm":"sliding_window","burst":9"#), &["ROUTES[0].limit.burst"]);
    check_limit(&with(r#","burst":0"#), &["ROUTES[0].limit.burst"]);
    check_limit(&with(r#","local_quota":0"#), &["ROUTES[0].limit.local_quota"]);
    check_limit(&with(r#","name":"x""#), &["ROUTES[0].limit.name"]);
    check_limit(&with(r#","algorithm":"leaky""#), &["ROUTES[0].limit.algorithm"]);
    check_limit(&with(r#","plans":{"claim":"p","quotas":{}}"#), &["ROUTES[0].limit.plans.quotas"]);
    let zero = r#","plans":{"claim":"p","quotas":{"a":0}}"#;
    check_limit(&with(zero), &["ROUTES[0].limit.plans.quotas.a"]);
    let by = |by: &str| format!(r#"{{"quota":5,"window_seconds":60,"by":{by}}}"#);
    check_limit(&by(r#"["subject","header:X-A","claim:plan","address"]"#), &[]);
    check_limit(&by("[]"), &["ROUTES[0].limit.by"]);
    check_limit(&by(r#""everybody""#), &["ROUTES[0].limit.by"]);
    check_limit(&by(r#"["subject","subject"]"#), &["ROUTES[0].limit.by"]);
    check_limit(&by(r#""header:X Y""#), &["ROUTES[0].limit.by"]);
    let after = with(r#","timing":"after","headers":true,"shadow":true"#);
    check_limit(&after, &["ROUTES[0].limit.headers", "ROUTES[0].limit.shadow"]);

    let limits = r#"[{"name":"l","quota":5,"window_seconds":60,"by":"subject"}]"#;
    let route = |more: &str| format!(r#"[{{"name":"a","path":"/a",{more}}}]"#);
    let check = |more: &str, expect: &[&str]| {
        check(&[("LIMITS", limits), ("ROUTES", &route(more))], expect);
    };
    check(r#""access":"protected","limits":["l"],"cost":5"#, &[]);
    check(r#""access":"protected","limits":["l"],"cost":6"#, &["ROUTES[0].cost: limit l"]);
    check(r#""access":"protected","limits":["m"]"#, &["ROUTES[0].limits[0]"]);
    check(r#""access":"protected","limits":["l","l"]"#, &["ROUTES[0].limits[1]"]);
    check(r#""access":"public","limits":["l"]"#, &["ROUTES[0]: limit l"]);
    check(r#""access":"auth","deadline_ms":60001"#, &["ROUTES[0].deadline_ms"]);
    check(r#""access":"public","endpoint":"token""#, &["ROUTES[0].endpoint"]);
    check(r#""access":"public","on_store_outage":"deny""#, &["ROUTES[0].on_store_outage"]);
    check(r#""access":"protected","on_store_outage":"introspect""#, &["ROUTES: on_store_outage"]);
    check(
        r#""access":"public","addresses":{"deny":["1.2.3.4/33"]}"#,
        &["ROUTES[0].addresses.deny[0]"],
    );
}

#[test]
fn invalid_settings_are_all_reported() {
    let key = format!("a:{}", "A".repeat(43));
    check(
        &[
            ("LIMITS", r#"[{"name":"a b","quota":0,"window_seconds":1,"by":"address"}]"#),
            ("ADDRESSES", r#"{"deny":["nowhere","::1"],"unlimited":["1.2.3.4/8"]}"#),
            ("FAILURE_LIMIT", r#"{"quota":0,"window_seconds":0}"#),
            ("TRUSTED_PROXIES", "11"),
            ("BREAKER_FAILURES", "-1"),
            ("BREAKERS_SHARED", "yes"),
            ("SERVER_TIMING", "1"),
            ("METRICS_SECONDS", "x"),
            ("EDGE_AUTH_KEY", "k1:AAAA"),
            ("RECORD_ENCRYPTION_KEY", "secret"),
            ("RECORD_ENCRYPTION_KEY_PREVIOUS", "x"),
        ],
        &[
            "LIMITS[0].name",
            "LIMITS[0].quota",
            "EDGE_AUTH_KEY",
            "RECORD_ENCRYPTION_KEY",
            "RECORD_ENCRYPTION_KEY_PREVIOUS",
            "ADDRESSES.deny[0]",
            "ADDRESSES.unlimited[0]",
            "TRUSTED_PROXIES",
            "FAILURE_LIMIT.quota",
            "FAILURE_LIMIT.window_seconds",
            "BREAKER_FAILURES",
            "BREAKERS_SHARED",
            "SERVER_TIMING",
            "METRICS_SECONDS",
        ],
    );
    check(&[("RECORD_ENCRYPTION_KEY_PREVIOUS", &key)], &["RECORD_ENCRYPTION_KEY"]);
    check(
        &[("RECORD_ENCRYPTION_KEY", &key), ("RECORD_ENCRYPTION_KEY_PREVIOUS", &key)],
        &["RECORD_ENCRYPTION_KEY_PREVIOUS"],
    );
}

#[test]
fn member_of_the_wrong_type_is_reported_at_its_place() {
    check(
        &[
            (
                "ISSUERS",
                r#"[{"issuer":1,"audience":null,"algorithms":["none"],"leeway_seconds":-1,"sessions_in_store":"yes",
                    "token_type":"id","jwks_url":[],"introspection":{"url":"https://i/x","client_id":"a","kind":1}}]"#,
            ),
            (
                "ROUTES",
                r#"[{"path":7,"access":"open","methods":"GET","scopes":[1],"claims":[],"require":"both","cost":0.5,
                    "limit":{"quota":"5","by":1,"plans":{"quotas":{"a":true}},"headers":0},"limits":{},
                    "deadline_ms":4294967296,"cors":{"origins":"*","credentials":1},"addresses":[],"upstream":false}]"#,
            ),
            ("IDENTITY_FIELDS", r#"{"subject":1,"claims":{"tenant":null,"plan":2},"roles":"x"}"#),
            ("FAILURE_LIMIT", r#"{"quota":true,"window":1}"#),
            ("ADDRESSES", "[]"),
        ],
        &[
            "ISSUERS[0].issuer",
            "ISSUERS[0].audience",
            "ISSUERS[0].leeway_seconds",
            "ISSUERS[0].sessions_in_store",
            "ISSUERS[0].token_type",
            "ISSUERS[0].algorithms[0]",
            "ISSUERS[0].introspection.client_secret_variable",
            "ISSUERS[0].introspection.kind",
            "ISSUERS[0].jwks_url",
            "ROUTES[0].name",
            "ROUTES[0].methods",
            "ROUTES[0].scopes",
            "ROUTES[0].claims",
            "ROUTES[0].require",
            "ROUTES[0].access",
            "ROUTES[0].cost",
            "ROUTES[0].limit.window_seconds",
            "ROUTES[0].limit.quota",
            "ROUTES[0].limit.by",
            "ROUTES[0].limit.headers",
            "ROUTES[0].limit.plans.claim",
            "ROUTES[0].limit.plans.quotas.a",
            "ROUTES[0].limits",
            "ROUTES[0].deadline_ms",
            "ROUTES[0].addresses",
            "ROUTES[0].cors.origins",
            "ROUTES[0].cors.credentials",
            "ROUTES[0].upstream",
            "ROUTES[0].path",
            "IDENTITY_FIELDS.subject",
            "IDENTITY_FIELDS.claims.plan",
            "IDENTITY_FIELDS.claims.tenant",
            "IDENTITY_FIELDS.roles",
            "ADDRESSES",
            "FAILURE_LIMIT.window_seconds",
            "FAILURE_LIMIT.quota",
            "FAILURE_LIMIT.window",
        ],
    );
    // One error causes no others.
    let provider = r#"{"url":"https://i/x","client_id":"a","client_secret_variable":"NONE"}"#;
    let opaque = format!(r#"[{{"issuer":"https://i","audience":"a","introspection":{provider}}}]"#);
    let routes = r#"[{"name":"a","path":"/a","access":"protected","on_store_outage":"introspect"},
        {"name":"a","path":"b","access":"protected"}]"#;
    check(
        &[("ISSUERS", &opaque), ("ROUTES", routes)],
        &["NONE", "ROUTES[1].name", "ROUTES[1].path"],
    );
    check(
        &[("ISSUERS", &opaque.replace("\"a\",\"i", "1,\"i")), ("ROUTES", routes)],
        &["ISSUERS[0].audience", "NONE", "ROUTES[1].name", "ROUTES[1].path"],
    );
    let inline = format!(r#""algorithms":["RS265"],"jwks":{{"keys":[{ED}]}}"#);
    check(&[("ISSUERS", &issuer(&inline))], &["ISSUERS[0].algorithms[0]"]);
    let limit = r#"{"quota":true,"window_seconds":1,"burst":60,"by":"subject","plans":{"claim":"p","quotas":{"free":10}}}"#;
    let costly =
        format!(r#"[{{"name":"a","path":"/a","access":"protected","cost":2,"limit":{limit}}}]"#);
    check(&[("ROUTES", &costly)], &["ROUTES[0].limit.quota"]);
    let mistyped = r#"[{"name":"a","path":"/a","access":"public","limit":{"quota":5,"window_seconds":60,
        "by":"address","algorithm":"fixed-window"}}]"#;
    let memcached = ("STORE_URL", "memcached://127.0.0.1:11211");
    check(&[memcached, ("ROUTES", mistyped)], &["ROUTES[0].limit.algorithm"]);
    // A null is an error, too.
    for null in ["scopes", "claims", "methods", "limits", "require", "cors", "scops"] {
        let route = format!(r#"[{{"name":"a","path":"/a","access":"protected","{null}":null}}]"#);
        check(&[("ROUTES", &route)], &[&format!("ROUTES[0].{null}")]);
    }
    check(&[("ADDRESSES", r#"{"allow":null}"#)], &["ADDRESSES.allow"]);
    let messages = |changes: &[(&str, &str)]| {
        Policy::parse(lookup(changes))
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let route = r#"[{"name":"a","path":"/a","access":"open","scopes":"x","limt":{}}]"#;
    assert_eq!(
        messages(&[("ROUTES", route)]),
        [
            "ROUTES[0].scopes: must be a list of texts",
            "ROUTES[0].access: must be one of: auth, deny, protected, public",
            "ROUTES[0].limt: unknown setting; see docs/configuration.md",
        ]
    );
}

#[test]
fn memcached_needs_no_token_and_has_no_scripts() {
    let fixed = r#"[{"name":"a","path":"/a","access":"public","limit":{"quota":5,"window_seconds":60,
        "by":"address","algorithm":"fixed_window"}}]"#;
    let url = ("STORE_URL", "memcached://127.0.0.1:11211");
    check(&[url, ("ROUTES", fixed), ("STORE_TOKEN", "")], &[]);
    check(&[url], &["ROUTES[0].limit.algorithm", "ROUTES[4].limit.algorithm"]);
    check(&[("STORE_URL", "memcached://x"), ("ROUTES", fixed)], &["STORE_URL"]);
}

#[test]
fn each_setting_is_documented() {
    let page = include_str!("../../../../docs/configuration.md");
    let names = std::cell::RefCell::new(Vec::new());
    let _ = Policy::parse(|name| {
        names.borrow_mut().push(name.to_owned());
        None
    });
    let names = names.into_inner();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("| `{name}` |")), "docs/configuration.md lacks {name}");
    }
}

const SIGNING_KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"e1","alg":"EdDSA",
    "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const ASSERTION: &str = r#"{"issuer":"https://a.example","audience":"inner"}"#;

#[test]
fn assertion_needs_both_of_its_settings() {
    fn check(changes: &[(&str, &str)], expect: &[&str]) {
        assert_eq!(error_names(changes), expect, "{changes:?}");
    }
    check(&[("ASSERTION", ASSERTION)], &["ASSERTION_KEY"]);
    check(&[("ASSERTION_KEY", SIGNING_KEY)], &["ASSERTION"]);
    for bad in [
        SIGNING_KEY.replace("\"d\"", "\"e\""),
        SIGNING_KEY.replace("EdDSA", "ES256"),
        SIGNING_KEY.replace("EdDSA", "HS256"),
        SIGNING_KEY.replace("nWGx", ""),
        SIGNING_KEY.replace("kid", "kit"),
        "secret".to_owned(),
    ] {
        check(&[("ASSERTION", ASSERTION), ("ASSERTION_KEY", &bad)], &["ASSERTION_KEY"]);
    }
    let invalid = r#"{"issuer":"","audience":"","seconds":0,"field":"Cookie"}"#;
    check(
        &[("ASSERTION", invalid), ("ASSERTION_KEY", SIGNING_KEY)],
        &["ASSERTION.issuer", "ASSERTION.audience", "ASSERTION.field", "ASSERTION.seconds"],
    );
    let subject = r#"{"issuer":"a","audience":"b","field":"portcullis-subject"}"#;
    check(
        &[("ASSERTION", subject), ("ASSERTION_KEY", SIGNING_KEY)],
        &["IDENTITY_FIELDS: portcullis-subject"],
    );
}

/// Each level has a reader of its own, which must reject the members that it does not know.
#[test]
fn unknown_member_is_reported_at_each_level() {
    check(
        &[
            (
                "ISSUERS",
                r#"[{"issuer":"https://i","audience":"a","x":1,"introspection":{"url":"https://i/x",
                    "client_id":"a","client_secret_variable":"STORE_TOKEN","x":1}}]"#,
            ),
            (
                "LIMITS",
                r#"[{"name":"l","quota":5,"window_seconds":60,"by":"subject","x":1,
                    "plans":{"claim":"p","quotas":{"a":1},"x":1}}]"#,
            ),
            (
                "ROUTES",
                r#"[{"name":"a","path":"/a","access":"protected","x":1,"cors":{"origins":["*"],"x":1},
                    "addresses":{"x":1},"limit":{"quota":5,"window_seconds":60,"by":"subject","x":1,
                    "plans":{"claim":"p","quotas":{"a":1},"x":1}}},
                    {"name":"b","path":"/a","access":"protected","x":1},
                    {"name":"c","path":"b","access":"protected","x":1}]"#,
            ),
            ("CORS", r#"{"origins":["*"],"x":1}"#),
            ("ASSERTION", r#"{"issuer":"a","audience":"b","x":1}"#),
            ("ASSERTION_KEY", SIGNING_KEY),
            ("IDENTITY_FIELDS", r#"{"x":1}"#),
            ("ADDRESSES", r#"{"x":1}"#),
            ("FAILURE_LIMIT", r#"{"quota":1,"window_seconds":1,"x":1}"#),
        ],
        &[
            "CORS.x",
            "ASSERTION.x",
            "ISSUERS[0].introspection.x",
            "ISSUERS[0].x",
            "LIMITS[0].plans.x",
            "LIMITS[0].x",
            "ROUTES[0].limit.plans.x",
            "ROUTES[0].limit.x",
            "ROUTES[0].addresses.x",
            "ROUTES[0].cors.x",
            "ROUTES[0].x",
            "ROUTES[1]",
            "ROUTES[1].x",
            "ROUTES[2].path",
            "ROUTES[2].x",
            "IDENTITY_FIELDS.x",
            "ADDRESSES.x",
            "FAILURE_LIMIT.x",
        ],
    );
}
