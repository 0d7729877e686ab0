use super::*;

fn attempts(per_username: u32, per_address: u32) -> LoginAttempts {
    let store = Arc::new(Store::new("http://127.0.0.1:1", "x").unwrap());
    let limits = LoginAttemptLimits { per_username, per_address };
    LoginAttempts::new(store, StoreKeys::new("pc"), limits)
}

#[tokio::test]
async fn login_attempts_are_counted_locally_without_a_store() {
    let attempts = attempts(3, 0);
    for _ in 0..3 {
        assert!(attempts.begin("alice", "192.0.2.1").await.is_ok());
    }
    let refused = attempts.begin("alice", "192.0.2.1").await;
    assert_eq!(refused.err(), Some(Problem::LoginThrottled { seconds: 1 }));
    assert!(attempts.begin("bob", "192.0.2.1").await.is_ok(), "another user");
    assert!(attempts.begin("alice", "192.0.2.2").await.is_ok(), "from another address");
    let known_address_key = attempts.known_address_key("alice", "192.0.2.1");
    let counters = attempts.counters("alice", "192.0.2.1");
    attempts.succeeded(&LoginAttempt { counters, known_address_key }).await;
    assert!(attempts.begin("alice", "192.0.2.1").await.is_ok(), "counter was reset");
}

/// A successful login to one account allows no more guesses for other accounts.
#[tokio::test]
async fn own_account_does_not_bypass_the_address_limit() {
    let attempts = attempts(0, 8);
    let mut accepted = 0;
    for round in 0..5 {
        for guess in 0..6 {
            let name = format!("victim-{round}-{guess}");
            accepted += u32::from(attempts.begin(&name, "192.0.2.1").await.is_ok());
        }
        if let Ok(attempt) = attempts.begin("mallory", "192.0.2.1").await {
            attempts.succeeded(&attempt).await;
        }
    }
    assert!(accepted <= 8, "{accepted}");
}

#[test]
fn refusal_of_the_store_is_known_until_it_counts() {
    let attempts = attempts(3, 0);
    let refused = Reply::Error("NOPERM this token may not run this script".to_owned());
    assert_eq!(attempts.parse_waits(&[Reply::Integer(0), refused]), None);
    assert!(attempts.refusal().is_some_and(|text| text.starts_with("NOPERM")));
    assert_eq!(attempts.parse_waits(&[Reply::Integer(7)]), Some(vec![7]));
    assert_eq!(attempts.refusal(), None);
}

#[test]
fn local_counters_are_bounded() {
    let attempts = attempts(1, 1);
    let counter = |key: String| Counter {
        key,
        limits: CounterLimits {
            free_attempts: 1,
            wait_max: PAIR_WAIT_MAX,
            drain: Duration::from_secs(900),
        },
        exempts_known_address: false,
    };
    for number in 0..50 {
        attempts.count_locally(&[counter(number.to_string())]);
    }
    // A full scan each time would make this test too slow.
    let one = counter("0".into());
    let mut local = attempts.local.lock().unwrap();
    let state = local[&one.key].state;
    for fill in local.len()..LOCAL_COUNTERS_MAX {
        local.insert(format!("fill-{fill}"), LocalCounter { state, limits: one.limits });
    }
    drop(local);
    attempts.count_locally(&[counter("last".into())]);
    assert!(attempts.local.lock().unwrap().len() <= LOCAL_COUNTERS_MAX);
}

#[test]
fn script_is_allowed_by_the_gateway_token_of_the_auth_service() {
    use aws_lc_rs::digest;
    let script = include_bytes!("../login_attempts.lua");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, script);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(
        include_str!("../../../../../docs/redis-gateway-tokens.toml").contains(&hash),
        "{hash}"
    );
}
