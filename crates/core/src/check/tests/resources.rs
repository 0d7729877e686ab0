//! Several protected resources: a token for one is not one for another, in any cache state.

use super::*;
use crate::policy::introspection::Introspection;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const RESOURCES: &str = r#"[{"name":"a","url":"https://a.example"},
    {"name":"b","url":"https://b.example/mcp","audience":["b","b2"]}]"#;
const ROUTES: &str = r#"[
    {"name":"a","path":"/a","access":"protected","require":"not_revoked","resource":"a"},
    {"name":"b","path":"/b","access":"protected","require":"not_revoked","resource":"b"},
    {"name":"c","path":"/c","access":"protected","require":"not_revoked"},
    {"name":"o","path":"/o","access":"optional","require":"not_revoked","resource":"a"}]"#;
const ISSUERS: &str = r#"[
    {"issuer":"https://issuer.example","audience":"api","algorithms":["EdDSA"],
     "jwks_url":"https://issuer.example/jwks"},
    {"issuer":"https://issuer.example","audience":"api","introspection":{
     "url":"https://issuer.example/i","client_id":"e","client_secret_variable":"STORE_TOKEN"}}]"#;

fn several() -> Policy {
    policy_with(&[("resources", RESOURCES), ("routes", ROUTES), ("issuers", ISSUERS)])
}

fn token_for(aud: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt"}"#);
    let exp = NOW.0 + 900;
    let claims =
        format!(r#"{{"iss":"https://issuer.example","sub":"alice","aud":{aud},"exp":{exp}}}"#);
    let signature = URL_SAFE_NO_PAD.encode([0; 64]);
    format!("Bearer {header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims))
}

const AUDIENCES: [(&str, &[&str]); 10] = [
    (r#""https://a.example""#, &["/a", "/o"]),
    // Without a path, a slash changes nothing (RFC 3986 section 6.2.3).
    (r#""https://a.example/""#, &["/a", "/o"]),
    (r#""b""#, &["/b"]),
    (r#""b2""#, &["/b"]),
    // A resource with an `audience` does not accept its URL.
    (r#""https://b.example/mcp""#, &[]),
    (r#""api""#, &["/c"]),
    (r#"["https://a.example","b"]"#, &["/a", "/b", "/o"]),
    (r#"["x","api","b2"]"#, &["/b", "/c"]),
    (r#""https://a.example/x""#, &[]),
    ("[]", &[]),
];

#[test]
fn token_passes_at_the_resources_that_it_names_alone() {
    let policy = several();
    for (aud, expect) in AUDIENCES {
        let token = token_for(aud);
        // As verified and cached by a request to any of the routes.
        let mut cached = Vec::new();
        for path in ["/a", "/b", "/c", "/o"] {
            let verified = with_check(&policy, "GET", path, &token, |check| verify(&check, true));
            let expected = match expect.contains(&path) {
                true => None,
                false => Some(Denial::AudienceMismatch),
            };
            assert_eq!(verified.as_ref().err(), expected.as_ref(), "{aud} {path}");
            cached.extend(verified);
        }
        for path in ["/a", "/b", "/c", "/o"] {
            with_check(&policy, "GET", path, &token, |check| {
                for verified in &cached {
                    for cleared in [None, Some(TokenRequirement::Record)] {
                        let verdict = check.authenticate(Rc::clone(verified), cleared, NOW);
                        let is_accepted = expect.contains(&path);
                        assert_eq!(verdict.is_ok(), is_accepted, "{aud} {path}");
                        let denial = verdict.err().unwrap_or(Denial::AudienceMismatch);
                        assert_eq!(denial, Denial::AudienceMismatch);
                    }
                }
            });
        }
    }
}

#[test]
fn opaque_token_passes_at_the_resources_that_its_provider_names_alone() {
    let policy = several();
    let issuer = &policy.issuers[1];
    let responses = AUDIENCES.map(|(aud, expect)| (format!(r#","aud":{aud}"#), expect));
    // A response without an audience is for the issuer's own, and for no resource.
    let without = (String::new(), &["/c"][..]);
    for (aud, expect) in responses.into_iter().chain([without]) {
        let response = format!(r#"{{"active":true,"sub":"alice"{aud}}}"#);
        let read = Introspection::read(issuer, &[], 200, &response, NOW);
        if expect.is_empty() {
            assert_eq!(read, Err(Denial::AudienceMismatch.into()), "{aud}");
            continue;
        }
        // Another isolate reads the record from the store.
        let stored = read.unwrap().encode("k", None, [0; 12]);
        let record = TokenRecord::decode(&stored, "k", None).unwrap();
        for path in ["/a", "/b", "/c", "/o"] {
            with_check(&policy, "GET", path, "Bearer opaque", |check| {
                let verified = check.accept_record(1, record.clone()).unwrap();
                let verdict = check.authenticate(verified, None, NOW);
                let expected =
                    if expect.contains(&path) { None } else { Some(Denial::AudienceMismatch) };
                assert_eq!(verdict.err(), expected, "{aud} {path}");
            });
        }
    }
    // A record of the auth service names one audience.
    for (aud, expect) in [("api", "/c"), ("b2", "/b"), ("https://a.example", "/a")] {
        let record =
            TokenRecord { sub: "alice".into(), aud: Some(aud.into()), ..TokenRecord::default() };
        assert!(record.is_for_audience(issuer));
        for path in ["/a", "/b", "/c"] {
            with_check(&policy, "GET", path, "Bearer opaque", |check| {
                let verified = check.accept_record(1, record.clone()).unwrap();
                let is_accepted = check.authenticate(verified, None, NOW).is_ok();
                assert_eq!(is_accepted, path == expect, "{aud} {path}");
            });
        }
    }
    let foreign = TokenRecord { aud: Some("x".into()), ..TokenRecord::default() };
    let nameless = TokenRecord::default();
    assert!(!foreign.is_for_audience(issuer) && !nameless.is_for_audience(issuer));
}

#[test]
fn issuer_accepts_the_audiences_of_resources_that_use_it_alone() {
    let issuers = r#"[
        {"issuer":"https://issuer.example","audience":"api","algorithms":["EdDSA"],"jwks_url":"https://i/k"},
        {"issuer":"https://other.example","audience":"api","algorithms":["EdDSA"],"jwks_url":"https://o/k"}]"#;
    let routes = r#"[
        {"name":"a","path":"/a","access":"protected","resource":"a","issuers":["https://other.example"]},
        {"name":"b","path":"/b","access":"protected","resource":"b"}]"#;
    let changes = [("resources", RESOURCES), ("routes", routes), ("issuers", issuers)];
    let policy = policy_with(&changes);
    let places =
        |issuer: &Issuer| issuer.resources.iter().map(|(place, _)| *place).collect::<Vec<_>>();
    assert_eq!(policy.issuers.iter().map(places).collect::<Vec<_>>(), [vec![1], vec![0, 1]]);
    // Records are read by edges that know the same audiences.
    let hash = |issuer: &Issuer| Introspection::settings_hash(issuer, &[]);
    let bare = |issuer: &Issuer| Issuer { resources: Vec::new(), ..issuer.clone() };
    let [own, other] = [&policy.issuers[0], &policy.issuers[1]];
    let moved = Issuer { resources: vec![(0, own.resources[0].1.clone())], ..own.clone() };
    assert!(hash(own) != hash(&bare(own)) && hash(own) != hash(&moved));
    assert_ne!(hash(other), hash(&bare(other)));
    assert_eq!(hash(&bare(own)), hash(&bare(&moved)));
}
