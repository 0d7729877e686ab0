use super::*;
use crate::policy::tests::policy;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

fn token(scope: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt"}"#);
    let claims = format!(
        r#"{{"iss":"https://issuer.example","sub":"alice","aud":"api","exp":{},"iat":{},"jti":"j","sid":"s","scope":"{scope}"}}"#,
        NOW.0 + 900,
        NOW.0
    );
    format!(
        "Bearer {header}.{}.{}",
        URL_SAFE_NO_PAD.encode(claims),
        URL_SAFE_NO_PAD.encode([0; 64])
    )
}

fn record() -> Reply {
    let record = TokenRecord {
        sub: "alice".into(),
        sid: "s".into(),
        client_id: "web".into(),
        scope: "api:write".into(),
        exp: NOW.0 + 900,
    };
    Reply::text(&record.encode())
}

fn clean() -> Reply {
    Reply::Array(vec![Reply::Null, Reply::Null, Reply::Null])
}

/// The whole way of a request whose signature holds, against the given answer of the store.
fn judge(method: &str, path: &str, answer: Result<Vec<Reply>, Outage>) -> Result<String, Refusal> {
    let (policy, token, url) = (policy(), token("api:write"), format!("https://a.example{path}"));
    let head = Head::new(method, &url, vec![("authorization", &token)]);
    let check = Check::new(&head, policy.route(&head)?, &policy, NOW)?;
    let proof = check.prove(true)?;
    let permit = check.decide(proof, answer)?;
    Ok(format!("{:?}", permit.target()))
}

#[test]
fn the_stores_answer_decides() {
    fn check(path: &str, answer: Result<Vec<Reply>, Outage>, expect: Result<(), Refusal>) {
        let shown = format!("{path} {answer:?}");
        assert_eq!(judge("POST", path, answer).map(|_| ()), expect, "{shown}");
    }
    let marker = |place: usize, value: &str| {
        let mut markers = vec![Reply::Null, Reply::Null, Reply::Null];
        markers[place] = Reply::text(value);
        Reply::Array(markers)
    };
    let (revoked, unknown) = (Err(Denial::TokenRevoked.into()), Err(Denial::TokenUnknown.into()));
    let faulty = Err(Refusal::Out(Outage::StoreFaulty));
    let before = (NOW.0 - 1).to_string();
    let same = NOW.0.to_string();

    check("/api/x", Ok(vec![clean(), record()]), Ok(()));
    check("/api/x", Ok(vec![clean(), Reply::Null]), unknown);
    check("/api/x", Ok(vec![clean(), Reply::text("garbage")]), unknown);
    check(
        "/api/x",
        Ok(vec![
            clean(),
            Reply::text(&match record() {
                Reply::Bulk(bytes) => String::from_utf8(bytes).unwrap().replace("alice", "mallory"),
                _ => String::new(),
            }),
        ]),
        unknown,
    );
    check("/api/x", Ok(vec![marker(0, &same), record()]), revoked);
    check("/api/x", Ok(vec![marker(0, &before), record()]), Ok(()));
    check("/api/x", Ok(vec![marker(0, "garbage"), record()]), revoked);
    check("/api/x", Ok(vec![marker(1, "0"), record()]), revoked);
    check("/api/x", Ok(vec![marker(2, "0"), record()]), revoked);
    check("/api/x", Ok(vec![marker(2, "0"), Reply::Null]), revoked);
    check("/api/x", Ok(vec![]), faulty);
    check("/api/x", Ok(vec![clean()]), faulty);
    check("/api/x", Ok(vec![Reply::Array(vec![Reply::Null]), record()]), faulty);
    check("/api/x", Ok(vec![Reply::Error("ERR".into()), record()]), faulty);
    check("/api/x", Ok(vec![clean(), Reply::Error("ERR".into())]), faulty);
    check("/api/x", Err(Outage::StoreTimeout), Err(Outage::StoreTimeout.into()));

    let limit = |admitted, wait| {
        Reply::Array(vec![Reply::Integer(admitted), Reply::Integer(0), Reply::Integer(wait)])
    };
    check("/limited", Ok(vec![clean(), record(), limit(1, 0)]), Ok(()));
    let limited = Err(Denial::RateLimited { retry_after_seconds: 3 }.into());
    check("/limited", Ok(vec![clean(), record(), limit(0, 2500)]), limited);
    check("/limited", Ok(vec![marker(2, "0"), record(), limit(0, 2500)]), revoked);
    check("/limited", Ok(vec![clean(), record(), Reply::Error("ERR".into())]), faulty);
}

#[test]
fn a_route_decides_what_is_asked() {
    fn check(method: &str, path: &str, expect: &[&str]) {
        let (policy, token, url) =
            (policy(), token("api:write"), format!("https://a.example{path}"));
        let head = Head::new(method, &url, vec![("authorization", &token)]);
        let check = Check::new(&head, policy.route(&head).unwrap(), &policy, NOW).unwrap();
        let proof = check.prove(true).unwrap();
        let commands = check.commands(&proof);
        assert_eq!(commands.iter().map(Command::name).collect::<Vec<_>>(), expect, "{path}");
        let raw = token.trim_start_matches("Bearer ");
        assert!(commands.iter().flat_map(Command::words).all(|word| !word.contains(raw)));
    }
    check("POST", "/api/x", &["MGET", "GET"]);
    check("GET", "/api/x", &["MGET"]);
    check("GET", "/limited", &["MGET", "GET", "EVALSHA"]);
    check("GET", "/health", &["EVALSHA"]);
    check("POST", "/auth/login", &[]);
}

#[test]
fn a_route_decides_where_it_goes() {
    assert_eq!(
        judge("GET", "/api/x", Ok(vec![clean()])).unwrap(),
        r#"Upstream(BaseUrl("http://read.example/v1"))"#
    );
    assert_eq!(
        judge("POST", "/auth/login", Ok(vec![])).unwrap(),
        r#"Origin(BaseUrl("https://origin.example"))"#
    );
    assert_eq!(judge("GET", "/nowhere", Ok(vec![])), Err(Denial::RouteUnknown.into()));
}

#[test]
fn a_forged_token_gets_no_proof() {
    let (policy, token) = (policy(), token("api:write"));
    let head = Head::new("POST", "https://a.example/api/x", vec![("authorization", &token)]);
    let check = Check::new(&head, policy.route(&head).unwrap(), &policy, NOW).unwrap();
    assert_eq!(check.prove(false).err(), Some(Denial::SignatureInvalid));
}

#[test]
fn a_proof_of_an_open_route_does_not_serve_a_protected_one() {
    let (policy, token) = (policy(), token("api:write"));
    let head = |url| Head::new("POST", url, vec![("authorization", token.as_str())]);
    let (auth, api) = (head("https://a.example/auth/x"), head("https://a.example/api/x"));
    let open = Check::new(&auth, policy.route(&auth).unwrap(), &policy, NOW).unwrap();
    let open = open.prove(false).unwrap();
    let check = Check::new(&api, policy.route(&api).unwrap(), &policy, NOW).unwrap();
    let answer = Ok(vec![clean(), record()]);
    assert_eq!(check.decide(open, answer).err(), Some(Denial::SignatureInvalid.into()));
}

#[test]
fn a_scope_is_a_whole_word() {
    fn check(scope: &str, expect: Option<Denial>) {
        let (policy, token) = (policy(), token(scope));
        let head = Head::new("POST", "https://a.example/api/x", vec![("authorization", &token)]);
        let check = Check::new(&head, policy.route(&head).unwrap(), &policy, NOW).unwrap();
        let proof = check.prove(true).unwrap();
        let verdict = check.decide(proof, Ok(vec![clean(), record()])).map(|_| ());
        assert_eq!(verdict.err(), expect.map(Refusal::Denied), "{scope}");
    }
    check("api:write", None);
    check("other api:write", None);
    check("", Some(Denial::ScopeInsufficient));
    check("api:writer", Some(Denial::ScopeInsufficient));
    check("api", Some(Denial::ScopeInsufficient));
}
