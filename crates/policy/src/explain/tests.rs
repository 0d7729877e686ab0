use crate::testing::{NOW_SECONDS, POLICY, run_on};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

fn explain(line: &str) -> Value {
    let claims = json!({ "scope": "admin", "sub": "alice" }).to_string();
    let files = [("portcullis.toml", POLICY), ("claims", claims.as_str())];
    let outcome = run_on(&files, &format!("explain --json {line}"));
    assert_eq!(outcome.status, 0, "{}", outcome.text);
    serde_json::from_str(&outcome.text).unwrap()
}

/// Returns the refusal's status and code, or where the request goes.
fn verdict(line: &str) -> String {
    let outcome = &explain(line)["outcome"];
    match outcome["verdict"].as_str().unwrap() {
        "forwarded" => outcome["to"].as_str().unwrap().to_owned(),
        _ => format!("{} {}", outcome["status"], outcome["code"].as_str().unwrap_or_default()),
    }
}

#[test]
fn each_outcome_is_explained() {
    let upstream = "the upstream, https://upstream.example";
    for (line, expect) in [
        ("GET /nowhere", "404 route_not_found"),
        ("GET /api/x", "401 token_missing"),
        ("POST /public/x", "405 method_not_allowed"),
        ("GET /public/x?a=1", &format!("{upstream}/public/x?a=1")),
        ("POST /auth/login", "the auth service, https://auth.example/auth/login"),
        ("POST /auth/login --assume over:login", "429 rate_limited"),
        ("GET /api/admin/x --claims claims", &format!("{upstream}/api/admin/x")),
        ("GET /api/x --claims claims --assume revoked", "401 token_revoked"),
        ("GET /api/x --claims claims --assume bad-signature", "401 signature_invalid"),
        ("GET /api/x --claims claims --assume over:api", "429 rate_limited"),
        ("GET /api/x --claims claims --assume no-record", &format!("{upstream}/api/x")),
        (
            "GET /api/x --claims claims --assume no-record --assume auth-down",
            "503 introspection_unreachable",
        ),
        ("GET /api/admin/x --claims claims --assume store-down", "503 store_unreachable"),
        ("GET /api/x --token a.b.c", "401 token_malformed"),
        ("GET /%2e%2e/x", "400 path_ambiguous"),
    ] {
        assert_eq!(verdict(line), expect, "{line}");
    }
}

#[test]
fn pushed_event_is_answered_by_its_media_type() {
    let events = "events = { accept = [\"logout\"], audience = \"spa\" }\naudience =";
    let route = "\n[[routes]]\nname = \"events\"\npath = \"/events\"\naccess = \"events\"\n";
    let policy = POLICY.replace("audience =", events) + route;
    for (media_type, expect) in [
        ("application/x-www-form-urlencoded", "200 "),
        ("application/secevent+jwt", "202 "),
        ("application/json", "204 "),
        ("text/plain", "400 event_malformed"),
    ] {
        let line = format!("explain --json POST /events --header content-type:{media_type}");
        let outcome = run_on(&[("portcullis.toml", &policy)], &line);
        let explained: Value = serde_json::from_str(&outcome.text).unwrap();
        let outcome = &explained["outcome"];
        let code = outcome["code"].as_str().unwrap_or_default();
        assert_eq!(format!("{} {code}", outcome["status"]), expect, "{explained}");
    }
}

#[test]
fn earlier_routes_store_commands_and_identity_are_shown() {
    let explained = explain("GET /api/x --claims claims --header x-a:b");
    let steps = explained["steps"].to_string();
    assert!(steps.contains("route login") && steps.contains("its path does not match"), "{steps}");
    let commands = explained["store_commands"].as_array().unwrap();
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert!(commands[0].as_str().unwrap().starts_with("MGET pc:revoked:"), "{commands:?}");
    let set = explained["outcome"]["set"].to_string();
    assert!(set.contains(r#"["portcullis-subject","alice"]"#), "{set}");
    assert!(explained["outcome"]["remove"].to_string().contains("authorization"));
    let assumptions = explained["assumptions"].to_string();
    for assumption in
        ["the signature is good", "not revoked", "the token's record", "limit api has"]
    {
        assert!(assumptions.contains(assumption), "{assumption}: {assumptions}");
    }
}

#[test]
fn tokens_are_never_printed() {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "a" }));
    let payload = part(json!({ "iss": "https://issuer.example", "aud": "api", "sub": "alice",
        "exp": NOW_SECONDS + 60, "iat": NOW_SECONDS }));
    let token = format!("{header}.{payload}.c2VjcmV0c2VjcmV0");
    for line in [
        format!("explain GET /api/x --token {token}"),
        format!("explain GET /api/x --token {token} --assume revoked"),
        format!("explain GET /api/admin --token {token} --header cookie:a={token}"),
    ] {
        let outcome = run_on(&[("portcullis.toml", POLICY)], &line);
        assert_eq!(outcome.status, 0, "{}", outcome.text);
        for secret in [&token, &payload, "c2VjcmV0c2VjcmV0"] {
            assert!(!outcome.text.contains(secret), "{}", outcome.text);
        }
    }
}

#[test]
fn route_that_does_not_enforce_forwards_without_identity() {
    let policy = POLICY.replace("scopes = [\"admin\"]", "scopes = [\"admin\"]\nenforce = false");
    let run = |line: &str| run_on(&[("portcullis.toml", policy.as_str())], line).text;
    let text = run("explain GET /api/admin/x --header portcullis-subject:mallory");
    assert!(text.contains("would be token_missing"), "{text}");
    assert!(text.contains("forwarded to the upstream"), "{text}");
    assert!(text.contains("remove") && text.contains("portcullis-subject"), "{text}");
    assert!(!text.contains("set portcullis-subject"), "{text}");
    assert!(run("check").contains("not_enforced:admin"));
    let files = [("old", POLICY), ("new", policy.as_str())];
    assert_eq!(run_on(&files, "diff old new").status, 3);
    assert_eq!(run_on(&files[..1], "explain GET api/x --file old").status, 2, "no path");
    // A token in a cookie is kept, too.
    let cookie = policy.replace("enforce = false", "enforce = false\ncookie = \"token\"");
    let files = [("portcullis.toml", cookie.as_str())];
    let text = run_on(&files, "explain GET /api/admin/x --header cookie:token=a.b.c").text;
    assert!(text.contains("would be token_malformed") && !text.contains("cookie"), "{text}");
}

#[test]
fn expired_token_is_refused() {
    let old = json!({ "exp": NOW_SECONDS - 1000, "iat": NOW_SECONDS - 2000 }).to_string();
    let files = [("portcullis.toml", POLICY), ("old", old.as_str())];
    let outcome = run_on(&files, "explain GET /api/x --claims old");
    assert!(outcome.text.contains("refused: 401 token_expired"), "{}", outcome.text);
}

/// A token whose signature is good for the platform of these tests.
fn signed(alg: &str, kid: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": alg, "typ": "at+jwt", "kid": kid }));
    let payload = part(json!({ "iss": "https://issuer.example", "aud": "api", "sub": "alice",
        "exp": NOW_SECONDS + 60, "iat": NOW_SECONDS }));
    let input = format!("{header}.{payload}");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(input.len().to_string()))
}

#[test]
fn signature_is_checked_with_a_key_set() {
    let x = URL_SAFE_NO_PAD.encode([7; 32]);
    let ed = |kid: &str| json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x });
    let point = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![7; bytes]);
    let ec = |kid: &str, crv: &str, bytes: usize| json!({ "kty": "EC", "crv": crv, "kid": kid, "x": point(bytes), "y": point(bytes) });
    let es512 = ec("other", "P-521", 66);
    let set = |keys: &[Value]| json!({ "keys": keys }).to_string();
    let policy = POLICY
        .replace("algorithms = [\"EdDSA\"]", "algorithms = [\"EdDSA\", \"ES384\", \"ES512\"]");
    let run = |token: &str, keys: &str| {
        let files = [("portcullis.toml", policy.as_str()), ("keys", keys)];
        run_on(&files, &format!("explain GET /api/x --token {token} --jwks keys"))
    };
    let good = signed("EdDSA", "k1");
    let text = run(&good, &set(&[ed("k1"), ed("k2")])).text;
    assert!(text.contains("signature: checked with keys: it is good"), "{text}");
    assert!(text.contains("forwarded to") && !text.contains("the signature is good"), "{text}");
    for (token, keys, verdict) in [
        (format!("{good}AAAA"), set(&[ed("k1")]), "401 signature_invalid"),
        (good.clone(), set(&[ed("k2")]), "401 key_unknown"),
        (good.clone(), set(&[ed("k1"), ed("k1")]), "401 key_unknown"),
        (signed("ES384", "k1"), set(&[ed("k1")]), "401 algorithm_refused"),
        (signed("HS256", "k1"), set(&[ed("k1")]), "401 algorithm_refused"),
        // The platform can't use the key; then not any of the set.
        (signed("ES512", "other"), set(&[ed("k1"), es512.clone()]), "401 key_unknown"),
        (signed("ES512", "other"), set(&[es512]), "503 keys_unavailable"),
        (good.clone(), set(&[]), "503 keys_unavailable"),
    ] {
        let outcome = run(&token, &keys);
        let refused = format!("refused: {verdict}");
        assert!(outcome.text.contains(&refused), "{verdict}: {}", outcome.text);
        let is_parsed = !token.starts_with(&signed("HS256", "k1")[..20]);
        assert_eq!(outcome.text.contains("checked with keys"), is_parsed, "{}", outcome.text);
        assert!(!outcome.text.contains(&token) && !outcome.text.contains("assumed"));
    }
    let short = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k3", "x": "AAAA" });
    let text = run(&good, &set(&[ed("k1"), short])).text;
    assert!(text.contains("key set: keys: keys[1] is left out: a member has another"), "{text}");

    for (arguments, keys, reason) in [
        (format!("--token {good}"), "{", "keys is not a key set (Malformed)"),
        (format!("--token {good} --assume bad-signature"), r#"{"keys":[]}"#, "--jwks checks"),
        (String::new(), r#"{"keys":[]}"#, "--token"),
        (
            format!("--token {}", signed("ES384", "k1")),
            &set(&[ec("k1", "P-384", 48)]),
            "error: the platform is broken",
        ),
    ] {
        let files = [("portcullis.toml", policy.as_str()), ("keys", keys)];
        let outcome = run_on(&files, &format!("explain GET /api/x --jwks keys {arguments}"));
        assert!(outcome.status == 2 && outcome.text.contains(reason), "{}", outcome.text);
    }
}
