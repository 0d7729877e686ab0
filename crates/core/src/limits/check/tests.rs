use super::*;
use crate::limits::fixtures::{check_of, claims, limit};
use crate::policy::limit::Plans;
use serde_json::Value;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn decision_is_read_from_the_scripts_reply() {
    fn check(fields: &[i64], expect: Option<(bool, u64, u64, u64)>) {
        let limit = limit();
        let limit_check = check_of(&limit);
        let reply = Reply::Array(fields.iter().copied().map(Reply::Integer).collect());
        let decision = limit_check
            .decision(&reply)
            .map(|own| (own.admitted, own.left.unwrap(), own.wait_ms, own.more_ms));
        assert_eq!(decision, expect, "{fields:?}");
    }
    check(&[1, 4, 0, 900], Some((true, 4, 0, 900)));
    check(&[0, 0, 1001, 1], Some((false, 0, 1001, 1)));
    check(&[0, 0, i64::MAX, i64::MAX], Some((false, 0, 2_678_400_000, 2_678_400_000)));
    check(&[2, 0, 0, 0], None);
    check(&[1, -1, 0, 0], None);
    check(&[1, 0, 0], None);
    check(&[], None);
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
