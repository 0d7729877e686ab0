mod api_keys;
mod blocks;
mod issuers;
mod login;
mod optional;
mod outages;
mod renewal;
mod resources;

use super::store_result::{Missing, StoreResult};
use super::*;
use crate::config::fixtures::{policy, policy_with};
use crate::forward::permit::Permit;
use crate::limits::local::LocalCount;
use crate::refusal::{Outage, Refusal};
use crate::routing::Destination;
use crate::token::revocation::RevocationMarker;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis_rest::Reply;
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
        sid: Some("s".into()),
        scope: "api:write".into(),
        exp: Some(NOW.0 + 900),
        ..TokenRecord::default()
    };
    Reply::text(&record.encode("", None, [0; 12]))
}

/// Returns the results that a host makes from the store's replies.
fn results_of(
    check: &Check<'_, '_>,
    authenticated: &AuthenticatedRequest<'_>,
    answer: Result<Vec<Reply>, Outage>,
) -> Vec<StoreResult> {
    let out = |_: Command| answer.clone().err().map(StoreResult::Out);
    let mut results: Vec<StoreResult> = match &answer {
        Err(_) => {
            let results = check.commands(authenticated).into_iter().filter_map(out).collect();
            check.divide(authenticated, results)
        }
        Ok(replies) => {
            let result = |reply: &Reply| match reply {
                Reply::Error(_) => StoreResult::Out(Outage::StoreBadResponse),
                reply => StoreResult::Reply(reply.clone()),
            };
            replies.iter().map(result).collect()
        }
    };
    check.open_record(authenticated, &mut results);
    results
}

fn decide<'p>(
    check: &Check<'_, 'p>,
    authenticated: &AuthenticatedRequest<'_>,
    answer: Result<Vec<Reply>, Outage>,
) -> Result<Permit<'p>, Refusal> {
    check.decide(authenticated, &results_of(check, authenticated, answer))
}

fn clean() -> Reply {
    marked(&[])
}

/// Returns the store's values for the markers of [`token`]: of its subject, its id and its session,
/// and the blocks of its subject and of the request's address. The rest is missing.
fn marked(first: &[Reply]) -> Reply {
    let mut markers = first.to_vec();
    markers.resize(5, Reply::Null);
    Reply::Array(markers)
}

/// Decides on a request with a valid signature, by the store's replies.
fn verdict(
    method: &str,
    path: &str,
    answer: Result<Vec<Reply>, Outage>,
) -> Result<String, Refusal> {
    let (policy, token, url) = (policy(), token("api:write"), format!("https://a.example{path}"));
    let head = RequestHead::new(method, &url, vec![("authorization", &token)]);
    let check = Check::new(&head, route_of(&policy, &head)?, &policy)?;
    let authenticated = authenticate(&check)?;
    let permit = decide(&check, &authenticated, answer)?;
    Ok(format!("{:?}", permit.target()))
}

fn route_of<'p>(policy: &'p Policy, head: &RequestHead<'_>) -> Result<&'p Route, Denial> {
    match policy.destination(head)? {
        Destination::Route(route) => Ok(route),
        Destination::Edge(answer) => panic!("{answer:?}"),
    }
}

/// Authenticates a request. A signature in it counts as valid.
fn authenticate<'p>(check: &Check<'_, 'p>) -> Result<AuthenticatedRequest<'p>, Denial> {
    if check.token_hash().is_none() {
        return check.without_token();
    }
    check.authenticate(verify(check, true)?, None, NOW)
}

fn verify(check: &Check<'_, '_>, valid: bool) -> Result<Rc<VerifiedToken>, Denial> {
    match check.unverified_token(NOW)? {
        UnverifiedToken::Jwt(jwt) => check.accept_signature(jwt, valid),
        other => panic!("{other:?}"),
    }
}

#[test]
fn verdict_follows_the_stores_replies() {
    fn check(path: &str, answer: Result<Vec<Reply>, Outage>, expect: Result<(), Refusal>) {
        let shown = format!("{path} {answer:?}");
        assert_eq!(verdict("POST", path, answer).map(|_| ()), expect, "{shown}");
    }
    let marker = |place: usize, value: &str| {
        let mut markers = vec![Reply::Null; place];
        markers.push(Reply::text(value));
        marked(&markers)
    };
    let (revoked, unknown) =
        (Err(Denial::TokenRevoked.into()), Err(Denial::TokenNotRegistered.into()));
    let malformed = Err(Refusal::Out(Outage::StoreBadResponse));
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
    check("/api/x", Ok(vec![]), malformed);
    check("/api/x", Ok(vec![clean()]), malformed);
    check("/api/x", Ok(vec![Reply::Array(vec![Reply::Null]), record()]), malformed);
    check("/api/x", Ok(vec![Reply::Error("ERR".into()), record()]), malformed);
    check("/api/x", Ok(vec![clean(), Reply::Error("ERR".into())]), malformed);
    check("/api/x", Err(Outage::StoreTimeout), Err(Outage::StoreTimeout.into()));

    let limit = |admitted, wait| {
        Reply::Array(vec![
            Reply::Integer(admitted),
            Reply::Integer(0),
            Reply::Integer(wait),
            Reply::Integer(wait),
        ])
    };
    check("/limited", Ok(vec![clean(), record(), limit(1, 0)]), Ok(()));
    let limited = Err(Denial::RateLimited { wait_ms: 2500 }.into());
    check("/limited", Ok(vec![clean(), record(), limit(0, 2500)]), limited);
    check("/limited", Ok(vec![marker(2, "0"), record(), limit(0, 2500)]), revoked);
    check("/limited", Ok(vec![clean(), record(), Reply::Error("ERR".into())]), malformed);
}

#[test]
fn commands_follow_the_routes_requirements() {
    fn check(method: &str, path: &str, expect: &[&str]) {
        let (policy, token, url) =
            (policy(), token("api:write"), format!("https://a.example{path}"));
        let head = RequestHead::new(method, &url, vec![("authorization", &token)]);
        let check = Check::new(&head, route_of(&policy, &head).unwrap(), &policy).unwrap();
        let authenticated = authenticate(&check).unwrap();
        let commands = check.commands(&authenticated);
        assert_eq!(commands.iter().map(Command::name).collect::<Vec<_>>(), expect, "{path}");
        let raw = token.trim_start_matches("Bearer ");
        assert!(
            commands
                .iter()
                .flat_map(Command::words)
                .all(|word| { !String::from_utf8_lossy(word).contains(raw) })
        );
    }
    check("POST", "/api/x", &["MGET"]);
    check("GET", "/api/x", &["MGET"]);
    check("GET", "/limited", &["MGET", "EVALSHA"]);
    check("GET", "/health", &["GET", "EVALSHA"]);
    check("POST", "/auth/login", &[]);
}

#[test]
fn permit_has_the_routes_target() {
    assert_eq!(
        verdict("GET", "/api/x", Ok(vec![clean()])).unwrap(),
        r#"Upstream(BaseUrl("http://read.example/v1"))"#
    );
    assert_eq!(
        verdict("POST", "/auth/login", Ok(vec![])).unwrap(),
        r#"Auth(BaseUrl("https://auth.example"))"#
    );
    assert_eq!(verdict("GET", "/nowhere", Ok(vec![])), Err(Denial::RouteNotFound.into()));
}

/// Runs `work` with the check of a request.
fn with_check<'p, T>(
    policy: &'p Policy,
    method: &str,
    path: &str,
    token: &str,
    work: impl FnOnce(Check<'_, 'p>) -> T,
) -> T {
    let url = format!("https://a.example{path}");
    let head = RequestHead::new(method, &url, vec![("authorization", token)]);
    work(Check::new(&head, route_of(policy, &head).unwrap(), policy).unwrap())
}

#[test]
fn forged_token_is_not_authenticated() {
    with_check(&policy(), "POST", "/api/x", &token("api:write"), |check| {
        assert_eq!(verify(&check, false).err(), Some(Denial::SignatureInvalid));
        assert_eq!(check.without_token().err(), Some(Denial::TokenMissing));
    });
}

#[test]
fn authentication_is_valid_for_its_own_request_only() {
    let (policy, own, other) = (policy(), token("api:write"), token("admin"));
    let open = with_check(&policy, "POST", "/auth/x", &own, |check| check.without_token().unwrap());
    let foreign =
        with_check(&policy, "POST", "/api/x", &other, |check| verify(&check, true).unwrap());
    let proven =
        with_check(&policy, "POST", "/api/x", &other, |check| authenticate(&check).unwrap());
    with_check(&policy, "POST", "/api/x", &own, |check| {
        for authenticated in [open, proven] {
            let verdict = decide(&check, &authenticated, Ok(vec![clean(), record()]));
            assert_eq!(verdict.err(), Some(Denial::SignatureInvalid.into()));
        }
        let recalled = check.authenticate(foreign, Some(TokenRequirement::Record), NOW);
        assert_eq!(recalled.err(), Some(Denial::SignatureInvalid));
    });
}

#[test]
fn verified_token_is_refused_after_its_expiry() {
    with_check(&policy(), "POST", "/api/x", &token("api:write"), |check| {
        let verified = verify(&check, true).unwrap();
        let at = |seconds| check.authenticate(Rc::clone(&verified), None, NOW.plus(seconds)).err();
        assert_eq!(at(929), None);
        assert_eq!(at(930), Some(Denial::TokenExpired));
    });
}

#[test]
fn recently_cleared_token_is_not_queried_again() {
    let policy = policy();
    let commands = |method: &str, path: &str, cleared| {
        with_check(&policy, method, path, &token("api:write"), |check| {
            let authenticated =
                check.authenticate(verify(&check, true).unwrap(), cleared, NOW).unwrap();
            let commands = check.commands(&authenticated).len();
            if commands == 0 {
                let permit = decide(&check, &authenticated, Ok(Vec::new())).unwrap();
                assert_eq!(permit.cleared(), None, "the store was not queried");
            }
            commands
        })
    };
    assert_eq!(commands("POST", "/api/x", None), 1);
    assert_eq!(commands("POST", "/api/x", Some(TokenRequirement::Record)), 0);
    assert_eq!(
        commands("POST", "/api/x", Some(TokenRequirement::NotRevoked)),
        1,
        "the record was not checked"
    );
    assert_eq!(commands("GET", "/api/x", Some(TokenRequirement::NotRevoked)), 0);
    assert_eq!(commands("GET", "/api/x", Some(TokenRequirement::Record)), 0);
    assert_eq!(
        commands("GET", "/limited", Some(TokenRequirement::Record)),
        2,
        "queried for the limit anyway"
    );
    with_check(&policy, "POST", "/api/x", &token("api:write"), |check| {
        let authenticated = authenticate(&check).unwrap();
        let permit = decide(&check, &authenticated, Ok(vec![clean(), record()])).unwrap();
        assert_eq!(
            permit.cleared(),
            check.token_hash().map(|hash| (hash, TokenRequirement::Record))
        );
    });
    // If the store is queried for limits only, its outage does not undo an earlier clearance.
    with_check(&policy, "GET", "/limited", &token("api:write"), |check| {
        let verified = verify(&check, true).unwrap();
        let authenticated =
            check.authenticate(verified, Some(TokenRequirement::Record), NOW).unwrap();
        let mut results = results_of(&check, &authenticated, Err(Outage::StoreTimeout));
        results[2] = StoreResult::CountedLocally(LocalCount::Admitted { left: Some(1) });
        let permit = check.decide(&authenticated, &results).unwrap();
        assert_eq!((permit.cleared(), permit.degraded().text()), (None, Some("limit=local")));
        results[0] = StoreResult::Reply(marked(&[Reply::Null, Reply::text("0")]));
        let verdict = check.decide(&authenticated, &results);
        assert_eq!(verdict.err(), Some(Denial::TokenRevoked.into()));
    });
    // Scopes are checked each time.
    with_check(&policy, "POST", "/api/x", &token("none"), |check| {
        let verified = verify(&check, true).unwrap();
        let authenticated =
            check.authenticate(verified, Some(TokenRequirement::Record), NOW).unwrap();
        let verdict = decide(&check, &authenticated, Ok(Vec::new()));
        assert_eq!(verdict.err(), Some(Denial::ScopeInsufficient.into()));
    });
}

#[test]
fn missing_record_is_introspected_when_the_issuer_has_a_provider() {
    let issuers = r#"[{"issuer":"https://issuer.example","audience":"api","algorithms":["EdDSA"],
        "jwks_url":"https://issuer.example/jwks","introspection":{"url":"https://issuer.example/i",
        "client_id":"edge","client_secret_variable":"STORE_TOKEN"}}]"#;
    let with = policy_with(&[("issuers", issuers)]);
    let introspects = |policy: &Policy, method: &str, answer: Result<Vec<Reply>, Outage>| {
        with_check(policy, method, "/api/x", &token("api:write"), |check| {
            let authenticated = authenticate(&check).unwrap();
            check
                .missing_record(&authenticated, &results_of(&check, &authenticated, answer))
                .is_some()
        })
    };
    let revoked = marked(&[Reply::Null, Reply::text("0")]);
    assert!(introspects(&with, "POST", Ok(vec![clean(), Reply::Null])));
    // A user was disabled and enabled before the token was issued.
    let earlier = marked(&[Reply::text("1")]);
    assert!(introspects(&with, "POST", Ok(vec![earlier, Reply::Null])));
    assert!(!introspects(&policy(), "POST", Ok(vec![clean(), Reply::Null])), "no provider");
    assert!(
        !introspects(&with, "GET", Ok(vec![clean(), Reply::Null])),
        "a deny list needs no record"
    );
    assert!(!introspects(&with, "POST", Ok(vec![clean(), record()])));
    assert!(!introspects(&with, "POST", Ok(vec![revoked, Reply::Null])));
    assert!(!introspects(&with, "POST", Ok(vec![clean()])));
    assert!(!introspects(&with, "POST", Err(Outage::StoreTimeout)));
    // An outage undoes no earlier clearance of a token: the store was asked for the limit.
    let routes = r#"[{"name":"a","path":"/a","access":"protected","on_store_outage":"introspect",
        "limit":{"quota":2,"window_seconds":60,"by":"subject","on_store_outage":"local"}}]"#;
    let with = policy_with(&[("issuers", issuers), ("routes", routes)]);
    for (cleared, expect) in [(None, true), (Some(TokenRequirement::Record), false)] {
        let introspected = with_check(&with, "GET", "/a", &token(""), |check| {
            let verified = verify(&check, true).unwrap();
            let authenticated = check.authenticate(verified, cleared, NOW).unwrap();
            let results = results_of(&check, &authenticated, Err(Outage::StoreTimeout));
            check.missing_record(&authenticated, &results).is_some()
        });
        assert_eq!(introspected, expect, "{cleared:?}");
    }
}

#[test]
fn opaque_token_belongs_to_the_provider_of_its_prefix() {
    let provider = |name: &str, prefix: &str| {
        format!(
            r#"{{"issuer":"{name}","audience":"api","introspection":{{"url":"https://p/i",
            "client_id":"edge","client_secret_variable":"STORE_TOKEN","token_prefix":"{prefix}"}}}}"#
        )
    };
    let issuers = format!("[{},{}]", provider("https://a", "a_"), provider("https://b", "b_"));
    let policy = policy_with(&[("issuers", &issuers)]);
    let place = |token: &str| {
        with_check(&policy, "POST", "/api/x", &format!("Bearer {token}"), |check| {
            match check.unverified_token(NOW)? {
                UnverifiedToken::Opaque(provider) => Ok(provider.issuer),
                other => panic!("{other:?}"),
            }
        })
    };
    assert_eq!(place("a_x"), Ok(0));
    assert_eq!(place("b_x.y"), Ok(1));
    assert_eq!(place("c_x"), Err(Denial::TokenMalformed));
    assert_eq!(place("a_x.y.z"), Err(Denial::TokenMalformed), "the form of a JWT");
    with_check(&policy, "POST", "/api/x", "Bearer a_x", |check| {
        let record = |iss: &str| TokenRecord {
            sub: "alice".into(),
            iss: Some(iss.into()),
            asked_at: Some(NOW.0),
            ..TokenRecord::default()
        };
        let other = check.accept_record(0, record("https://b"));
        assert_eq!(other.err(), Some(Denial::TokenInactive));
        let authenticated =
            check.authenticate(check.accept_record(0, record("https://a")).unwrap(), None, NOW);
        let names: Vec<_> =
            check.commands(&authenticated.unwrap()).iter().map(|c| c.name().to_owned()).collect();
        assert_eq!(names, ["MGET"]);
    });
}

#[test]
fn client_marker_revokes_tokens_issued_before_it() {
    let claims = |client: &str| {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt"}"#);
        let claims = format!(
            r#"{{"iss":"https://issuer.example","sub":"alice","aud":"api","exp":{},"iat":{},"client_id":"{client}"}}"#,
            NOW.0 + 900,
            NOW.0
        );
        format!("Bearer {header}.{}.AAAA", URL_SAFE_NO_PAD.encode(claims))
    };
    let verdict = |marker: &str| {
        with_check(&policy(), "GET", "/api/x", &claims("web"), |check| {
            let authenticated = authenticate(&check).unwrap();
            assert!(
                check.commands(&authenticated)[0]
                    .words()
                    .iter()
                    .any(|word| word.starts_with(b"pc:revoked:client:"))
            );
            let answer = Ok(vec![marked(&[Reply::Null, Reply::text(marker)])]);
            decide(&check, &authenticated, answer).map(|_| ()).err()
        })
    };
    assert_eq!(verdict(&(NOW.0 - 1).to_string()), None);
    assert_eq!(verdict(&NOW.0.to_string()), Some(Denial::TokenRevoked.into()));
}

#[test]
fn scopes_are_compared_as_whole_words() {
    fn check(route: &str, scope: &str, expect: Option<Denial>) {
        let routes = format!(r#"[{{"name":"a","path":"/a","access":"protected",{route}}}]"#);
        let policy = policy_with(&[("routes", &routes)]);
        with_check(&policy, "GET", "/a", &token(scope), |check| {
            let verdict =
                decide(&check, &authenticate(&check).unwrap(), Ok(vec![clean(), record()]));
            assert_eq!(verdict.err(), expect.map(Refusal::Denied), "{route} {scope}");
        });
    }
    let (all, any) = (r#""scopes":["a","b"]"#, r#""scopes_any":["a","b"]"#);
    let insufficient = || Some(Denial::ScopeInsufficient);
    check(all, "a b", None);
    check(all, "b c a", None);
    check(all, "a", insufficient());
    check(all, "ab", insufficient());
    check(all, "a B", insufficient());
    check(all, "", insufficient());
    check(any, "b", None);
    check(any, "c a", None);
    check(any, "c", insufficient());
    check(any, "", insufficient());
    check(r#""scopes":["c"],"scopes_any":["a","b"]"#, "a", insufficient());
    check(r#""scopes":["c"],"scopes_any":["a","b"]"#, "a c", None);
}

#[test]
fn claims_must_have_an_allowed_value() {
    fn check(route: &str, expect: Option<Denial>) {
        let routes =
            format!(r#"[{{"name":"a","path":"/a","access":"protected","claims":{{{route}}}}}]"#);
        let policy = policy_with(&[("routes", &routes)]);
        with_check(&policy, "GET", "/a", &token("x"), |check| {
            let verdict =
                decide(&check, &authenticate(&check).unwrap(), Ok(vec![clean(), record()]));
            assert_eq!(verdict.err(), expect.map(Refusal::Denied), "{route}");
        });
    }
    check(r#""sub":"alice""#, None);
    check(r#""sub":["bob","alice"]"#, None);
    check(r#""sub":"alice","sid":"s""#, None);
    check(r#""sub":"alice","sid":"t""#, Some(Denial::ClaimInsufficient));
    check(r#""sub":"bob""#, Some(Denial::ClaimInsufficient));
    check(r#""tenant":"acme""#, Some(Denial::ClaimInsufficient));
    check(r#""exp":1700000900"#, None);
    check(r#""exp":"1700000900""#, Some(Denial::ClaimInsufficient));
}

/// Decisions on real signatures, verified by another implementation.
#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static PAIR: LazyLock<Ed25519KeyPair> =
        LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());

    fn good() -> String {
        let unsigned = token("api:write");
        let input = unsigned.trim_start_matches("Bearer ").rsplit_once('.').unwrap().0;
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(PAIR.sign(input.as_bytes())))
    }

    /// Returns the store's commands if a token gets a permit.
    fn permitted_by(token: &str) -> Option<Vec<Command>> {
        let (policy, authorization) = (policy(), format!("Bearer {token}"));
        let head = RequestHead::new(
            "POST",
            "https://a.example/api/x",
            vec![("authorization", &authorization)],
        );
        let check = Check::new(&head, route_of(&policy, &head).ok()?, &policy).ok()?;
        let UnverifiedToken::Jwt(jwt) = check.unverified_token(NOW).ok()? else { return None };
        let key = UnparsedPublicKey::new(&ED25519, PAIR.public_key().as_ref());
        let valid = key.verify(jwt.signing_input().as_bytes(), jwt.signature()).is_ok();
        let authenticated =
            check.authenticate(check.accept_signature(jwt, valid).ok()?, None, NOW).ok()?;
        let commands = check.commands(&authenticated);
        decide(&check, &authenticated, Ok(vec![clean(), record()])).ok()?;
        Some(commands)
    }

    #[test]
    fn valid_token_gets_a_permit() {
        assert_eq!(permitted_by(&good()).unwrap().len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn token_with_a_changed_byte_gets_no_permit(place: prop::sample::Index, byte in 0x20_u8..0x7f) {
            let mut bytes = good().into_bytes();
            let place = place.index(bytes.len());
            prop_assume!(bytes[place] != byte);
            bytes[place] = byte;
            // A space at either end is not part of the credential.
            prop_assume!(byte != b' ' || (place != 0 && place + 1 != bytes.len()));
            prop_assert!(permitted_by(std::str::from_utf8(&bytes).unwrap()).is_none());
        }

        #[test]
        fn token_with_a_moved_part_gets_no_permit(
            from: prop::sample::Index, length in 1_usize..40, to: prop::sample::Index,
        ) {
            let token = good();
            let from = from.index(token.len());
            let end = (from + length).min(token.len());
            let (piece, mut rest) = (token[from..end].to_owned(), token.clone());
            rest.replace_range(from..end, "");
            prop_assert!(permitted_by(&rest).is_none());
            rest.insert_str(to.index(rest.len() + 1), &piece);
            prop_assume!(rest != token);
            prop_assert!(permitted_by(&rest).is_none());
        }

        #[test]
        fn random_token_gets_no_permit(text in "[A-Za-z0-9_.-]{0,300}") {
            prop_assert!(permitted_by(&text).is_none());
        }
    }
}

/// An edge introspects a token for its own audience. A record of the auth service must name the
/// audience.
#[test]
fn opaque_token_is_accepted_for_the_audience_of_its_record_only() {
    let issuers = r#"[{"issuer":"https://a","audience":"api","introspection":{"url":"https://p/i",
        "client_id":"edge","client_secret_variable":"STORE_TOKEN","token_prefix":"a_"}}]"#;
    let policy = policy_with(&[("issuers", issuers)]);
    with_check(&policy, "POST", "/api/x", "Bearer a_x", |check| {
        let accepted = |members: &str| {
            let record = format!(r#"{{"sub":"alice","scope":""{members}}}"#);
            check.accept_record(0, TokenRecord::decode(&record, "k", None).unwrap()).is_ok()
        };
        assert!(accepted(r#","aud":"api""#));
        assert!(!accepted(r#","aud":"other""#));
        assert!(!accepted(""), "an audience is required");
        assert!(accepted(&format!(r#","asked_at":{}"#, NOW.0)));
    });
}
