use super::*;
use crate::policy::limit::{Algorithm, LimitOutage, LimitTiming, Plans};
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
fn the_scripts_hash_is_its_own() {
    use sha1::Digest as _;
    let hash: String =
        sha1::Sha1::digest(LIMIT_SCRIPT).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(LIMIT_SCRIPT_SHA1, hash);
    let tokens = include_str!("../../../../docs/redis-gateway-tokens.toml");
    assert!(tokens.contains(&hash), "the edge's token may run another script");
}

#[test]
fn an_answer_of_the_script_is_read() {
    fn check(fields: &[i64], expect: Option<(bool, u64, u64, u64)>) {
        let limit = limit();
        let limit_check = LimitCheck {
            limit: &limit,
            store_key: String::new(),
            key: [0; 32],
            quota: 10,
            cost: 1,
        };
        let reply = Reply::Array(fields.iter().copied().map(Reply::Integer).collect());
        let decision = limit_check
            .decision(&reply)
            .map(|t| (t.admitted, t.left.unwrap(), t.wait_ms, t.more_ms));
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
        others: others.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
    }
}

#[test]
fn each_combination_is_counted_apart() {
    let key = |by: &[&str], sub: &str, fields: Vec<(&str, &str)>| {
        let by = by.iter().map(|text| LimitBy::parse(text).unwrap()).collect();
        let head = RequestHead::new("GET", "https://a/", fields);
        let claims = claims(sub, &[("plan", "pro".into()), ("level", 3.into())]);
        let claims = Some(&claims);
        let of = LimitInput { head: &head, address: "192.0.2.1", route: "api", claims };
        Limit { by, ..limit() }.key(&of)
    };
    assert_eq!(key(&["address"], "a", vec![]), "\n192.0.2.1\n");
    assert_eq!(key(&["subject"], "a", vec![]), "https://issuer.example\na\n");
    assert_eq!(key(&["claim:level"], "a", vec![]), "https://issuer.example\n3\n");
    let both = key(&["subject", "route"], "a", vec![]);
    assert_ne!(both, key(&["subject"], "a", vec![]));
    // No claim and no field can stand for two.
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
fn a_plan_has_its_own_quota() {
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

/// An isolate never admits more than the quota at once, nor than the quota and its share of the time gone by.
#[test]
fn local_counts_hold_their_quota() {
    let mut seed: u64 = 7;
    let mut random = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % bound
    };
    for _ in 0..200 {
        let (quota, window) = (1 + random(50), 1 + random(60));
        let measure = (u32::try_from(quota).unwrap(), u32::try_from(window).unwrap(), 1);
        let (mut counts, mut now_ms, mut admitted) = (LocalCounts::new(10), 1_000_000, 0);
        let begun = now_ms;
        for _ in 0..500 {
            now_ms += random(window * 2000 / quota + 1);
            let key = [1; 32];
            let wait = counts.wait_ms(key, measure.0, measure.1, now_ms);
            match counts.count(key, measure, now_ms) {
                Ok(_) => {
                    assert_eq!(wait, 0);
                    admitted += 1;
                }
                Err(wait_ms) => {
                    assert_eq!(wait, wait_ms);
                    assert!(counts.count(key, measure, now_ms + wait_ms - 1).is_err());
                    assert!(wait_ms <= window * 1000);
                }
            }
            let share = (now_ms - begun) * quota / (window * 1000);
            assert!(admitted <= quota + share + 1, "{admitted} of {quota} in {window} s");
        }
        assert!(admitted >= quota.min(400), "{admitted} of {quota}");
    }
}
