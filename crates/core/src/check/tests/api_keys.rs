//! API keys: where they are read, what their records say, and how a change of these is noticed.

use super::*;
use crate::check::renewal::{Renewal, RenewedToken};
use crate::config::fixtures::error_names;
use crate::forward::permit::Degraded;
use crate::policy::introspection::Introspection;
use crate::policy::route::StoreOutage;
use crate::token::api_key::compose;
use crate::token::unverified::UnverifiedKey;
use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ISSUERS: &str = r#"[{"issuer":"https://issuer.example","audience":"api",
    "algorithms":["EdDSA"],"jwks_url":"https://issuer.example/jwks",
    "api_key_prefixes":["pck_live_","pck_test_"],"introspection":{"url":"https://p/i",
    "client_id":"edge","client_secret_variable":"STORE_TOKEN","revocations_in_store":true}},
    {"issuer":"https://opaque.example","audience":"api","introspection":{"url":"https://q/i",
    "client_id":"edge","client_secret_variable":"STORE_TOKEN"}}]"#;
const ROUTES: &str = r#"[
    {"name":"api","path":"/api","access":"protected","scopes":["read"],"api_key_header":"X-API-Key",
     "require":"not_revoked","cookie":"session","on_store_outage":"introspect"},
    {"name":"limited","path":"/limited","access":"protected","on_store_outage":"signature",
     "limit":{"quota":10,"window_seconds":60,"by":"subject",
        "plans":{"claim":"plan","quotas":{"pro":50}}}},
    {"name":"login","path":"/login","access":"protected","max_age_seconds":60},
    {"name":"class","path":"/class","access":"protected","acr_values":["phr"]},
    {"name":"tier","path":"/tier","access":"protected","claims":{"/metadata/tier":["gold"]}},
    {"name":"any","path":"/any","access":"optional"}]"#;
const ADDRESS: &str = "192.0.2.7";

fn policy() -> Policy {
    policy_with(&[("issuers", ISSUERS), ("routes", ROUTES)])
}

fn key() -> String {
    compose("pck_live_", [7; 32])
}

/// The record as the auth service writes it.
fn stored(changes: Value) -> String {
    let mut record = json!({
        "sub": "alice", "scope": "read write", "aud": "api", "jti": "key-1", "iat": NOW.0 - 100,
        "key": {}, "others": { "plan": "basic", "metadata": { "tier": "gold" }, "acr": "phr",
            "auth_time": NOW.0 },
    });
    record.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    record.to_string()
}

/// Runs `work` with the check of a request that has these fields, and an address.
fn with_fields<'p, T>(
    policy: &'p Policy,
    path: &str,
    fields: &[(&str, &str)],
    work: impl FnOnce(Check<'_, 'p>) -> T,
) -> T {
    let url = format!("https://a.example{path}");
    let fields = fields.iter().copied().chain([("cf-connecting-ip", ADDRESS)]);
    let head = RequestHead::new("GET", &url, fields.collect());
    work(Check::new(&head, route_of(policy, &head).unwrap(), policy).unwrap())
}

fn with_key<'p, T>(policy: &'p Policy, path: &str, work: impl FnOnce(Check<'_, 'p>) -> T) -> T {
    with_fields(policy, path, &[("authorization", &format!("Bearer {}", key()))], work)
}

fn unverified<'a>(check: &Check<'a, 'a>) -> Result<UnverifiedKey<'a>, Denial> {
    match check.unverified_token(NOW)? {
        UnverifiedToken::ApiKey(key) => Ok(key),
        other => panic!("{other:?}"),
    }
}

fn accept(check: &Check<'_, '_>, text: &str) -> Result<Rc<VerifiedToken>, Denial> {
    check.accept_key(0, check.open_key(text.to_owned()).ok_or(Denial::TokenInactive)?)
}

fn known<'p>(check: &Check<'_, 'p>, changes: Value) -> AuthenticatedRequest<'p> {
    check.authenticate(accept(check, &stored(changes)).unwrap(), None, NOW).unwrap()
}

/// Returns the store's replies about a key: no markers, and this record.
fn replies(
    check: &Check<'_, '_>,
    authenticated: &AuthenticatedRequest<'_>,
    record: Reply,
) -> Vec<StoreResult> {
    let query = &check.commands(authenticated)[0];
    let mut values = vec![Reply::Null; query.words().len() - 2];
    values.push(record);
    let mut results = vec![StoreResult::Reply(Reply::Array(values))];
    let admitted = Reply::Array([1, 9, 0, 0].map(Reply::Integer).to_vec());
    results.extend(authenticated.limit_checks().map(|_| StoreResult::Reply(admitted.clone())));
    let mut results = check.divide(authenticated, results);
    check.open_record(authenticated, &mut results);
    results
}

#[test]
fn api_key_is_recognised_by_prefix_and_checksum() {
    let (policy, other, test) = (policy(), token("read"), compose("pck_test_", [1; 32]));
    let place = |field: &str, text: &str| {
        with_fields(&policy, "/api", &[(field, text)], |check| {
            match check.unverified_token(NOW)? {
                UnverifiedToken::ApiKey(key) => Ok(Some(key.issuer)),
                UnverifiedToken::Jwt(_) | UnverifiedToken::Opaque(_) => Ok(None),
            }
        })
    };
    let bearer = |text: &str| place("authorization", &format!("Bearer {text}"));
    for good in [&key(), &test] {
        assert_eq!((bearer(good), place("x-api-key", good)), (Ok(Some(0)), Ok(Some(0))));
        // A browser has no API key.
        let cookie = format!("session={good}");
        assert_eq!(place("cookie", &cookie), Err(Denial::TokenMalformed));
    }
    let wrong = key().replace("pck_live_", "pck_test_");
    for bad in ["pck_live_", &key()[..57], &format!("{}0", key()), &wrong, "pck_live_a.b.c"] {
        assert_eq!(bearer(bad), Err(Denial::TokenMalformed), "{bad}");
        assert_eq!(place("x-api-key", bad), Err(Denial::TokenMalformed), "{bad}");
    }
    assert_eq!(bearer("pck_other"), Ok(None), "an opaque token of another issuer");
    assert_eq!(place("authorization", &other), Ok(None));
    // The field takes API keys alone.
    let jwt = other.trim_start_matches("Bearer ");
    for text in ["pck_other", jwt] {
        assert_eq!(place("x-api-key", text), Err(Denial::TokenMalformed), "{text}");
    }
    // A token that the isolate has verified is not accepted there either, nor is a key elsewhere.
    let verified = with_fields(&policy, "/api", &[("authorization", &other)], |check| {
        verify(&check, true).unwrap()
    });
    with_fields(&policy, "/api", &[("x-api-key", jwt)], |check| {
        let denied = check.authenticate(Rc::clone(&verified), None, NOW);
        assert_eq!(denied.err(), Some(Denial::TokenMalformed));
    });
    let verified = with_key(&policy, "/api", |check| accept(&check, &stored(json!({}))).unwrap());
    with_fields(&policy, "/api", &[("cookie", &format!("session={}", key()))], |check| {
        let denied = check.authenticate(Rc::clone(&verified), None, NOW);
        assert_eq!(denied.err(), Some(Denial::TokenMalformed));
    });
}

#[cfg(not(target_arch = "wasm32"))]
proptest::proptest! {
    #[test]
    fn changed_key_is_never_one(bits: [u8; 32], at in 0_usize..58, new in "[!-~]") {
        let policy = policy();
        let key = compose("pck_live_", bits);
        let mut changed = key.clone();
        changed.replace_range(at..=at, &new);
        let bearer = format!("Bearer {changed}");
        let fields = vec![("authorization", bearer.as_str())];
        let head = RequestHead::new("GET", "https://a.example/any", fields);
        let check = Check::new(&head, route_of(&policy, &head).unwrap(), &policy);
        let is_key = check.is_ok_and(|check| {
            matches!(check.unverified_token(NOW), Ok(UnverifiedToken::ApiKey(_)))
        });
        proptest::prop_assert_eq!(is_key, changed == key, "{}", changed);
    }
}

#[test]
fn record_of_a_key_and_of_another_token_are_not_exchanged() {
    let policy = policy();
    with_key(&policy, "/api", |check| {
        let foreign = [
            json!({ "key": null }),
            json!({ "key": { "networks": 1 } }),
            json!({ "aud": "other" }),
            json!({ "iss": "https://other.example" }),
            json!({ "asked_at": NOW.0 }),
            json!({ "read_as": "x" }),
            json!({ "v": 2 }),
        ];
        for changes in foreign {
            let denied = accept(&check, &stored(changes.clone()));
            assert_eq!(denied.err(), Some(Denial::TokenInactive), "{changes}");
        }
        let record = TokenRecord::decode(&stored(json!({})), "", None).unwrap();
        assert_eq!(check.accept_record(0, record).err(), Some(Denial::TokenInactive));
    });
}

#[test]
fn each_question_has_the_record_and_nothing_else_is_enough() {
    let policy = policy();
    with_key(&policy, "/api", |check| {
        let authenticated = known(&check, json!({}));
        let commands = check.commands(&authenticated);
        assert_eq!(commands.len(), 1);
        let query = commands[0].words();
        assert!(query.last().unwrap().starts_with(b"pc:token:"), "on a not_revoked route, too");
        let results = replies(&check, &authenticated, Reply::text(&stored(json!({}))));
        assert!(check.changed_key(&authenticated, &results).is_none());
        let permit = check.decide(&authenticated, &results).unwrap();
        assert_eq!(permit.cleared().unwrap().1, TokenRequirement::Record);
        for missing in
            [Reply::Null, Reply::text("garbage"), Reply::text(&stored(json!({ "key": null })))]
        {
            let results = replies(&check, &authenticated, missing);
            assert!(check.missing_record(&authenticated, &results).is_some());
            let verdict = check.decide(&authenticated, &results);
            assert_eq!(verdict.err(), Some(Denial::TokenNotRegistered.into()));
        }
    });
    // A key has no signature that could suffice.
    with_key(&policy, "/limited", |check| {
        let authenticated = known(&check, json!({}));
        let out = Err(Outage::StoreTimeout);
        let verdict = decide(&check, &authenticated, out);
        assert_eq!(verdict.err(), Some(Outage::StoreTimeout.into()));
    });
}

#[test]
fn changed_record_counts_before_the_verdict() {
    let policy = policy();
    with_key(&policy, "/api", |check| {
        let authenticated = known(&check, json!({}));
        let decide = |changes: Value| {
            let results = replies(&check, &authenticated, Reply::text(&stored(changes)));
            let changed = check.changed_key(&authenticated, &results).expect("it has changed");
            let changed = check.authenticate(changed?, None, NOW)?;
            assert!(changed.has_limits_of(&authenticated));
            assert!(check.changed_key(&changed, &results).is_none());
            check
                .decide(&changed, &results)
                .map(|permit| permit.verified.unwrap().claims().scope.clone())
        };
        let refused = |denial: Denial| Err(Refusal::Denied(denial));
        assert_eq!(decide(json!({ "scope": "read" })), Ok("read".to_owned()));
        assert_eq!(decide(json!({ "scope": "write" })), refused(Denial::ScopeInsufficient));
        assert_eq!(decide(json!({ "exp": NOW.0 - 60 })), refused(Denial::TokenExpired));
        assert_eq!(decide(json!({ "exp": NOW.0 + 60 })), Ok("read write".to_owned()));
        let elsewhere = json!({ "key": { "networks": ["198.51.100.0/24"] } });
        assert_eq!(decide(elsewhere), refused(Denial::KeyNetworkDenied));
        let wrong = json!({ "iss": "https://other.example" });
        assert_eq!(decide(wrong), refused(Denial::TokenInactive));
        // The same record, sealed or written again, is a change without consequences.
        let again = format!("{} ", stored(json!({})));
        let results = replies(&check, &authenticated, Reply::text(&again));
        let changed = check.changed_key(&authenticated, &results).unwrap().unwrap();
        assert_eq!(changed.claims(), authenticated.verified().unwrap().claims());
    });
    with_key(&policy, "/limited", |check| {
        let authenticated = known(&check, json!({}));
        let quota = |changes: Value| {
            let results = replies(&check, &authenticated, Reply::text(&stored(changes)));
            let changed = check.changed_key(&authenticated, &results).unwrap().unwrap();
            let changed = check.authenticate(changed, None, NOW).unwrap();
            let same = changed.has_limits_of(&authenticated);
            let quota = changed.all_limit_checks().next().unwrap().quota;
            (quota, same, changed.with_limits_of(known(&check, json!({}))).limit_checks[0].quota)
        };
        assert_eq!(quota(json!({ "scope": "x" })), (10, true, 10));
        assert_eq!(quota(json!({ "others": { "plan": "pro" } })), (50, false, 10));
        let own = json!({ "others": { "plan": "pro" }, "key": { "quotas": { "limited": 3 } } });
        assert_eq!(quota(own), (3, false, 10));
        let bounded = |quota: u32| json!({ "key": { "quotas": { "limited": quota } } });
        assert_eq!(quota(bounded(0)), (1, false, 10));
        assert_eq!(quota(bounded(u32::MAX)), (1_000_000, false, 10));
        assert_eq!(quota(json!({ "key": { "quotas": { "other": 3 } } })), (10, true, 10));
        // Such a key shares no state, also if its quota is that of the limit for now.
        let command =
            |changes: Value| known(&check, changes).limit_checks[0].command().words()[2..].to_vec();
        let quotas = |jti: &str, quota: u32| {
            command(json!({ "jti": jti, "key": { "quotas": { "limited": quota } } }))
        };
        let [shared, own, same, other] =
            [command(json!({})), quotas("key-1", 3), quotas("key-1", 10), quotas("key-2", 3)];
        assert!(own[1] != shared[1] && own[1] == same[1] && own[1] != other[1]);
        assert_eq!((own.len(), same.len(), own.last()), (8 + 1, 8 + 1, same.last()));
    });
}

#[test]
fn key_is_refused_outside_of_its_networks_and_where_a_login_is_required() {
    let policy = policy();
    let verdict = |path: &str, networks: &[&str]| {
        with_key(&policy, path, |check| {
            let record = stored(json!({ "key": { "networks": networks } }));
            check.authenticate(accept(&check, &record)?, None, NOW).map(|_| ())
        })
    };
    let denied = Err(Denial::KeyNetworkDenied);
    assert_eq!(verdict("/any", &[]), Ok(()));
    assert_eq!(verdict("/any", &["198.51.100.0/24", "192.0.2.0/28"]), Ok(()));
    assert_eq!(verdict("/any", &["192.0.2.7"]), Ok(()));
    assert_eq!(verdict("/any", &["192.0.2.8"]), denied);
    assert_eq!(verdict("/any", &["nowhere"]), denied);
    assert_eq!(verdict("/login", &[]), Err(Denial::InsufficientUserAuthentication(AUTH_TIME)));
    assert_eq!(verdict("/class", &[]), Err(Denial::InsufficientUserAuthentication(ACR)));
    // Without a known address, no network has it.
    let fields = format!("Bearer {}", key());
    let head =
        RequestHead::new("GET", "https://a.example/any", vec![("authorization", fields.as_str())]);
    let check = Check::new(&head, route_of(&policy, &head).unwrap(), &policy).unwrap();
    let record = stored(json!({ "key": { "networks": ["0.0.0.0/0", "::/0"] } }));
    let outcome = check.authenticate(accept(&check, &record).unwrap(), None, NOW);
    assert_eq!(outcome.err(), Some(Denial::KeyNetworkDenied));
}

#[test]
fn issuer_answers_for_a_missing_record_and_for_the_store() {
    let policy = policy();
    with_key(&policy, "/api", |check| {
        let response = |scope: &str| {
            let text = format!(
                r#"{{"active":true,"sub":"alice","scope":"{scope}","aud":"api","jti":"key-1",
                "key":{{}},"metadata":{{"tier":"gold"}}}}"#
            );
            let (issuer, others) = (&policy.issuers[0], &policy.other_claims);
            Introspection::read_key(issuer, others, 200, &text, NOW).unwrap()
        };
        let key = unverified(&check).unwrap();
        assert!(key.provider.unwrap().is_api_key);
        let from_issuer = (String::new(), Rc::new(response("read")));
        let token = check.accept_key(0, from_issuer).unwrap();
        let authenticated = check.authenticate(token, None, NOW).unwrap();
        // The record is not in the store yet: the response of this request stands for it.
        let mut results = replies(&check, &authenticated, Reply::Null);
        assert!(check.keep_known(&authenticated, &mut results));
        assert!(check.changed_key(&authenticated, &results).is_none());
        assert!(check.decide(&authenticated, &results).is_ok());
        // An empty value is not a record.
        let mut results = replies(&check, &authenticated, Reply::text(""));
        assert!(!check.open_record(&authenticated, &mut results));
        let verdict = check.decide(&authenticated, &results);
        assert_eq!(verdict.err(), Some(Denial::TokenNotRegistered.into()));
        // Later, the record in the store takes its place.
        let results = replies(&check, &authenticated, Reply::text(&stored(json!({}))));
        let changed = check.changed_key(&authenticated, &results).unwrap().unwrap();
        assert_eq!(changed.claims().scope, "read write");

        // Without the store, the response decides, with the scope that it has.
        let out = || Err::<Vec<Reply>, _>(Outage::StoreTimeout);
        for (scope, expect) in [("read", None), ("other", Some(Denial::ScopeInsufficient.into()))] {
            let mut results = results_of(&check, &authenticated, out());
            let (_, missing) = check.missing_record(&authenticated, &results).unwrap();
            assert_eq!(missing, Missing::Store);
            check.complete(&authenticated, &mut results, missing, response(scope)).unwrap();
            let changed = check.changed_key(&authenticated, &results).unwrap().unwrap();
            let changed = check.authenticate(changed, None, NOW).unwrap();
            let verdict = check.decide(&changed, &results);
            let degraded = verdict.as_ref().ok().map(Permit::degraded);
            let by_issuer = Degraded { token: Some(StoreOutage::Introspect), limit: None };
            assert_eq!(degraded, expect.is_none().then_some(by_issuer));
            assert_eq!(verdict.err(), expect);
        }
        // A response without the member `key` is not about an API key.
        let text = r#"{"active":true,"sub":"alice","aud":"api"}"#;
        let read = Introspection::read_key(&policy.issuers[0], &[], 200, text, NOW);
        assert_eq!(read.err(), Some(Outage::IntrospectionBadResponse.into()));
        // One with it is not about another token.
        let text = r#"{"active":true,"sub":"alice","aud":"api","key":{}}"#;
        let read = Introspection::read(&policy.issuers[0], &[], 200, text, NOW);
        assert_eq!(read.err(), Some(Denial::TokenInactive.into()));
    });
}

#[test]
fn claims_of_a_key_are_found_by_their_places() {
    let policy = policy();
    for (tier, expect) in [("gold", None), ("iron", Some(Denial::ClaimInsufficient.into()))] {
        with_key(&policy, "/tier", |check| {
            let others = json!({ "others": { "metadata": { "tier": tier }, "unused": 1 } });
            let authenticated = known(&check, others.clone());
            let claims = authenticated.verified().unwrap().claims();
            assert_eq!(claims.others.len(), 1, "{claims:?}");
            let results = replies(&check, &authenticated, Reply::text(&stored(others)));
            assert_eq!(check.decide(&authenticated, &results).err(), expect);
        });
    }
}

#[test]
fn renewal_of_a_key_ends_when_its_record_changes() {
    let policy = policy();
    with_key(&policy, "/api", |check| {
        for requirement in [TokenRequirement::Record, TokenRequirement::NotRevoked] {
            let token = accept(&check, &stored(json!({}))).unwrap();
            let renewed = [RenewedToken { token, requirement }];
            let count = policy.renewal_query(&renewed).words().len() - 2;
            let renewal = |record: Reply| {
                let mut values = vec![Reply::Null; count];
                values.push(record);
                policy.renewals(&renewed, Reply::Array(values), NOW)[0]
            };
            assert_eq!(renewal(Reply::text(&stored(json!({})))), Renewal::Cleared);
            assert_eq!(renewal(Reply::text(&stored(json!({ "scope": "" })))), Renewal::Ended);
            assert_eq!(renewal(Reply::Null), Renewal::Ended);
        }
    });
}

#[test]
fn key_in_the_routes_field_is_not_forwarded() {
    let policy = policy();
    let (key, bearer) = (key(), token("read"));
    for (field, text) in [("x-api-key", key.as_str()), ("authorization", &format!("Bearer {key}"))]
    {
        with_fields(&policy, "/api", &[(field, text), ("x-other", "x")], |check| {
            let authenticated = known(&check, json!({}));
            let results = replies(&check, &authenticated, Reply::text(&stored(json!({}))));
            let permit = check.decide(&authenticated, &results).unwrap();
            let edits = permit.header_edits(&check.head, "0af76519-16cd-43dd-8448-eb211c80319c");
            assert!(edits.remove.contains(&field), "{edits:?}");
            assert!(!edits.remove.contains(&"x-other"));
        });
    }
    // Two credentials are refused before anything is read of them.
    let url = "https://a.example/api";
    let fields = vec![("x-api-key", key.as_str()), ("authorization", bearer.as_str())];
    let head = RequestHead::new("GET", url, fields);
    let refused = Check::new(&head, route_of(&policy, &head).unwrap(), &policy);
    assert_eq!(refused.err(), Some(Denial::CredentialMalformed));
}

#[test]
fn prefixes_and_fields_of_keys_are_checked() {
    let errors = |issuers: &str, route: &str| {
        let routes = format!(
            r#"[{{"name":"a","path":"/a","access":"protected","api_key_header":{route}}}]"#
        );
        error_names(&[("issuers", issuers), ("routes", &routes)])
    };
    let issuers = |first: &str, second: &str| {
        format!(
            r#"[{{"issuer":"https://a.example","audience":"api","algorithms":["EdDSA"],
                "jwks_url":"https://a.example/k","api_key_prefixes":{first}}},
            {{"issuer":"https://b.example","audience":"api","introspection":{{"url":"https://b/i",
                "client_id":"e","client_secret_variable":"STORE_TOKEN"{second}}}}}]"#
        )
    };
    let none = Vec::<String>::new();
    assert_eq!(errors(&issuers(r#""pck_live_""#, ""), r#""X-API-Key""#), none);
    assert_eq!(errors(&issuers(r#"["pck_","pck_live_"]"#, ""), r#""api-key""#), none);
    let prefix = ["issuers[0].api_key_prefixes"];
    assert_eq!(errors(&issuers(r#""pck""#, ""), r#""x-k""#), prefix);
    assert_eq!(errors(&issuers("[]", ""), r#""x-k""#)[..1], prefix);
    let twice = errors(&issuers(r#""pck_""#, r#"},"api_key_prefixes":"pck_","x":{"#), r#""x-k""#);
    assert!(twice.contains(&"issuers[1].api_key_prefixes".to_owned()), "{twice:?}");
    let taken = errors(&issuers(r#""pck_""#, r#","token_prefix":"pck_x""#), r#""x-k""#);
    assert_eq!(taken, ["issuers[1].introspection.token_prefix"]);
    assert_eq!(errors(&issuers(r#""pck_""#, r#","token_prefix":"pca_""#), r#""x-k""#), none);
    let field = ["routes[0].api_key_header"];
    for name in ["authorization", "cookie", "host", "portcullis-key", "cf-connecting-ip", "a b", ""]
    {
        assert_eq!(errors(&issuers(r#""pck_""#, ""), &format!("{name:?}")), field, "{name}");
    }
    let without = ISSUERS.replace(r#""api_key_prefixes":["pck_live_","pck_test_"],"#, "");
    assert_eq!(errors(&without, r#""x-k""#), none, "without an issuer that has keys");
    let routes = r#"[{"name":"a","path":"/a","access":"protected","api_key_header":"x-user"}]"#;
    let identity = r#"{"subject":"x-user"}"#;
    let changes = [("issuers", ISSUERS), ("routes", routes), ("identity", identity)];
    assert_eq!(error_names(&changes), field, "the edge sets this field");
    let public = r#"[{"name":"a","path":"/a","access":"public","api_key_header":"x-k"}]"#;
    assert_eq!(error_names(&[("issuers", ISSUERS), ("routes", public)]), field);
    let policy = policy_with(&[("issuers", &issuers(r#""pck_""#, ""))]);
    let names: Vec<String> = policy.warnings.iter().map(|warning| warning.name()).collect();
    assert!(names.contains(&"api_keys_unconfirmed".to_owned()), "{names:?}");
}
