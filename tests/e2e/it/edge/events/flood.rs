//! A flood of hostile events, with a genuine one in its midst.

use super::hostile::{hostile, take_effect};
use super::scene::Scene;
use crate::support::events::{LOGOUT, Push, access, event_claims, event_header, logout};
use crate::support::http::client;
use crate::support::issuer::TRUSTED;
use crate::support::stack::stop;
use futures_util::StreamExt as _;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[tokio::test]
async fn flood_of_hostile_events_reaches_neither_store_nor_issuer() {
    let scene = Scene::start(Vec::new()).await;
    let (alice, bob) = (access("alice", "s"), access("bob", "s-bob"));
    let table = hostile(&take_effect(&scene).await);
    assert_eq!((scene.api(&alice).await, scene.api(&bob).await), (200, 200));
    // Tokens of unknown keys cost the issuer no more than four requests.
    scene.keys.take();
    let unknown_key = |at: usize| {
        let header = event_header("logout+jwt", json!({ "kid": format!("k-{at}") }));
        let claims = event_claims(json!({ "sub": "alice", "events": { LOGOUT: {} } }));
        Push::logout(&TRUSTED.sign(&header, &claims))
    };
    let (client, url) = (client(), scene.edge.edge("/events"));
    let commands = scene.commands();
    let begun = Instant::now();
    let sent = AtomicUsize::new(0);
    let flood = futures_util::stream::iter(0..10_000_usize).for_each_concurrent(24, |at| {
        let (client, url, table, sent) = (&client, &url, &table, &sent);
        async move {
            let (status, body) = match at % 50 {
                0 => unknown_key(at).send(client, url).await,
                _ => table[at % table.len()].1.send(client, url).await,
            };
            assert!(matches!(status, 200..=413 | 503), "{status} {body}");
            sent.fetch_add(1, Ordering::Relaxed);
        }
    });
    let genuine = async {
        while sent.load(Ordering::Relaxed) < 3000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let before = Instant::now();
        assert_eq!(scene.push(&Push::logout(&logout(json!({ "sub": "bob" })))).await.0, 200);
        let answered = before.elapsed();
        assert_eq!(scene.api(&bob).await, 401);
        let during = sent.load(Ordering::Relaxed);
        (answered, before.elapsed(), during)
    };
    let ((), (answered, refused, during)) = tokio::join!(flood, genuine);
    println!(
        "10,000 hostile events in {:?}; a genuine one in their midst was in the store after {answered:?}, \
         and the next request with its token refused after {refused:?}",
        begun.elapsed()
    );
    assert!(during < 10_000, "the flood was over");
    assert!(answered < Duration::from_secs(1), "{answered:?}");
    // The genuine event: two scripts, which each read and write once. Its token: one MGET.
    assert_eq!(scene.commands() - commands, 7, "the flood reached the store");
    assert!(scene.keys.take().len() <= 4, "the flood reached the issuer");
    assert_eq!(scene.api(&alice).await, 200);
    stop(scene.edge).await;
}
