mod document;
mod issuers;
mod locations;
mod names;
mod routes;
mod warnings;

use super::*;
use crate::config::fixtures::{document, error_names, lookup, policy, policy_with};
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
    assert_eq!(policy.auth.as_ref().unwrap().join("/x"), "https://auth.example/x");
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
    check(&[("upstream.url", "upstream.example")], &["upstream.url"]);
    check(&[("upstream.url", "https://u:p@upstream.example")], &["upstream.url"]);
    check(&[("store.timeout_ms", "0")], &["store.timeout_ms"]);
    check(&[("store.timeout_ms", "60000")], &[]);
    check(&[("store.timeout_ms", "60001")], &["store.timeout_ms"]);
    check(&[("store.timeout_ms", "1.5")], &["store.timeout_ms"]);
    check(&[("store.key_prefix", "a:b")], &["store.key_prefix"]);
    check(&[("logging.requests", "some")], &["logging.requests"]);
    check(&[("routes", "[]")], &["routes"]);
    check(&[("routes", "{")], &["routes"]);
    check(&[("issuers", "[{}]")], &["issuers[0].issuer", "issuers[0].audience", "issuers[0]"]);
    check(&[("issuers", "[1]"), ("routes", "{}")], &["issuers[0]", "routes"]);
    check(&[("routes", r#"[{"name":"a","path":"/","access":"open"}]"#)], &["routes[0].access"]);
    check(
        &[("routes", r#"[{"name":"a","path":"/","access":"public","typo":1}]"#)],
        &["routes[0].typo"],
    );
    check(
        &[(
            "routes",
            r#"[{"name":"a b","path":"/*/x","access":"public","require":"record"},
            {"name":"c","path":"/","access":"auth","upstream":"x","scopes":["s"]},
            {"name":"c","path":"/d","access":"protected","limit":{"quota":0,"window_seconds":86401,"by":"subject"}}]"#,
        )],
        &[
            "routes[0].name",
            "routes[0].require",
            "routes[0].path",
            "routes[1].scopes",
            "routes[1].upstream",
            "routes[2].name",
            "routes[2].limit.quota",
            "routes[2].limit.window_seconds",
        ],
    );
    check(
        &[(
            "issuers",
            r#"[{"issuer":"","audience":"","algorithms":[],"jwks_url":"x","leeway_seconds":301}]"#,
        )],
        &[
            "issuers[0].issuer",
            "issuers[0].audience",
            "issuers[0].leeway_seconds",
            "issuers[0].algorithms",
            "issuers[0].jwks_url",
        ],
    );
}

#[test]
fn route_is_rejected_when_unreachable_or_never_satisfied() {
    let check = |routes: &str, expect: &[&str]| check(&[("routes", routes)], expect);
    let below = r#"{"name":"a","path":"/api/*","access":"protected"}"#;
    let admin = r#"{"name":"b","path":"/API/admin/*","access":"protected","scopes":["admin"]}"#;
    check(&format!("[{below},{admin}]"), &["routes[1]"]);
    check(&format!("[{admin},{below}]"), &[]);
    check(
        r#"[{"name":"a","path":"/","access":"protected","methods":["post"]}]"#,
        &["routes[0].methods"],
    );
    check(r#"[{"name":"a","path":"/","access":"protected","scopes":[""]}]"#, &["routes[0].scopes"]);
    check(
        r#"[{"name":"a","path":"/","access":"protected","scopes":["a b"]}]"#,
        &["routes[0].scopes"],
    );
    check(
        r#"[{"name":"a","path":"/","access":"protected","scopes":["a\n"]}]"#,
        &["routes[0].scopes"],
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
        check(&[("issuers", &issuers), ("KEYS", &secret), ("BAD", "{}")], expect);
    };
    check("", &["issuers[0]"]);
    check(r#","jwks_url":"https://i/k?v=1""#, &[]);
    check(r#","metadata_url":"https://i/.well-known/openid-configuration""#, &[]);
    check(r#","metadata_url":"i""#, &["issuers[0].metadata_url"]);
    check(r#","jwks_url":"https://i/k","metadata_url":"https://i/m""#, &["issuers[0]"]);
    check(&format!(r#","jwks":{{"keys":[{ED}]}}"#), &[]);
    check(r#","jwks":{"keys":[]}"#, &["issuers[0].jwks.keys"]);
    check(r#","jwks":{"kees":[]}"#, &["issuers[0].jwks"]);
    check(&format!(r#","jwks":{{"keys":[{ED},{OCT}]}}"#), &["issuers[0].jwks.keys[1]"]);
    check(&format!(r#","jwks":{{"keys":[{ED},{ED}]}}"#), &["issuers[0].jwks.keys: kid"]);
    check(r#","jwks_variable":"KEYS""#, &[]);
    check(r#","jwks_variable":"NONE""#, &["NONE"]);
    check(r#","jwks_variable":"BAD""#, &["BAD"]);
    let policy = policy_with(&[
        ("issuers", &issuer(r#""algorithms":["HS256"],"jwks_variable":"KEYS""#)),
        ("KEYS", &format!(r#"{{"keys":[{OCT}]}}"#)),
    ]);
    assert!(matches!(policy.issuers[0].keys, Some(KeyLocation::Inline(_))));
    assert!(!format!("{policy:?}").contains("AAAA"), "an HMAC secret is shown");
    let published = issuer(r#""algorithms":["RS256","HS256"],"jwks_url":"https://i/k""#);
    self::check(&[("issuers", &published)], &["issuers[0].algorithms"]);
}

#[test]
fn opaque_tokens_need_an_introspection() {
    let provider = |more: &str| {
        format!(
            r#"{{"url":"https://i/introspect","client_id":"edge","client_secret_variable":"PASS"{more}}}"#
        )
    };
    let check = |issuers: &str, expect: &[&str]| {
        check(&[("issuers", issuers), ("PASS", "provider-secret")], expect);
    };
    let opaque = |more: &str| issuer(&format!(r#""introspection":{}"#, provider(more)));
    check(&opaque(""), &[]);
    check(&opaque(r#","client_auth":"client_secret_post","token_prefix":"pc_""#), &[]);
    check(&opaque(r#","client_auth":"none""#), &["issuers[0].introspection.client_auth"]);
    check(&opaque("").replace("https://i/introspect", "i"), &["issuers[0].introspection.url"]);
    check(&opaque("").replace("edge", ""), &["issuers[0].introspection.client_id"]);
    check(&opaque("").replace("PASS", "NONE"), &["NONE"]);
    for prefix in ["a b", "a.b", "\u{e9}"] {
        let prefixed = opaque(&format!(r#","token_prefix":"{prefix}""#));
        check(&prefixed, &["issuers[0].introspection.token_prefix"]);
    }
    // Algorithms need keys.
    check(
        &issuer(&format!(r#""algorithms":["EdDSA"],"introspection":{}"#, provider(""))),
        &["issuers[0]"],
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
    check(&two("", &prefix("a_")), &["issuers[1].introspection.token_prefix"]);
    check(&two(&prefix("a"), &prefix("a_")), &["issuers[1].introspection.token_prefix"]);
    let both = format!(
        r#"[{{"issuer":"https://i","audience":"a","algorithms":["EdDSA"],"jwks_url":"https://i/k"}},
            {{"issuer":"https://i","audience":"a","introspection":{}}}]"#,
        provider("")
    );
    check(&both, &[]);
    let policy = policy_with(&[("issuers", &opaque("")), ("PASS", "provider-secret")]);
    let introspection = policy.issuers[0].introspection.as_ref().unwrap();
    assert_eq!(introspection.client_auth, ClientAuth::ClientSecretBasic);
    assert!(!format!("{policy:?}").contains("provider-secret"));
}

#[test]
fn cors_members_are_validated() {
    let check = |cors: &str, expect: &[&str]| check(&[("cors", cors)], expect);
    check(r#"{"origins":["https://app.example","http://localhost:3000"]}"#, &[]);
    check(r#"{"origins":["*"]}"#, &[]);
    check(r#"{"origins":[]}"#, &["cors.origins"]);
    check(r#"{"origins":["*","https://app.example"]}"#, &["cors.origins"]);
    check(r#"{"origins":["https://app.example/"]}"#, &["cors.origins"]);
    check(r#"{"origins":["null"]}"#, &["cors.origins"]);
    check(r#"{"origins":["*"],"credentials":true}"#, &["cors.credentials"]);
    check(
        r#"{"origins":["*"],"methods":["get"],"headers":["a b"],"expose":["*"]}"#,
        &["cors.methods", "cors.headers", "cors.expose"],
    );
    check(r#"{"origins":["*"],"max_age_seconds":86401}"#, &["cors.max_age_seconds"]);
    check(r#"{"origin":["*"]}"#, &["cors.origins", "cors.origin"]);
    let route = r#"[{"name":"a","path":"/a","access":"public","cors":{"origins":["x"]}}]"#;
    super::tests::check(&[("routes", route)], &["routes[0].cors.origins"]);
}

#[test]
fn token_requirements_of_a_route_are_validated() {
    let check = |access: &str, members: &str, expect: &[&str]| {
        let routes = format!(r#"[{{"name":"a","path":"/a","access":"{access}",{members}}}]"#);
        check(&[("routes", &routes)], expect);
    };
    check("protected", r#""claims":{"tenant":"acme","roles":["a",1,true]}"#, &[]);
    for value in ["null", "{}", "[]", "[[1]]"] {
        let name = ["routes[0].claims.tenant"];
        check("protected", &format!(r#""claims":{{"tenant":{value}}}"#), &name);
    }
    check("protected", r#""cookie":"__Host-token","forward_token":true"#, &[]);
    check("protected", r#""cookie":"a=b""#, &["routes[0].cookie"]);
    check("protected", r#""forward_token":"keep""#, &["routes[0].forward_token"]);
    check("protected", r#""scopes_any":["a","b c"]"#, &["routes[0].scopes_any"]);
    check("protected", r#""assertion":true"#, &["routes[0].assertion"]);
    check("protected", r#""acr_values":["urn:mace:incommon:iap:silver","2"]"#, &[]);
    check("protected", r#""acr_values":["a b"]"#, &["routes[0].acr_values"]);
    check("protected", r#""acr_values":["a\""]"#, &["routes[0].acr_values"]);
    check("protected", r#""acr_values":[""]"#, &["routes[0].acr_values"]);
    check("protected", r#""max_age_seconds":0"#, &["routes[0].max_age_seconds"]);
    check(
        "auth",
        r#""max_age_seconds":1,"acr_values":["a"]"#,
        &["routes[0].acr_values", "routes[0].max_age_seconds"],
    );
    check(
        "public",
        r#""cookie":"a","forward_token":true,"claims":{"a":1},"scopes_any":["x"]"#,
        &[
            "routes[0].scopes_any",
            "routes[0].claims",
            "routes[0].cookie",
            "routes[0].forward_token",
        ],
    );
}

/// Each setting that names a claim takes the same places.
#[test]
fn place_of_a_claim_is_a_name_or_a_pointer() {
    for (place, is_valid) in [
        ("scp", true),
        ("/a/b", true),
        ("/", true),
        ("https://a.example/~x", true),
        ("/a~1b~0", true),
        ("/a~", false),
        ("/~2", false),
    ] {
        let route = |members: &str| {
            format!(r#"[{{"name":"a","path":"/a","access":"protected",{members}}}]"#)
        };
        let limit =
            |by: &str| route(&format!(r#""limit":{{"quota":5,"window_seconds":60,"by":{by}}}"#));
        let plans = format!(r#""route","plans":{{"claim":"{place}","quotas":{{"a":1}}}}"#);
        let keys = r#""algorithms":["EdDSA"],"jwks_url":"https://i/k""#;
        for (section, text, at) in [
            (
                "routes",
                route(&format!(r#""claims":{{"{place}":1}}"#)),
                format!("routes[0].claims.{place}"),
            ),
            ("routes", limit(&format!(r#""claim:{place}""#)), "routes[0].limit.by".to_owned()),
            ("routes", limit(&plans), "routes[0].limit.plans.claim".to_owned()),
            (
                "identity.claims",
                format!(r#"{{"{place}":"x-a"}}"#),
                format!("identity.claims.{place}"),
            ),
            (
                "issuers",
                issuer(&format!(r#"{keys},"scope_claims":["x","{place}"]"#)),
                "issuers[0].scope_claims[1]".to_owned(),
            ),
        ] {
            let expect = if is_valid { &[][..] } else { &[at.as_str()] };
            check(&[(section, &text)], expect);
        }
        let none = issuer(&format!(r#"{keys},"scope_claims":[]"#));
        check(&[("issuers", &none)], &["issuers[0].scope_claims"]);
        let old = [("issuers", &*issuer(&format!(r#"{keys},"scope_claim":"scp""#)))];
        let errors = Policy::parse(&document(&old), lookup(&old)).unwrap_err();
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "issuers[0].scope_claim (issuer https://i): unknown member; did you mean scope_claims?"
            ]
        );
    }
}

#[test]
fn missing_settings_are_all_reported() {
    let errors = Policy::parse("{}", |_| None).unwrap_err();
    let names: Vec<_> = errors.iter().map(|error| error.name.as_str()).collect();
    let all = ["issuers", "routes", "upstream.url", "store.url", "STORE_TOKEN"];
    assert_eq!(names, all);
}

#[test]
fn limit_members_are_validated() {
    fn check_limit(limit: &str, expect: &[&str]) {
        let routes =
            format!(r#"[{{"name":"a","path":"/a","access":"protected","limit":{limit}}}]"#);
        check(&[("routes", &routes)], expect);
    }
    let with = |more: &str| format!(r#"{{"quota":5,"window_seconds":60,"by":"subject"{more}}}"#);
    check_limit(&with(""), &[]);
    check_limit(&with(r#","algorithm":"token_bucket","burst":9"#), &[]);
    check_limit(&with(r#","algorithm":"sliding_window","burst":9"#), &["routes[0].limit.burst"]);
    check_limit(&with(r#","burst":0"#), &["routes[0].limit.burst"]);
    check_limit(&with(r#","local_quota":0"#), &["routes[0].limit.local_quota"]);
    check_limit(&with(r#","name":"x""#), &["routes[0].limit.name"]);
    check_limit(&with(r#","algorithm":"leaky""#), &["routes[0].limit.algorithm"]);
    check_limit(&with(r#","overrides":true"#), &[]);
    check_limit(&with(r#","period":"day""#), &["routes[0].limit.window_seconds"]);
    let period = |more: &str| format!(r#"{{"quota":5,"period":"month","by":"subject"{more}}}"#);
    check_limit(&period(""), &[]);
    check_limit(&period(r#","timing":"leased","overrides":true"#), &[]);
    check_limit(&period(r#","algorithm":"gcra""#), &["routes[0].limit.algorithm"]);
    check_limit(&period(r#","burst":5"#), &["routes[0].limit.burst"]);
    check_limit(&period(r#","algorithm":"credits""#), &[]);
    check_limit(r#"{"quota":5,"period":"year","by":"subject"}"#, &["routes[0].limit.period"]);
    check_limit(r#"{"period":"day","by":"subject"}"#, &["routes[0].limit.quota"]);
    check_limit(
        r#"{"by":"subject"}"#,
        &["routes[0].limit.window_seconds", "routes[0].limit.quota"],
    );
    let credits = |more: &str| format!(r#"{{"algorithm":"credits","by":"subject"{more}}}"#);
    check_limit(&credits(""), &[]);
    check_limit(&credits(r#","timing":"leased""#), &[]);
    check_limit(&credits(r#","on_store_outage":"local","local_quota":3"#), &[]);
    for (more, member) in [
        (r#","quota":5"#, "period"),
        (r#","period":"day""#, "quota"),
        (r#","window_seconds":5"#, "window_seconds"),
        (r#","overrides":true"#, "overrides"),
        (r#","burst":5"#, "burst"),
        (r#","plans":{"claim":"p","quotas":{"a":1}}"#, "plans"),
        (r#","on_store_outage":"local""#, "local_quota"),
    ] {
        check_limit(&credits(more), &[&format!("routes[0].limit.{member}")]);
    }
    check_limit(&with(r#","plans":{"claim":"p","quotas":{}}"#), &["routes[0].limit.plans.quotas"]);
    let zero = r#","plans":{"claim":"p","quotas":{"a":0}}"#;
    check_limit(&with(zero), &["routes[0].limit.plans.quotas.a"]);
    let by = |by: &str| format!(r#"{{"quota":5,"window_seconds":60,"by":{by}}}"#);
    check_limit(&by(r#"["subject","header:X-A","claim:plan","address"]"#), &[]);
    check_limit(&by("[]"), &["routes[0].limit.by"]);
    check_limit(&by(r#""everybody""#), &["routes[0].limit.by"]);
    check_limit(&by(r#"["subject","subject"]"#), &["routes[0].limit.by"]);
    check_limit(&by(r#""header:X Y""#), &["routes[0].limit.by"]);
    check_limit(&with(r#","timing":"leased","headers":true,"shadow":true"#), &[]);
    check_limit(&with(r#","timing":"leased","lease_seconds":60"#), &[]);
    check_limit(
        &with(r#","timing":"leased","lease_seconds":61"#),
        &["routes[0].limit.lease_seconds"],
    );
    check_limit(&with(r#","lease_seconds":2"#), &["routes[0].limit.lease_seconds"]);
    check_limit(&with(r#","timing":"after""#), &["routes[0].limit.timing"]);

    let limits = r#"[{"name":"l","quota":5,"window_seconds":60,"by":"subject"}]"#;
    let route = |more: &str| format!(r#"[{{"name":"a","path":"/a",{more}}}]"#);
    let check = |more: &str, expect: &[&str]| {
        check(&[("limits", limits), ("routes", &route(more))], expect);
    };
    check(r#""access":"protected","limits":["l"],"cost":5"#, &[]);
    check(r#""access":"protected","limits":["l"],"cost":6"#, &["routes[0].cost: limit l"]);
    check(r#""access":"protected","limits":["m"]"#, &["routes[0].limits[0]"]);
    check(r#""access":"protected","limits":["l","l"]"#, &["routes[0].limits[1]"]);
    check(r#""access":"public","limits":["l"]"#, &["routes[0]: limit l"]);
    check(r#""access":"auth","timeout_ms":60001"#, &["routes[0].timeout_ms"]);
    check(r#""access":"public","endpoint":"token""#, &["routes[0].endpoint"]);
    check(r#""access":"public","on_store_outage":"deny""#, &["routes[0].on_store_outage"]);
    check(r#""access":"protected","on_store_outage":"introspect""#, &["routes: on_store_outage"]);
    check(
        r#""access":"public","ip_rules":{"deny":["1.2.3.4/33"]}"#,
        &["routes[0].ip_rules.deny[0]"],
    );
}

#[test]
fn invalid_settings_are_all_reported() {
    let key = format!("a:{}", "A".repeat(43));
    check(
        &[
            ("limits", r#"[{"name":"a b","quota":0,"window_seconds":1,"by":"address"}]"#),
            ("ip_rules", r#"{"deny":["nowhere","::1"],"unlimited":["1.2.3.4/8"]}"#),
            ("invalid_token_limit", r#"{"quota":0,"window_seconds":0}"#),
            ("client_address.trusted_proxy_hops", "11"),
            ("breaker.failures", "-1"),
            ("breaker.shared", "yes"),
            ("logging.server_timing", "1"),
            ("metrics.interval_seconds", "x"),
            ("EDGE_AUTH_KEY", "k1:AAAA"),
            ("RECORD_ENCRYPTION_KEY", "secret"),
            ("RECORD_ENCRYPTION_KEY_PREVIOUS", "x"),
        ],
        &[
            "limits[0].name",
            "limits[0].quota",
            "EDGE_AUTH_KEY",
            "RECORD_ENCRYPTION_KEY",
            "RECORD_ENCRYPTION_KEY_PREVIOUS",
            "ip_rules.deny[0]",
            "ip_rules.unlimited[0]",
            "client_address.trusted_proxy_hops",
            "invalid_token_limit.quota",
            "invalid_token_limit.window_seconds",
            "breaker.failures",
            "breaker.shared",
            "logging.server_timing",
            "metrics.interval_seconds",
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
                "issuers",
                r#"[{"issuer":1,"audience":null,"algorithms":["none"],"leeway_seconds":-1,"sessions_in_store":"yes",
                    "token_type":"id","jwks_url":[],"introspection":{"url":"https://i/x","client_id":"a","kind":1}}]"#,
            ),
            (
                "routes",
                r#"[{"path":7,"access":"open","methods":"GET","scopes":[1],"claims":[],"require":"both","cost":0.5,
                    "limit":{"quota":"5","by":1,"plans":{"quotas":{"a":true}},"headers":0},"limits":{},
                    "timeout_ms":4294967296,"cors":{"origins":"*","credentials":1},"ip_rules":[],"upstream":false}]"#,
            ),
            ("identity", r#"{"subject":1,"claims":{"tenant":null,"plan":2},"roles":"x"}"#),
            ("invalid_token_limit", r#"{"quota":true,"window":1}"#),
            ("ip_rules", "[]"),
        ],
        &[
            "issuers[0].issuer",
            "issuers[0].audience",
            "issuers[0].leeway_seconds",
            "issuers[0].sessions_in_store",
            "issuers[0].token_type",
            "issuers[0].algorithms[0]",
            "issuers[0].introspection.client_secret_variable",
            "issuers[0].introspection.kind",
            "issuers[0].jwks_url",
            "routes[0].name",
            "routes[0].methods",
            "routes[0].scopes",
            "routes[0].claims",
            "routes[0].require",
            "routes[0].access",
            "routes[0].cost",
            "routes[0].limit.window_seconds",
            "routes[0].limit.quota",
            "routes[0].limit.by",
            "routes[0].limit.headers",
            "routes[0].limit.plans.claim",
            "routes[0].limit.plans.quotas.a",
            "routes[0].limits",
            "routes[0].timeout_ms",
            "routes[0].ip_rules",
            "routes[0].cors.origins",
            "routes[0].cors.credentials",
            "routes[0].upstream",
            "routes[0].path",
            "identity.subject",
            "identity.claims.plan",
            "identity.claims.tenant",
            "identity.roles",
            "ip_rules",
            "invalid_token_limit.window_seconds",
            "invalid_token_limit.quota",
            "invalid_token_limit.window",
        ],
    );
    // One error causes no others.
    let provider = r#"{"url":"https://i/x","client_id":"a","client_secret_variable":"NONE"}"#;
    let opaque = format!(r#"[{{"issuer":"https://i","audience":"a","introspection":{provider}}}]"#);
    let routes = r#"[{"name":"a","path":"/a","access":"protected","on_store_outage":"introspect"},
        {"name":"a","path":"b","access":"protected"}]"#;
    check(
        &[("issuers", &opaque), ("routes", routes)],
        &["NONE", "routes[1].name", "routes[1].path"],
    );
    check(
        &[("issuers", &opaque.replace("\"a\",\"i", "1,\"i")), ("routes", routes)],
        &["issuers[0].audience", "NONE", "routes[1].name", "routes[1].path"],
    );
    let inline = format!(r#""algorithms":["RS265"],"jwks":{{"keys":[{ED}]}}"#);
    check(&[("issuers", &issuer(&inline))], &["issuers[0].algorithms[0]"]);
    let limit = r#"{"quota":true,"window_seconds":1,"burst":60,"by":"subject","plans":{"claim":"p","quotas":{"free":10}}}"#;
    let costly =
        format!(r#"[{{"name":"a","path":"/a","access":"protected","cost":2,"limit":{limit}}}]"#);
    check(&[("routes", &costly)], &["routes[0].limit.quota"]);
    let mistyped = r#"[{"name":"a","path":"/a","access":"public","limit":{"quota":5,"window_seconds":60,
        "by":"address","algorithm":"fixed-window"}}]"#;
    let memcached = ("store.url", "memcached://127.0.0.1:11211");
    check(&[memcached, ("routes", mistyped)], &["routes[0].limit.algorithm"]);
    // A null is an error, too.
    for null in ["scopes", "claims", "methods", "limits", "require", "cors", "scops"] {
        let route = format!(r#"[{{"name":"a","path":"/a","access":"protected","{null}":null}}]"#);
        check(&[("routes", &route)], &[&format!("routes[0].{null}")]);
    }
    check(&[("ip_rules", r#"{"allow":null}"#)], &["ip_rules.allow"]);
    let messages = |changes: &[(&str, &str)]| {
        Policy::parse(&document(changes), lookup(changes))
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let route = r#"[{"name":"a","path":"/a","access":"open","scopes":"x","limt":{}}]"#;
    assert_eq!(
        messages(&[("routes", route)]),
        [
            "routes[0].scopes (route a): must be a list of texts",
            "routes[0].access (route a): must be one of: auth, deny, events, optional, protected, \
             public",
            "routes[0].limt (route a): unknown member; did you mean limit?",
        ]
    );
}

#[test]
fn memcached_needs_no_token_and_has_no_scripts() {
    let fixed = r#"[{"name":"a","path":"/a","access":"public","limit":{"quota":5,"window_seconds":60,
        "by":"address","algorithm":"fixed_window"}}]"#;
    let url = ("store.url", "memcached://127.0.0.1:11211");
    check(&[url, ("routes", fixed), ("STORE_TOKEN", "")], &[]);
    let usage = ("usage.flush_seconds", "10");
    check(&[url, ("routes", fixed), usage], &["usage.flush_seconds"]);
    check(&[url], &["routes[0].limit.algorithm", "routes[4].limit.algorithm"]);
    check(&[("store.url", "memcached://x"), ("routes", fixed)], &["store.url"]);
    let with = |limit: &str| {
        format!(
            r#"[{{"name":"a","path":"/a","access":"public","limit":{{"by":"address",{limit}}}}}]"#
        )
    };
    for (limit, member) in [
        (r#""quota":5,"period":"day""#, "period"),
        (r#""algorithm":"credits""#, "algorithm"),
        (
            r#""quota":5,"window_seconds":60,"algorithm":"fixed_window","overrides":true"#,
            "overrides",
        ),
    ] {
        check(&[url, ("routes", &with(limit))], &[&format!("routes[0].limit.{member}")]);
    }
}

#[cfg(not(target_arch = "wasm32"))]
#[test]
fn each_member_is_documented() {
    use serde_json::Value;
    let page = include_str!("../../../../docs/configuration.md");
    let members = Policy::members();
    assert!(members.len() > 130, "{members:?}");
    for PolicyMember { place, shape, default, .. } in members {
        let Some((table, member)) = place.rsplit_once('.') else {
            continue;
        };
        let in_list = ["issuers", "limits", "routes"].iter().any(|list| table.starts_with(list));
        let name = match table {
            "routes.cors" | "routes.ip_rules" => place.trim_start_matches("routes."),
            _ if in_list => member,
            _ => &place,
        };
        let start = format!("| `{name}` |");
        let rows: Vec<String> = page
            .lines()
            .filter(|line| line.starts_with(&start))
            .map(|row| row.replace('`', ""))
            .collect();
        assert!(!rows.is_empty(), "docs/configuration.md lacks {place}: {start}");
        if let MemberShape::Number { min, max } = shape {
            let bounds = format!("{min} to {max}");
            assert!(rows.iter().any(|row| row.contains(&bounds)), "{place}: {bounds}: {rows:?}");
        }
        let has_default = |row: &String| {
            let cell = row.trim_end_matches([' ', '|']).rsplit("| ").next().unwrap();
            match &default {
                None => !cell.starts_with(|first: char| first.is_ascii_digit()),
                Some(Value::Array(values)) => {
                    let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
                    cell.starts_with(&values.join(", "))
                }
                Some(Value::String(text)) => cell.starts_with(text),
                Some(value) => cell.starts_with(&value.to_string()),
            }
        };
        assert!(rows.iter().any(has_default), "{place}: {default:?}: {rows:?}");
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
    check(&[("assertion", ASSERTION)], &["ASSERTION_KEY"]);
    check(&[("ASSERTION_KEY", SIGNING_KEY)], &["assertion"]);
    for bad in [
        SIGNING_KEY.replace("\"d\"", "\"e\""),
        SIGNING_KEY.replace("EdDSA", "ES256"),
        SIGNING_KEY.replace("EdDSA", "HS256"),
        SIGNING_KEY.replace("nWGx", ""),
        SIGNING_KEY.replace("kid", "kit"),
        "secret".to_owned(),
    ] {
        check(&[("assertion", ASSERTION), ("ASSERTION_KEY", &bad)], &["ASSERTION_KEY"]);
    }
    let invalid = r#"{"issuer":"","audience":"","seconds":0,"field":"Cookie"}"#;
    check(
        &[("assertion", invalid), ("ASSERTION_KEY", SIGNING_KEY)],
        &["assertion.issuer", "assertion.audience", "assertion.field", "assertion.seconds"],
    );
    let subject = r#"{"issuer":"a","audience":"b","field":"portcullis-subject"}"#;
    check(&[("assertion", subject), ("ASSERTION_KEY", SIGNING_KEY)], &["identity.subject"]);
}

/// Each level has a reader of its own, which must reject the members that it does not know.
#[test]
fn unknown_member_is_reported_at_each_level() {
    check(
        &[
            (
                "issuers",
                r#"[{"issuer":"https://i","audience":"a","x":1,"introspection":{"url":"https://i/x",
                    "client_id":"a","client_secret_variable":"STORE_TOKEN","x":1}}]"#,
            ),
            (
                "limits",
                r#"[{"name":"l","quota":5,"window_seconds":60,"by":"subject","x":1,
                    "plans":{"claim":"p","quotas":{"a":1},"x":1}}]"#,
            ),
            (
                "routes",
                r#"[{"name":"a","path":"/a","access":"protected","x":1,"cors":{"origins":["*"],"x":1},
                    "ip_rules":{"x":1},"limit":{"quota":5,"window_seconds":60,"by":"subject","x":1,
                    "plans":{"claim":"p","quotas":{"a":1},"x":1}}},
                    {"name":"b","path":"/a","access":"protected","x":1},
                    {"name":"c","path":"b","access":"protected","x":1}]"#,
            ),
            ("cors", r#"{"origins":["*"],"x":1}"#),
            ("assertion", r#"{"issuer":"a","audience":"b","x":1}"#),
            ("ASSERTION_KEY", SIGNING_KEY),
            ("identity", r#"{"x":1}"#),
            ("ip_rules", r#"{"x":1}"#),
            ("invalid_token_limit", r#"{"quota":1,"window_seconds":1,"x":1}"#),
        ],
        &[
            "cors.x",
            "assertion.x",
            "issuers[0].introspection.x",
            "issuers[0].x",
            "limits[0].plans.x",
            "limits[0].x",
            "routes[0].limit.plans.x",
            "routes[0].limit.x",
            "routes[0].ip_rules.x",
            "routes[0].cors.x",
            "routes[0].x",
            "routes[1]",
            "routes[1].x",
            "routes[2].path",
            "routes[2].x",
            "identity.x",
            "ip_rules.x",
            "invalid_token_limit.x",
        ],
    );
}
