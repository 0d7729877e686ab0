//! Throttling of login attempts by username and by address, also for concurrent attempts.

use crate::support::http::{client, field};
use crate::support::stack::{Stack, stop};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn attempt(
    stack: &Stack,
    username: &str,
    password: &str,
    address: &str,
) -> (u16, String, u64) {
    let body = json!({ "username": username, "password": password });
    let request = client().post(stack.edge("/auth/login")).header("cf-connecting-ip", address);
    let response = request.json(&body).send().await.unwrap();
    let (status, wait) = (response.status().as_u16(), field(&response, "retry-after"));
    let body: Value = response.json().await.unwrap();
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    (status, code, wait.parse().unwrap_or(0))
}

#[tokio::test]
async fn username_delay_doubles_after_each_failed_attempt() {
    let stack = Stack::start_with_auth_env(&["LOGIN_ATTEMPTS_PER_ADDRESS=0"]).await;
    let here = "192.0.2.1";
    // An unknown username is treated the same way.
    for username in ["unknown-user", stack.username()] {
        for number in 0..5 {
            let (status, code, _) = attempt(&stack, username, "wrong", here).await;
            assert_eq!((status, code.as_str()), (401, "credentials_invalid"), "{number}");
        }
        let mut waits = Vec::new();
        for _ in 0..3 {
            let begun = Instant::now();
            // Even the correct password is rejected, without hashing it.
            let (status, code, wait) = attempt(&stack, username, stack.password(), here).await;
            assert_eq!((status, code.as_str()), (429, "login_throttled"));
            assert!(begun.elapsed() < Duration::from_secs(1));
            waits.push(wait);
            if waits.len() < 3 {
                tokio::time::sleep(Duration::from_millis(wait * 1000 + 50)).await;
                assert_eq!(attempt(&stack, username, "wrong", here).await.0, 401);
            }
        }
        // The waits are 1, 2 and 4 s, minus the time since the attempt.
        assert!(
            waits[0] <= 1 && (1..=2).contains(&waits[1]) && (2..=4).contains(&waits[2]),
            "{waits:?}"
        );
    }
    // The same user can log in from elsewhere, and another user from here.
    assert_eq!(attempt(&stack, stack.username(), stack.password(), "192.0.2.2").await.0, 200);
    assert_eq!(attempt(&stack, "other-user", "wrong", here).await.0, 401);
    // A successful login resets the count.
    tokio::time::sleep(Duration::from_millis(4050)).await;
    for _ in 0..3 {
        let (status, ..) = attempt(&stack, stack.username(), stack.password(), here).await;
        assert_eq!(status, 200);
        for _ in 0..4 {
            let (status, ..) = attempt(&stack, stack.username(), "wrong", here).await;
            assert_eq!(status, 401);
        }
    }
    let metric = |outcome: &str| format!("endpoint=\"login\",outcome=\"{outcome}\"");
    let count = async |outcome: &str| {
        stack.metric("auth_url", "portcullis_auth_outcomes_total", &metric(outcome)).await
    };
    assert_eq!((count("done").await, count("login_throttled").await), (4, 6));
    stop(stack).await;
}

/// Guesses from many addresses are throttled, and do not lock the owner out.
#[tokio::test]
async fn username_under_distributed_attack_stays_open_to_its_owner() {
    let stack = Stack::start_with_auth_env(&[
        "LOGIN_ATTEMPTS_PER_ADDRESS=0",
        "LOGIN_ATTEMPTS_PER_USERNAME=1",
    ])
    .await;
    let (name, password, home) = (stack.username(), stack.password(), "203.0.113.5");
    assert_eq!(attempt(&stack, name, password, home).await.0, 200);
    let mut checked = 0;
    for number in 0..40 {
        let (status, ..) = attempt(&stack, name, "wrong", &format!("192.0.2.{number}")).await;
        checked += usize::from(status == 401);
    }
    // 20 times as many as from one address, and one more for each wait that ended.
    assert!((20..=24).contains(&checked), "{checked} of 40 were checked");
    assert_eq!(
        attempt(&stack, name, password, home).await.0,
        200,
        "from where it logged in before"
    );
    // Attempts of a throttled address are not counted against the username.
    let cooling = "198.51.100.1";
    assert_eq!(attempt(&stack, "victim", "wrong", cooling).await.0, 401);
    let (mut refused, mut checked) = (0, 0);
    while refused < 30 {
        assert!(checked < 100, "the address is not throttled");
        // One more attempt is checked whenever a wait of 1 s, 2 s and so on ends.
        let (status, ..) = attempt(&stack, "victim", "wrong", cooling).await;
        assert!(matches!(status, 401 | 429), "{status}");
        refused += usize::from(status == 429);
        checked += usize::from(status == 401);
    }
    assert_eq!(attempt(&stack, "victim", "wrong", "198.51.100.2").await.0, 401);
    stop(stack).await;
}

#[tokio::test]
async fn address_is_throttled_even_for_concurrent_guesses() {
    let stack = Stack::start_with_auth_env(&[
        "LOGIN_ATTEMPTS_PER_ADDRESS=8",
        "LOGIN_ATTEMPTS_PER_USERNAME=0",
    ])
    .await;
    let client = client();
    let calls: Vec<_> = (0..32)
        .map(|number| {
            // IPv6 addresses of one /64, each with another username.
            let address = format!("2001:db8::{number:x}");
            let body = json!({ "username": format!("user-{number}"), "password": "wrong" });
            let request =
                client.post(stack.edge("/auth/login")).header("cf-connecting-ip", address);
            tokio::spawn(request.json(&body).send())
        })
        .collect();
    let mut checked = 0;
    for call in calls {
        match call.await.unwrap().unwrap().status().as_u16() {
            401 | 503 => checked += 1,
            status => assert_eq!(status, 429),
        }
    }
    // One more for each wait of a second that ended meanwhile.
    assert!((8..=12).contains(&checked), "{checked} of 32 were checked");
    let (status, ..) = attempt(&stack, stack.username(), stack.password(), "192.0.2.1").await;
    assert_eq!(status, 200, "another address");
    stop(stack).await;
}

/// Successful logins are not counted, and attempts are counted locally without the store.
#[tokio::test]
async fn successful_logins_are_not_counted_and_attempts_are_counted_without_the_store() {
    let stack = Stack::start_with_auth_env(&[
        "LOGIN_ATTEMPTS_PER_ADDRESS=4",
        "LOGIN_ATTEMPTS_PER_USERNAME=3",
    ])
    .await;
    let good = async || attempt(&stack, stack.username(), stack.password(), "192.0.2.1").await.0;
    for _ in 0..8 {
        assert_eq!(good().await, 200);
    }
    // A read-only store cannot count.
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).exec(&mut redis).unwrap();
    for _ in 0..3 {
        assert_eq!(attempt(&stack, "another", "wrong", "192.0.2.8").await.0, 401);
    }
    assert_eq!(attempt(&stack, "another", "wrong", "192.0.2.8").await.0, 429);
    stack.signal("redis", "-KILL");
    assert_eq!(good().await, 200);
    for _ in 0..3 {
        assert_eq!(attempt(&stack, "unknown-user", "wrong", "192.0.2.9").await.0, 401);
    }
    assert_eq!(attempt(&stack, "unknown-user", "wrong", "192.0.2.9").await.0, 429);
    assert_eq!(good().await, 200);
    stop(stack).await;
}
