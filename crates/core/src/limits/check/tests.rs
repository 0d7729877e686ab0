use super::*;
use crate::policy::limit::{Algorithm, LimitOutage, LimitTiming, Plans};
use crate::policy::resource::Audiences;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn limit() -> Limit {
    Limit {
        name: "l".into(),
        algorithm: Algorithm::Gcra,
        quota: 10,
        window_seconds: 60,
        burst: None,
        by: vec![LimitBy::Address],
        plans: None,
        shadow: false,
        headers: false,
        on_store_outage: LimitOutage::Local,
        local_quota: None,
        timing: LimitTiming::Exact,
    }
}

#[test]
fn script_hash_matches_the_script() {
    use sha1::Digest as _;
    let sha1 = |script: &str| -> String {
        sha1::Sha1::digest(script).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    assert_eq!(LIMIT_SCRIPT_SHA1, sha1(LIMIT_SCRIPT));
    let locking = sha1(&format!("{KEY_LOCKING}{LIMIT_SCRIPT}"));
    assert_eq!(LOCKING_LIMIT_SCRIPT_SHA1, locking);
    let tokens = include_str!("../../../../../docs/redis-gateway-tokens.toml");
    assert!(tokens.contains(&locking), "the example's token may run another script");
}

#[test]
fn decision_is_read_from_the_scripts_reply() {
    fn check(fields: &[i64], expect: Option<(bool, u64, u64, u64)>) {
        let limit = limit();
        let keys = StoreKeys::new(StoreKeys::PREFIX);
        let limit_check = LimitCheck {
            limit: &limit,
            keys: &keys,
            key: [0; 32],
            quota: 10,
            cost: 1,
            terms: None,
            ahead: 3,
            lease: None,
        };
        let reply = Reply::Array(fields.iter().copied().map(Reply::Integer).collect());
        let decision = limit_check
            .decision(&reply)
            .map(|own| (own.admitted, own.left.unwrap(), own.wait_ms, own.more_ms));
        assert_eq!(decision, expect, "{fields:?}");
    }
    check(&[1, 4, 0, 900], Some((true, 4, 0, 900)));
    check(&[0, 0, 1001, 1], Some((false, 0, 1001, 1)));
    check(&[0, 0, i64::MAX, i64::MAX], Some((false, 0, 172_800_000, 172_800_000)));
    check(&[2, 0, 0, 0], None);
    check(&[1, -1, 0, 0], None);
    check(&[1, 0, 0], None);
    check(&[], None);
}

fn claims(sub: &str, others: &[(&str, Value)]) -> Claims {
    Claims {
        iss: "https://issuer.example".into(),
        sub: sub.into(),
        exp: None,
        nbf: None,
        iat: None,
        jti: None,
        sid: Some("sid".into()),
        client_id: None,
        scope: String::new(),
        key: None,
        others: others.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        audiences: Audiences::OWN,
    }
}

#[test]
fn limit_key_differs_for_each_combination() {
    let key = |by: &[&str], sub: &str, fields: Vec<(&str, &str)>| {
        let by = by.iter().map(|text| LimitBy::parse(text).unwrap()).collect();
        let head = RequestHead::new("GET", "https://a/", fields);
        let claims = claims(sub, &[("plan", "pro".into()), ("level", 3.into())]);
        let claims = Some(&claims);
        let input = LimitInput { head: &head, address: "192.0.2.1", route: "api", claims };
        Limit { by, ..limit() }.key(&input)
    };
    assert_eq!(key(&["address"], "a", vec![]), "\n192.0.2.1\n");
    assert_eq!(key(&["subject"], "a", vec![]), "https://issuer.example\na\n");
    assert_eq!(key(&["claim:level"], "a", vec![]), "https://issuer.example\n3\n");
    let both = key(&["subject", "route"], "a", vec![]);
    assert_ne!(both, key(&["subject"], "a", vec![]));
    // Two different pairs of a claim and a field never give the same key.
    assert_ne!(
        key(&["subject", "header:x-a"], "a", vec![("x-a", "b")]),
        key(&["subject", "header:x-a"], "a\n\nb", vec![("x-a", "")])
    );
    assert_ne!(key(&["subject"], "a\\n", vec![]), key(&["subject"], "a\n", vec![]));
    for text in ["", "claim:", "header:", "addresses", "claim"] {
        assert!(LimitBy::parse(text).is_none(), "{text}");
    }
}

#[test]
fn plan_has_its_own_quota_and_burst() {
    let quotas = vec![("pro".to_owned(), 100), ("3".to_owned(), 7)];
    let plans = Some(Plans { claim: "plan".into(), quotas });
    let limit = Limit { plans, burst: Some(5), ..limit() };
    let quota = |plan: Value| limit.quota_for(Some(&claims("a", &[("plan", plan)])));
    assert_eq!((quota("pro".into()), quota("free".into()), quota(3.into())), (100, 10, 7));
    assert_eq!(limit.quota_for(None), 10);
    assert_eq!((limit.burst_of(10), limit.burst_of(100), limit.smallest_burst()), (5, 50, 3));
    assert_eq!(Limit { local_quota: Some(2), ..limit.clone() }.smallest_burst(), 2);
    assert_eq!(Limit { plans: None, burst: Some(20), ..limit }.smallest_burst(), 20);
}
