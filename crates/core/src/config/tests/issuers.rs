//! The names, audiences and requirements of issuers.

use super::*;
use crate::policy::issuer::AudienceClaim;
use crate::policy::requirements::Requirements;
use serde_json::json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Returns a list with one issuer of these members, next to its algorithm and keys.
fn one(members: &str) -> String {
    format!("[{}]", entry(members))
}

fn entry(members: &str) -> String {
    format!(r#"{{{members},"algorithms":["EdDSA"],"jwks_url":"https://i/k"}}"#)
}

fn opaque(members: &str) -> String {
    format!(
        r#"{{{members},"introspection":{{"url":"https://i/x","client_id":"a",
        "client_secret_variable":"PASS"}}}}"#
    )
}

fn check(issuers: &str, expect: &[&str]) {
    let changes = [("issuers", issuers), ("PASS", "secret")];
    assert_eq!(error_names(&changes), expect, "{issuers}");
}

fn read(issuers: &str) -> Vec<Issuer> {
    policy_with(&[("issuers", issuers), ("PASS", "secret")]).issuers
}

#[test]
fn audience_is_missing_only_where_something_replaces_it() {
    let check = |members: &str, expect: &[&str]| {
        super::issuers::check(&one(&format!(r#""issuer":"i"{members}"#)), expect);
    };
    check("", &["issuers[0].audience"]);
    check(r#","audience":"api""#, &[]);
    check(r#","audience":["api","https://api.example"]"#, &[]);
    check(r#","audience":[]"#, &["issuers[0].audience"]);
    check(r#","audience":["api",""]"#, &["issuers[0].audience[1]"]);
    check(r#","audience":["api",7]"#, &["issuers[0].audience[1]"]);
    check(r#","audience":["api","b","api"]"#, &["issuers[0].audience[2]"]);
    check(r#","audience":{"a":1}"#, &["issuers[0].audience"]);
    check(r#","audience_claim":"aud""#, &["issuers[0].audience"]);
    check(r#","audience_claim":"client_id""#, &["issuers[0].audience"]);
    check(r#","audience_claim":"azp""#, &["issuers[0].audience"]);
    check(r#","audience_claim":"azp","authorized_parties":["a"]"#, &["issuers[0].audience"]);
    check(r#","audience_claim":"sub","audience":"a""#, &["issuers[0].audience_claim"]);
    check(r#","audience_claim":"client_id","audience":"a""#, &[]);
    check(r#","audience_claim":"iss""#, &[]);
    check(r#","authorized_parties":["https://app.example"]"#, &[]);
    check(r#","authorized_parties":"https://app.example","audience":"a""#, &[]);
    check(r#","authorized_parties":[],"audience":"a""#, &["issuers[0].authorized_parties"]);
    check(r#","authorized_parties":[""],"audience":"a""#, &["issuers[0].authorized_parties[0]"]);
    let [issuer] = &read(&one(
        r#""issuer":"i","audience":["a","b"],"audience_claim":"client_id","authorized_parties":["p"]"#,
    ))[..] else {
        panic!("not one issuer");
    };
    assert_eq!(
        (&issuer.audiences[..], issuer.audience_claim),
        (&["a".into(), "b".into()][..], AudienceClaim::ClientId)
    );
    assert_eq!(issuer.authorized_parties, ["p"]);
}

#[test]
fn issuer_may_be_any_text_with_one_place_for_a_tenant() {
    let check = |name: &str, members: &str, expect: &[&str]| {
        super::issuers::check(
            &one(&format!(r#""issuer":"{name}","audience":"a"{members}"#)),
            expect,
        );
    };
    for name in ["acme", "stytch.com/project", "P2abc", "https://a.example/", "a b", "{tenant}"] {
        check(name, "", &[]);
    }
    check("https://login.example/{tenant}/v2.0", "", &[]);
    check("https://login.example/{tenant}/v2.0", r#","tenants":["a","b-1.c_~"]"#, &[]);
    for name in ["{tenantid}", "{Tenant}", "{tenant}/{tenant}", "{tenant}}", "a{", "{tenant}/{x}"] {
        check(name, "", &["issuers[0].issuer"]);
    }
    let tenants = |list: &str| format!(r#","tenants":{list}"#);
    check("https://a.example", &tenants(r#"["a"]"#), &["issuers[0].tenants"]);
    check("a/{tenant}", &tenants("[]"), &["issuers[0].tenants"]);
    check("a/{tenant}", &tenants(r#"["a","a"]"#), &["issuers[0].tenants[1]"]);
    for tenant in ["", "a/b", "a b", "{tenant}", "a%2f", "\u{e9}", &"a".repeat(65)] {
        check("a/{tenant}", &tenants(&format!(r#"["b","{tenant}"]"#)), &["issuers[0].tenants[1]"]);
    }
    check("a/{tenant}", &tenants(&format!(r#"["{}"]"#, "a".repeat(64))), &[]);
    check("a/{tenant}", r#","issuer_aliases":["b"]"#, &["issuers[0].issuer_aliases"]);
    check("a", r#","issuer_aliases":["b{tenant}"]"#, &["issuers[0].issuer_aliases[0]"]);
    check("a", r#","issuer_aliases":["b","c","b"]"#, &["issuers[0].issuer_aliases[2]"]);
    check("a", r#","issuer_aliases":["a"]"#, &["issuers[0].issuer_aliases"]);
    check("a", r#","issuer_aliases":[]"#, &["issuers[0].issuer_aliases"]);
    let issuers = read(&format!(
        "[{},{},{}]",
        entry(r#""issuer":"a","audience":"x","issuer_aliases":["b"]"#),
        entry(r#""issuer":"t/{tenant}","audience":"x","tenants":["one"]"#),
        entry(r#""issuer":"u/{tenant}","audience":"x""#),
    ));
    assert_eq!(issuers[0].aliases, ["b"]);
    let names: Vec<_> = issuers.iter().map(Issuer::names).collect();
    assert_eq!(names, [vec!["a".to_owned()], vec!["t/one".to_owned()], vec![]]);
    let tenants: Vec<_> = issuers.iter().map(|issuer| issuer.tenants.clone()).collect();
    assert_eq!(tenants, [None, Some(vec!["one".to_owned()]), Some(vec![])]);
}

#[test]
fn no_two_issuers_share_a_name() {
    let named = |names: &str| entry(&format!(r#"{names},"audience":"x""#));
    let check = |first: &str, second: &str, expect: &[&str]| {
        let second =
            if second.contains("introspection") { second.to_owned() } else { named(second) };
        super::issuers::check(&format!("[{},{second}]", named(first)), expect);
    };
    let a = r#""issuer":"a","issuer_aliases":["b"]"#;
    check(a, r#""issuer":"a""#, &["issuers[1].issuer"]);
    check(a, r#""issuer":"b""#, &["issuers[1].issuer"]);
    check(a, r#""issuer":"c""#, &[]);
    check(a, r#""issuer":"c","issuer_aliases":["a"]"#, &["issuers[1].issuer_aliases"]);
    check(a, r#""issuer":"c","issuer_aliases":["d","b"]"#, &["issuers[1].issuer_aliases"]);
    check(r#""issuer":"b""#, a, &["issuers[1].issuer_aliases"]);
    // JWTs and opaque tokens of one issuer.
    check(a, &opaque(r#""issuer":"a","audience":"x""#), &[]);
    check(a, &opaque(r#""issuer":"a","audience":"x","issuer_aliases":["b"]"#), &[]);
    check(a, &opaque(r#""issuer":"b","audience":"x""#), &["issuers[1].issuer"]);
    // One tenant before all of them, and not after.
    let all = r#""issuer":"t/{tenant}""#;
    check(r#""issuer":"t/a""#, all, &[]);
    check(r#""issuer":"z","issuer_aliases":["t/a"]"#, all, &[]);
    check(all, r#""issuer":"t/a""#, &["issuers[1].issuer"]);
    check(all, r#""issuer":"z","issuer_aliases":["t/a"]"#, &["issuers[1].issuer_aliases"]);
    check(all, r#""issuer":"t/a/b""#, &[]);
    check(all, &opaque(r#""issuer":"t/a","audience":"x""#), &[]);
    check(all, all, &["issuers[1].issuer"]);
    check(all, r#""issuer":"{tenant}""#, &[]);
    check(all, r#""issuer":"t/a{tenant}","tenants":["b"]"#, &["issuers[1].issuer"]);
    check(all, r#""issuer":"t/a{tenant}""#, &["issuers[1].issuer"]);
    check(r#""issuer":"t/a{tenant}""#, all, &[]);
}

#[test]
fn requirements_are_values_and_places() {
    let check = |members: &str, expect: &[&str]| {
        super::issuers::check(&one(&format!(r#""issuer":"i","audience":"a",{members}"#)), expect);
    };
    for part in ["claims", "header"] {
        let check = |members: &str, at: &[&str]| {
            let at: Vec<String> =
                at.iter().map(|at| format!("issuers[0].{}", at.replace("PART", part))).collect();
            let at: Vec<&str> = at.iter().map(String::as_str).collect();
            check(&members.replace("PART", part), &at);
        };
        check(r#""PART":{"token_use":"access","/a/b":[1,true,"x"]}"#, &[]);
        check(r#""PART":{}"#, &[]);
        check(r#""PART":[]"#, &["PART"]);
        check(r#""PART":{"a":[]}"#, &["PART.a"]);
        check(r#""PART":{"a":{}}"#, &["PART.a"]);
        check(r#""PART":{"/~":"x"}"#, &["PART./~"]);
        check(r#""PART":{"":"x"}"#, &["PART."]);
        check(r#""PART_required":["a","/b/c"],"PART_forbidden":"nonce""#, &[]);
        check(r#""PART_required":[]"#, &["PART_required"]);
        check(r#""PART_required":["/a~"]"#, &["PART_required[0]"]);
        check(r#""PART_forbidden":["a",""]"#, &["PART_forbidden[1]"]);
        check(r#""PART_forbidden":["a","a"]"#, &["PART_forbidden[1]"]);
        check(r#""PART_forbidden":7"#, &["PART_forbidden"]);
    }
    let opaque = |members: &str| opaque(&format!(r#""issuer":"i","audience":"a"{members}"#));
    super::issuers::check(&format!("[{}]", opaque(r#","claims":{"a":"b"}"#)), &[]);
    for header in
        [r#","header":{"a":"b"}"#, r#","header_required":"a""#, r#","header_forbidden":"a""#]
    {
        super::issuers::check(&format!("[{}]", opaque(header)), &["issuers[0].header"]);
    }
    let issuer = &read(&one(
        r#""issuer":"i","audience":"a","claims":{"/a":["x",1]},"claims_required":"b","header_forbidden":["c","/d"]"#,
    ))[0];
    let claims = Requirements {
        values: vec![("/a".into(), vec![json!("x"), json!(1)])],
        required: vec!["b".into()],
        forbidden: vec![],
    };
    assert_eq!(issuer.claims, claims);
    assert_eq!(issuer.header.forbidden, ["c", "/d"]);
}

/// The hash of the settings changes with each that decides how a response is read, and stays the
/// same without them.
#[test]
fn reading_of_responses_depends_on_each_setting() {
    use crate::policy::introspection::Introspection;
    let hash = |members: &str| {
        let issuers = format!("[{}]", opaque(&format!(r#""issuer":"i"{members}"#)));
        Introspection::settings_hash(&read(&issuers)[0], &[])
    };
    let mut hashes = vec![
        hash(r#","audience":"a""#),
        hash(r#","audience":"b""#),
        hash(r#","audience":["a","b"]"#),
        hash(r#","audience":["a","scope"]"#),
        hash(r#","audience":"a","audience_claim":"azp""#),
        hash(r#","audience":"a","authorized_parties":["b"]"#),
        hash(r#","audience":"a","claims":{"b":"c"}"#),
        hash(r#","audience":"a","claims":{"b":["c","d"]}"#),
        hash(r#","audience":"a","claims_required":["b"]"#),
        hash(r#","audience":"a","claims_forbidden":["b"]"#),
        hash(r#","audience":"a","issuer_aliases":["b"]"#),
    ];
    assert_eq!(hash(r#","audience":["a"]"#), hashes[0]);
    // A claim of the same name that a route uses is another setting.
    let with_claim = |claim: &str| {
        let issuers = format!("[{}]", opaque(r#""issuer":"i","audience":"a""#));
        Introspection::settings_hash(&read(&issuers)[0], &[claim.to_owned()])
    };
    hashes.extend(["azp", "client_id", "iss"].map(with_claim));
    hashes.push(hash(r#","audience":"a","audience_claim":"client_id""#));
    hashes.push(hash(r#","audience":"a","audience_claim":"iss""#));
    let count = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

/// A deployed policy has the values; before a deployment, nothing is known of them.
#[test]
fn values_of_unknown_variables_are_assumed_to_fit() {
    let issuers = r#"[{"issuer":"${ISSUER}","tenants":["${TENANT}"],"issuer_aliases":["${ALIAS}"],
        "audience":["${AUDIENCE}","b"],"algorithms":["RS256"],"public_key":"${PEM}"}]"#;
    let changes = [("issuers", issuers)];
    let assumed = Policy::assume(&document(&changes), lookup(&changes));
    assert_eq!(assumed.map(|policy| policy.issuers.len()), Ok(1));
}
