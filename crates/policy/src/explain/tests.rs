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
        ("GET /api/x --claims claims --assume blocked", "403 blocked"),
        ("POST /auth/login --assume blocked", "403 blocked"),
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
fn location_is_the_one_that_is_given() {
    let policy = format!("{POLICY}\n[ip_rules]\ndeny_countries = [\"FR\"]\nallow_asns = [3320]\n");
    for (line, status, expect) in [
        ("--country DE --asn 3320", 0, "forwarded"),
        ("--country FR --asn 3320", 0, "address_refused"),
        ("--country DE --asn 1", 0, "address_refused"),
        ("", 0, "address_refused"),
        ("--country germany", 2, "--country germany: not two capitals"),
    ] {
        let line = format!("explain GET /public/x {line}");
        let outcome = run_on(&[("portcullis.toml", policy.as_str())], &line);
        assert_eq!(outcome.status, status, "{line}: {}", outcome.text);
        assert!(outcome.text.contains(expect), "{line}: {}", outcome.text);
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

#[test]
fn claims_are_shown_with_their_places() {
    let policy = POLICY
        .replace("[[routes]]\nname = \"api\"", "[[routes]]\nname = \"pay\"\npath = \"/api/pay\"\naccess = \"protected\"\nsuffixes = \"same\"\nscopes = [\"staff\"]\nacr_values = [\"phr\"]\nmax_age_seconds = 300\nclaims = { \"/org/id\" = \"o1\" }\n\n[[routes]]\nname = \"api\"")
        .replace("audience = \"api\"", "audience = \"api\"\nscope_claims = [\"scope\", \"/realm_access/roles\"]");
    let claims = |auth_time: u64| {
        json!({ "sub": "alice", "scope": "read", "realm_access": { "roles": ["staff"] },
            "acr": "phr", "auth_time": auth_time, "org": { "id": "o1" } })
        .to_string()
    };
    let run = |claims: &str, more: &str| {
        let files = [("portcullis.toml", policy.as_str()), ("claims", claims)];
        run_on(&files, &format!("explain GET /api/pay --claims claims {more}")).text
    };
    let text = run(&claims(NOW_SECONDS - 300), "");
    for line in [
        "  scope: read staff (from scope and /realm_access/roles)\n",
        "  claim /org/id: \"o1\"\n",
        "  claim acr: \"phr\"\n",
        "forwarded to the upstream",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let text = run(&claims(NOW_SECONDS - 331), "");
    assert!(text.contains("refused: 401 insufficient_user_authentication"), "{text}");
    let challenge = "  www-authenticate: Bearer error=\"insufficient_user_authentication\", ";
    assert!(text.contains(challenge), "{text}");
    assert!(text.contains("acr_values=\"phr\", max_age=\"300\", scope=\"staff\"\n"), "{text}");
    let text = run(r#"{"scope":"read"}"#, "");
    assert!(text.contains("  claim /org/id: none\n"), "{text}");
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

/// A token that is made of claims has what its issuer's settings need, unless the claims say
/// otherwise.
#[test]
fn made_token_is_one_of_its_issuer() {
    let run = |members: &str, claims: Value| {
        let policy =
            POLICY.replace("issuer = \"https://issuer.example\"\naudience = \"api\"\n", members);
        let claims = claims.to_string();
        let files = [("portcullis.toml", policy.as_str()), ("claims", claims.as_str())];
        run_on(&files, "explain GET /api/x --claims claims").text
    };
    let tenants =
        "issuer = \"https://t.example/{tenant}\"\ntenants = [\"a\", \"b\"]\naudience = \"api\"\n";
    let by_client = "issuer = \"acme\"\naudience = [\"web\"]\naudience_claim = \"client_id\"\n";
    let party = "issuer = \"acme\"\nauthorized_parties = [\"web\"]\nclaims = { use = \"access\" }\n\
        header = { cat = [111] }\nheader_required = [\"/x\"]\n";
    for (members, claims, expect) in [
        (tenants, json!({}), "a JWT of https://t.example/a,"),
        (tenants, json!({ "tid": "b" }), "a JWT of https://t.example/b,"),
        (
            tenants,
            json!({ "iss": "https://t.example/b", "tid": "b" }),
            "a JWT of https://t.example/b,",
        ),
        (tenants, json!({ "iss": "https://t.example/b" }), "401 claim_missing"),
        (tenants, json!({ "iss": "https://t.example/b", "tid": "a" }), "401 tenant_refused"),
        (tenants, json!({ "tid": "c" }), "401 tenant_refused"),
        (by_client, json!({}), "a JWT of acme,"),
        (by_client, json!({ "aud": "web", "client_id": "x" }), "a JWT of acme,"),
        (by_client, json!({ "client_id": "x" }), "401 audience_mismatch"),
        (party, json!({ "use": "access" }), "a JWT of acme,"),
        (party, json!({ "use": "access", "azp": "x" }), "401 authorized_party_refused"),
        (party, json!({ "use": "id" }), "does not meet claims use of its issuer"),
        (party, json!({ "use": "id" }), "401 token_type_refused"),
    ] {
        let text = run(members, claims.clone());
        assert!(text.contains(expect), "{expect}: {claims}: {text}");
    }
}

#[test]
fn optional_route_is_explained_with_and_without_a_token() {
    let policy = POLICY.replace(
        "on_store_outage = \"introspect\"\nlimit = { quota = 5,",
        "anonymous_limits = [\"guests\"]\nlimit = { quota = 5,",
    );
    let policy = policy.replace(
        "name = \"api\"\npath = \"/api/*\"\naccess = \"protected\"",
        "name = \"api\"\npath = \"/api/*\"\naccess = \"optional\"",
    );
    let policy = format!(
        "{policy}\n[[limits]]\nname = \"guests\"\nquota = 5\nwindow_seconds = 60\nby = \"address\"\n"
    );
    let claims = json!({ "sub": "alice" }).to_string();
    let files = [("portcullis.toml", policy.as_str()), ("claims", claims.as_str())];
    let run = |line: &str| run_on(&files, line).text;
    let text = run("explain GET /api/x --header portcullis-subject:mallory");
    for part in [
        "access: optional",
        "the request is anonymous",
        "limit:guests",
        "forwarded to the upstream",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("set portcullis-subject") && !text.contains("pc:revoked"), "{text}");
    let text = run("explain GET /api/x --claims claims");
    for part in ["access: optional", "limit:api", "pc:revoked", "set portcullis-subject: alice"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("limit:guests"), "{text}");
    let text = run("explain GET /api/x --token a.b.c");
    assert!(text.contains("refused: 401 token_malformed"), "{text}");
    assert!(run("explain GET /api/x --assume over:guests").contains("429 rate_limited"));
    // From protected to optional is weaker, and so is a lost limit of anonymous requests.
    let without = policy.replace("anonymous_limits = [\"guests\"]\n", "");
    let files = [("old", POLICY), ("new", policy.as_str()), ("open", without.as_str())];
    let text = run_on(&files, "diff old new").text;
    assert!(text.contains("with a valid token, now with a valid token or none"), "{text}");
    assert!(text.contains("WEAKER"), "{text}");
    let outcome = run_on(&files, "diff new open");
    assert!(
        outcome.text.contains("without a token: no longer has the limit guests"),
        "{}",
        outcome.text
    );
    assert_eq!(outcome.status, 3);
}

#[test]
fn token_for_another_resource_is_explained_and_compared() {
    let resources = "[[resources]]\nname = \"orders\"\nurl = \"https://orders.example\"\n\
        [[resources]]\nname = \"files\"\nurl = \"https://files.example\"\naudience = \"files\"\n";
    let at = |name: &str, resource: &str| {
        let policy = POLICY.replace(
            &format!("name = \"{name}\"\n"),
            &format!("name = \"{name}\"\nresource = \"{resource}\"\n"),
        );
        format!("{policy}\n{resources}")
    };
    let (orders, files) = (at("api", "orders"), at("api", "files"));
    let claims = |aud: &str| json!({ "aud": aud, "sub": "alice" }).to_string();
    let (own, other) = (claims("https://orders.example"), claims("files"));
    let none = json!({}).to_string();
    let tools = [
        ("portcullis.toml", orders.as_str()),
        ("files.toml", files.as_str()),
        ("old.toml", POLICY),
        ("own", own.as_str()),
        ("other", other.as_str()),
        ("none", none.as_str()),
    ];
    let run = |line: &str| run_on(&tools, line).text;
    let text = run("explain GET /api/x --claims own");
    assert!(text.contains("resource orders: https://orders.example"), "{text}");
    assert!(text.contains("forwarded to the upstream"), "{text}");
    assert!(run("explain GET /api/x --claims none").contains("forwarded to the upstream"));
    assert!(run("explain GET /api/x --claims other").contains("401 audience_mismatch"));
    assert!(run("explain GET /api/admin/x --claims own").contains("401 audience_mismatch"));
    // An opaque token, whose issuer names the audience or does not.
    let keys = "algorithms = [\"EdDSA\"]\njwks_url = \"https://issuer.example/jwks\"\n";
    let opaque = orders.replace(keys, "");
    let opaque = |claims: &str| {
        let files = [("portcullis.toml", opaque.as_str()), ("claims", claims)];
        run_on(&files, "explain GET /api/x --token opaque --claims claims").text
    };
    for (claims, expect) in [
        (&own, "forwarded to the upstream"),
        (&other, "401 audience_mismatch"),
        (&none, "401 audience_mismatch"),
    ] {
        assert!(opaque(claims).contains(expect), "{claims}: {}", opaque(claims));
    }
    let text = run("check");
    assert!(text.contains("resource_unused:files"), "{text}");
    assert!(!text.contains("resource_unused:orders"), "{text}");
    let text = run("diff portcullis.toml files.toml");
    assert!(text.contains("WEAKER  accepts tokens for https://orders.example"), "{text}");
    assert!(text.contains("now for files"), "{text}");
    let text = run("diff old.toml portcullis.toml");
    assert!(text.contains("the audience of their issuer, now for https://orders"), "{text}");
}

/// The key is a secret, which no file has.
#[test]
fn assertion_is_explained_without_its_key() {
    let assertion = "[assertion]\nissuer = \"edge\"\naudience = \"inner\"\nfield = \"x-caller\"\n";
    let policy = POLICY.replace("[store]", &format!("{assertion}[store]"));
    let explain = |line: &str| {
        let files = [("portcullis.toml", policy.as_str())];
        let outcome = run_on(&files, &format!("explain --json {line}"));
        serde_json::from_str::<Value>(&outcome.text).unwrap()["outcome"].clone()
    };
    let keys = explain("GET /.well-known/portcullis-jwks.json");
    assert_eq!(keys["status"], 200, "{keys}");
    let forwarded = explain("GET /public/x --header x-caller:forged");
    assert!(forwarded["remove"].as_array().unwrap().contains(&json!("x-caller")), "{forwarded}");
}
