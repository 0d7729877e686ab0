use super::*;
use crate::policy::fixtures::route;
use crate::policy::resource::Audiences;
use crate::refusal::Outage;
use crate::store::keys::StoreKeys;
use crate::token::api_key::KeyTerms;
use crate::token::claims::Claims;
use crate::token_hash::TokenHash;
use serde_json::Map;
use std::rc::Rc;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: UnixSeconds = UnixSeconds(1_800_000_123);

fn token_with(raw: &str, change: impl FnOnce(&mut Claims)) -> VerifiedToken {
    let mut claims = Claims {
        iss: "https://issuer.example".into(),
        sub: "alice".into(),
        exp: None,
        nbf: None,
        iat: None,
        jti: Some("id".into()),
        sid: None,
        client_id: Some("web".into()),
        scope: String::new(),
        others: Map::new(),
        audiences: Audiences::OWN,
        key: None,
    };
    change(&mut claims);
    VerifiedToken::new(&StoreKeys::new("pc"), TokenHash::of(raw), 0, claims)
}

fn token(raw: &str) -> VerifiedToken {
    token_with(raw, |_| ())
}

fn sorted(counts: &mut UsageCounts) -> Vec<UsageRow> {
    let mut rows = counts.take();
    rows.sort_by_key(|row| (row.hour, row.route.clone(), row.subject.clone(), row.passed));
    rows
}

#[test]
fn requests_are_counted_by_hour_route_and_token() {
    let (mut counts, one, two) = (UsageCounts::default(), route(), route());
    let (a, b) = (token("a"), token("b"));
    for _ in 0..3 {
        counts.count(Usage::Passed, &one, Some(&a), NOW);
    }
    counts.count(Usage::Refused, &one, Some(&a), NOW.plus(60));
    counts.count(Usage::Passed, &one, Some(&a), NOW.plus(30));
    counts.count(Usage::Passed, &two, Some(&a), NOW);
    counts.count(Usage::Passed, &one, Some(&b), NOW);
    counts.count(Usage::Passed, &one, None, NOW);
    counts.count(Usage::Passed, &one, Some(&a), NOW.plus(3600));
    let rows = sorted(&mut counts);
    let hour = 1_800_000_000;
    let base =
        UsageRow { hour, route: "api".into(), last: NOW.0, passed: 1, ..UsageRow::default() };
    let known = UsageRow {
        issuer: "https://issuer.example".into(),
        subject: "alice".into(),
        client: "web".into(),
        ..base.clone()
    };
    let often = UsageRow { passed: 4, refused: 1, last: NOW.0 + 60, ..known.clone() };
    let later = UsageRow { hour: hour + 3600, last: NOW.0 + 3600, ..known.clone() };
    assert_eq!(rows, [base, known.clone(), known, often, later]);
    assert_eq!(counts.take(), [], "they were taken");
}

#[test]
fn only_a_key_is_counted_by_its_id() {
    let mut counts = UsageCounts::default();
    counts.count(Usage::Passed, &route(), Some(&token("a")), NOW);
    assert_eq!(counts.take()[0].key, "");
    let key = token_with("k", |claims| claims.key = Some(Rc::new(KeyTerms::default())));
    counts.count(Usage::Passed, &route(), Some(&key), NOW);
    assert_eq!(counts.take()[0].key, "id");
}

#[test]
fn long_and_unprintable_names_are_hashed() {
    let mut counts = UsageCounts::default();
    let mut subject = |sub: String| {
        let token = token_with("a", |claims| claims.sub = sub);
        counts.count(Usage::Passed, &route(), Some(&token), NOW);
        counts.take().remove(0).subject
    };
    assert_eq!(subject("x".repeat(256)), "x".repeat(256));
    let long = subject("x".repeat(257));
    assert!(long.starts_with("sha256:") && long.len() == 50, "{long}");
    assert_ne!(long, subject("x".repeat(258)));
    for text in ["a\0", "a\nb", "\u{85}"] {
        assert!(subject(text.into()).starts_with("sha256:"), "{text:?}");
    }
    assert_eq!(subject("\u{e9} \"'".into()), "\u{e9} \"'");
}

/// What is beyond the bound is lost, but not unnoticed.
#[test]
fn counts_are_bounded() {
    let (mut counts, route) = (UsageCounts::default(), route());
    for number in 0..HELD_ROWS {
        assert!(!counts.is_full(), "{number}");
        counts.count(Usage::Passed, &route, Some(&token(&number.to_string())), NOW);
    }
    assert!(counts.is_full());
    for number in HELD_ROWS..2 * HELD_ROWS + 3 {
        counts.count(Usage::Passed, &route, Some(&token(&number.to_string())), NOW);
    }
    counts.count(Usage::Passed, &route, Some(&token("0")), NOW);
    assert_eq!((counts.take_lost(), counts.take_lost()), (3, 0));
    let mut rows = counts.take();
    // A caller whose row is being sent gets a new one.
    counts.count(Usage::Passed, &route, Some(&token("0")), NOW);
    for _ in 1..8 {
        assert!(counts.is_full());
        rows.extend(counts.take());
    }
    assert_eq!((rows.len(), rows.iter().map(|row| row.passed).sum::<u64>()), (4096, 4097));
    assert!(!counts.is_full());
    assert_eq!((counts.take().len(), counts.take().len()), (1, 0));
}

/// Long names fill a batch, and the isolate, earlier.
#[test]
fn bytes_of_names_are_bounded() {
    let (mut counts, route) = (UsageCounts::default(), route());
    let long = |number: u32| token_with(&number.to_string(), |claims| claims.sub = "x".repeat(256));
    let mut number = 0;
    while !counts.is_full() {
        counts.count(Usage::Passed, &route, Some(&long(number)), NOW);
        number += 1;
    }
    assert!((900..1024).contains(&number), "{number}");
    for number in number..3000 {
        counts.count(Usage::Passed, &route, Some(&long(number)), NOW);
    }
    let lost = counts.take_lost();
    let mut rows = 0;
    loop {
        let batch = counts.take();
        let bytes: usize = batch.iter().map(UsageRow::name_bytes).sum();
        assert!(bytes <= NAME_BYTES_MAX, "{bytes}");
        rows += batch.len() as u64;
        if batch.is_empty() {
            break;
        }
    }
    assert!(lost > 900, "{lost}");
    assert_eq!(rows + lost, 3000);
}

#[test]
fn refusals_count_once_the_caller_is_known() {
    for denial in [
        Denial::Blocked,
        Denial::ClaimInsufficient,
        Denial::CreditsExhausted { wait_ms: 1 },
        Denial::InsufficientUserAuthentication("acr"),
        Denial::KeyNetworkDenied,
        Denial::RateLimited { wait_ms: 1 },
        Denial::ScopeInsufficient,
    ] {
        assert_eq!(Usage::of(denial.into()), Some(Usage::Refused), "{denial:?}");
    }
    for refusal in [
        Denial::TokenMissing.into(),
        Denial::TokenRevoked.into(),
        Denial::TooManyInvalidTokens { wait_ms: 1 }.into(),
        Outage::StoreTimeout.into(),
        Refusal::Misconfigured,
    ] {
        assert_eq!(Usage::of(refusal), None, "{refusal:?}");
    }
}
