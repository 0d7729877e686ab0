use super::*;
use crate::limits::fixtures::{check_of, claims, limit};
use crate::limits::key::LimitInput;
use crate::policy::limit::{Algorithm, Period, Plans};
use crate::request::head::RequestHead;
use crate::token::api_key::KeyTerms;
use serde_json::Value;
use std::rc::Rc;
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

/// A state by which two quotas were counted must say by which one.
#[test]
fn key_with_its_own_quota_is_counted_apart_and_reads_the_quota_of_the_state() {
    let key_of = |limit: &Limit, quotas: &[(&str, u32)]| {
        let quotas = quotas.iter().map(|(name, quota)| ((*name).to_owned(), *quota)).collect();
        let terms = KeyTerms { quotas, ..KeyTerms::default() };
        let jti = Some("key-1".to_owned());
        let claims = Claims { key: Some(Rc::new(terms)), jti, ..claims("a", &[]) };
        let head = RequestHead::new("GET", "https://a/", vec![]);
        let claims = Some(&claims);
        let input = LimitInput { head: &head, address: "192.0.2.1", route: "api", claims };
        (limit.quota_for(claims), limit.key(&input))
    };
    let limit = limit();
    let shared = "\n192.0.2.1\n".to_owned();
    let own = format!("{shared}https://issuer.example\n\\key:key-1\n");
    assert_eq!(key_of(&limit, &[("l", 100)]), (100, own.clone()));
    assert_eq!(key_of(&limit, &[("l", 10)]), (10, own));
    assert_eq!(key_of(&limit, &[("other", 100)]), (10, shared.clone()));
    // Credits that nothing refills are only what was granted.
    let credits = Limit { quota: 0, algorithm: Algorithm::Credits, ..limit.clone() };
    assert_eq!(key_of(&credits, &[("l", 100)]), (0, shared));
    let words = |is_own: bool| {
        let check = LimitCheck { is_own, ..check_of(&limit) };
        let command = check.command();
        let words = command.words().iter().skip(4);
        words.map(|word| String::from_utf8(word.clone()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(words(false), ["gcra", "10", "60000", "1", "10", "3"]);
    assert_eq!(words(true), ["gcra", "10", "60000", "1", "10", "3", "1"]);
}

/// So that gates with a quota of each do not forget each other's count.
#[test]
fn days_and_months_have_states_of_their_own() {
    let state = |algorithm, period| Limit { algorithm, period, ..limit() }.state_name();
    assert_eq!(state(Algorithm::Period, Some(Period::Day)), "day");
    assert_eq!(state(Algorithm::Period, Some(Period::Month)), "month");
    // What was spent of credits is not forgotten with another period.
    for period in [None, Some(Period::Day), Some(Period::Month)] {
        assert_eq!(state(Algorithm::Credits, period), "credits");
    }
    assert_eq!(Algorithm::Period.name(), "period");
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
