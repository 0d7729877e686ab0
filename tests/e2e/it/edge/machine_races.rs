//! API keys in use at four isolates, while their operator revokes and rolls them, and limits that
//! count keys apart.

use super::limits::race::{self, most_over, race};
use super::live_api_keys::Scene;
use crate::support::environment::{is_short, on_memcached};
use crate::support::http::client;
use crate::support::issuer::AUDIENCE;
use crate::support::stack::{Stack, stop};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;

const ISOLATES: usize = 4;

/// How often the store may not confirm a change in time on a busy machine.
const UNCONFIRMED_MAX: usize = 4;

/// The time of a request that is answered late on a busy machine, where a delay is allowed.
const TOLERANCE: Duration = Duration::from_millis(500);

/// Starts four isolates before the system's store and auth service.
async fn edges(stack: &Stack, delay_seconds: u64, routes: Value) -> Vec<Stack> {
    let (own, auth) = (stack.fact("edge_url"), stack.fact("auth_url"));
    let vars = json!({
        "store.url": stack.fact("store_url"), "STORE_TOKEN": stack.fact("edge_store_token"),
        "upstream.url": stack.fact("upstream_url"), "auth.url": auth,
        "INTROSPECTION_SECRET": stack.fact("introspection_secret"),
        "revocation.delay_seconds_max": delay_seconds, "introspection.per_second_max": 1000,
        "issuers": [{
            "issuer": own, "audience": AUDIENCE, "algorithms": ["EdDSA"],
            "jwks_url": format!("{auth}/.well-known/jwks.json"), "sessions_in_store": true,
            "api_key_prefixes": "pck_live_",
            "introspection": {
                "url": format!("{auth}/oauth/introspect"), "client_id": "edge",
                "client_secret_variable": "INTROSPECTION_SECRET", "revocations_in_store": true,
            },
        }],
        "routes": routes,
    });
    let start = || {
        let vars = vars.clone();
        tokio::task::spawn_blocking(move || Stack::start(&["--only", "edge"], Some(vars)))
    };
    join_all((0..ISOLATES).map(|_| start())).await.into_iter().map(Result::unwrap).collect()
}

fn route(name: &str, limit: Value) -> Value {
    json!({ "name": name, "path": format!("/api/{name}"), "access": "protected",
        "require": "not_revoked", "limit": limit })
}

/// A request with a key.
struct Hit {
    sent: Instant,
    answered: Instant,
    /// The code of the refusal; `None` if the request passed.
    refused: Option<String>,
}

/// Clients that send requests with one key to all isolates until their end.
struct Clients {
    stopped: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Vec<Hit>>>,
}

impl Clients {
    fn start(urls: &[String], count: usize, key: &str) -> Self {
        let (stopped, client) = (Arc::new(AtomicBool::new(false)), client());
        let work = |number: usize| {
            let url = urls[number % urls.len()].clone();
            let (client, key, stopped) = (client.clone(), key.to_owned(), Arc::clone(&stopped));
            tokio::spawn(async move {
                let mut hits = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let sent = Instant::now();
                    let response = client.get(&url).bearer_auth(&key).send().await.unwrap();
                    let (status, answered) = (response.status().as_u16(), Instant::now());
                    let refused = match status {
                        200 => None,
                        _ => Some(code_of(&response.text().await.unwrap())),
                    };
                    hits.push(Hit { sent, answered, refused });
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                hits
            })
        };
        let workers = (0..count).map(work).collect();
        Self { stopped, workers }
    }

    async fn end(self) -> Vec<Hit> {
        self.stopped.store(true, Ordering::Relaxed);
        join_all(self.workers).await.into_iter().flat_map(Result::unwrap).collect()
    }
}

fn code_of(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body["code"].as_str().unwrap_or("no code").to_owned()
}

/// When a request of the operator was sent and answered, and the response.
struct Change {
    sent: Instant,
    confirmed: Instant,
    status: u16,
    body: Value,
}

impl Change {
    /// Returns whether the store has confirmed the change, which then has this status.
    fn is_confirmed(&self, done: u16) -> bool {
        assert!([done, 202].contains(&self.status), "{}: {}", self.status, self.body);
        self.status == done
    }
}

async fn change(scene: &Scene, method: Method, path: &str, body: Option<Value>) -> Change {
    let sent = Instant::now();
    let response = scene.manage(method, path, body).await;
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    let body = serde_json::from_str(&text).unwrap_or_default();
    Change { sent, confirmed: Instant::now(), status, body }
}

/// Checks that each request passed that was answered before `valid_until`, and that each was
/// refused that was sent after `ended`. Returns how many were refused, and how long after `ended`
/// the last one was sent that passed; below 0 if before.
fn judge(what: &str, hits: &[Hit], valid_until: Instant, ended: Instant) -> (usize, f64) {
    let relative = |moment: Instant| match moment.checked_duration_since(ended) {
        Some(after) => after.as_secs_f64(),
        None => -(ended - moment).as_secs_f64(),
    };
    for hit in hits.iter().filter(|hit| hit.answered < valid_until) {
        assert_eq!(hit.refused, None, "{what}: {} s", relative(hit.sent));
    }
    let after: Vec<&Hit> = hits.iter().filter(|hit| hit.sent >= ended).collect();
    for hit in &after {
        let code = hit.refused.as_deref();
        let codes = ["token_revoked", "token_inactive", "token_expired", "introspection_busy"];
        assert!(
            code.is_some_and(|code| codes.contains(&code)),
            "{what}: {code:?} {} s after the end",
            relative(hit.sent)
        );
    }
    let passed = hits.iter().filter(|hit| hit.refused.is_none());
    (after.len(), passed.map(|hit| relative(hit.sent)).fold(f64::MIN, f64::max))
}

/// Returns the beginning of the whole second of the wall clock in which a moment lies.
fn whole_second(moment: Instant) -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let fraction = (since - moment.elapsed()).subsec_nanos();
    moment - Duration::from_nanos(fraction.into())
}

/// With `revocation.delay_seconds_max = 0` no request passes that is sent after the response to a
/// revocation or a roll, and otherwise none that is sent later than that delay. The grace of a roll
/// holds to the second, and the new secret works at once. So it is where limits are leased.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_passes_after_its_confirmed_end_over_four_isolates() {
    if on_memcached() {
        return;
    }
    let scene = Scene::start().await;
    println!(
        "| delay | change | requests | refused after it | the last accepted one, s after it |"
    );
    println!("|---|---|---|---|---|");
    for delay_seconds in [0, 2] {
        let limit = |timing: &str| json!({ "quota": 1_000_000, "window_seconds": 60, "by": "key", "timing": timing });
        let routes = json!([route("exact", limit("exact")), route("leased", limit("leased"))]);
        let edges = edges(&scene.stack, delay_seconds, routes).await;
        let urls: Vec<String> = ["exact", "leased"]
            .iter()
            .flat_map(|name| edges.iter().map(move |edge| edge.edge(&format!("/api/{name}"))))
            .collect();
        let bound = match delay_seconds {
            0 => Duration::ZERO,
            seconds => Duration::from_secs(seconds) + TOLERANCE,
        };
        for _ in 0..if is_short() { 1 } else { 4 } {
            for what in ["revoked", "rolled", "rolled with a grace", "rolled and revoked"] {
                let mut counts = None;
                for _ in 0..UNCONFIRMED_MAX {
                    counts = end_a_key(&scene, &urls, what, bound).await;
                    if counts.is_some() {
                        break;
                    }
                }
                let counts = counts.expect("the store confirms a change in time");
                println!("| {delay_seconds} s | {what} {counts}");
            }
        }
        stop(edges).await;
    }
    stop(scene.stack).await;
}

/// Ends a key in one of the ways while it is used, and checks each request. Returns `None` if the
/// store did not confirm it in time (202), in which case nothing is promised.
async fn end_a_key(scene: &Scene, urls: &[String], what: &str, bound: Duration) -> Option<String> {
    const GRACE: u64 = 3;
    let terms = json!({ "name": "race", "scope": "api:read", "quotas": { "leased": 900_000 } });
    let (id, key) = scene.create(terms).await;
    let (path, roll) = (format!("/auth/keys/{id}"), format!("/auth/keys/{id}/roll"));
    let old = Clients::start(urls, 16, &key);
    tokio::time::sleep(Duration::from_millis(800)).await;
    let grace = |seconds: u64| Some(json!({ "grace_seconds": seconds }));
    let rolling = |seconds: u64| change(scene, Method::POST, &roll, grace(seconds));
    let revoking = || change(scene, Method::DELETE, &path, None);
    // The time until which the old secret must work, from which it must not, and the new secret.
    let done = match what {
        "revoked" => {
            let done = revoking().await;
            done.is_confirmed(204).then_some((done.sent, done.confirmed, None))
        }
        "rolled" => {
            let done = rolling(0).await;
            let new = Some((done.body.clone(), done.confirmed));
            done.is_confirmed(200).then_some((done.sent, done.confirmed, new))
        }
        "rolled with a grace" => {
            let done = rolling(GRACE).await;
            let grace = Duration::from_secs(GRACE);
            let valid_until = whole_second(done.sent) + grace;
            let new = Some((done.body.clone(), done.confirmed));
            done.is_confirmed(200).then_some((valid_until, done.confirmed + grace, new))
        }
        _ => {
            let (rolled, revoked) = tokio::join!(rolling(GRACE), revoking());
            let both = rolled.confirmed.max(revoked.confirmed);
            let new = (rolled.status == 200).then_some((rolled.body.clone(), both));
            let is_rolled = rolled.status == 409 || rolled.is_confirmed(200);
            let valid_until = rolled.sent.min(revoked.sent);
            let done = (valid_until, revoked.confirmed, new);
            (revoked.is_confirmed(204) && is_rolled).then_some(done)
        }
    };
    let Some((valid_until, ended, new)) = done else {
        old.end().await;
        return None;
    };
    let new = new.map(|(body, since)| {
        let secret = body["key"].as_str().unwrap().to_owned();
        (Clients::start(urls, 8, &secret), since)
    });
    let rest =
        (ended + bound + Duration::from_millis(1500)).saturating_duration_since(Instant::now());
    tokio::time::sleep(rest).await;
    let hits = old.end().await;
    let (refused, last) = judge(what, &hits, valid_until, ended + bound);
    assert!(refused > 50, "{what}: only {refused} requests after the end");
    if let Some((clients, since)) = new {
        let hits = clients.end().await;
        assert!(hits.len() > 50, "{what}: only {} requests with the new secret", hits.len());
        match what {
            "rolled and revoked" => _ = judge(what, &hits, since, since + bound),
            _ => {
                hits.iter().for_each(|hit| assert_eq!(hit.refused, None, "{what}: the new secret"))
            }
        }
    }
    Some(format!("| {} | {refused} | {:.3} |", hits.len(), last + bound.as_secs_f64()))
}

const QUOTA: u64 = 30;
const LOWER: u64 = 10;
const WINDOW_MS: u64 = 2000;
const CONNECTIONS: usize = 64;

/// Leased limits that count keys apart, and keys with quotas of their own, admit no more in any
/// interval than the algorithm does. A lower quota of a key holds as soon as the leases from before
/// it have ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leased_quotas_of_keys_hold_over_four_isolates() {
    if on_memcached() {
        return;
    }
    let (delay_seconds, lease_seconds) = (1, 1);
    let seconds = if is_short() { 4 } else { 10 };
    let scene = Scene::start().await;
    let limit = |quota: u64, by: &str, algorithm: &str| {
        json!({ "quota": quota, "window_seconds": WINDOW_MS / 1000, "by": by, "timing": "leased",
            "algorithm": algorithm, "lease_seconds": lease_seconds, "on_store_outage": "deny" })
    };
    let mut routes = Vec::new();
    for algorithm in ["gcra", "sliding_window"] {
        routes.push(route(&format!("key-{algorithm}"), limit(QUOTA, "key", algorithm)));
        routes.push(route(&format!("own-{algorithm}"), limit(1000, "subject", algorithm)));
    }
    let edges = edges(&scene.stack, delay_seconds, json!(routes)).await;
    let urls = |name: &str| edges.iter().map(|edge| edge.edge(&format!("/api/{name}"))).collect();
    println!("| limit | sent | admitted | supplied | not spent | most over its bound |");
    println!("|---|---|---|---|---|---|");
    let report = |name: &str, sent: u64, admitted: u64, over: i64, quota: u64, of: u64| {
        // What comes while the requests are sent, and what `gcra` has at first.
        let at_first = if name.ends_with("gcra") { quota } else { 0 };
        let supplied = at_first + quota * (of * 1000) / WINDOW_MS;
        let unspent = 100.0 - 100.0 * admitted as f64 / supplied as f64;
        println!("| {name} | {sent} | {admitted} | {supplied} | {unspent:.0}% | {over} |");
        assert!(over <= 0, "{name}: {over} over");
        assert!(sent * 2 > admitted * 3, "{name}: hardly a request was refused");
        assert!(admitted * 10 >= supplied * 6, "{name}: only {admitted} of {supplied}");
    };
    for algorithm in ["gcra", "sliding_window"] {
        let bound =
            |quota: u64| move |length_ms: u64| race::bound(algorithm, quota, WINDOW_MS, length_ms);
        // Two keys of one owner, each with the whole quota.
        let name = format!("key-{algorithm}");
        let until = Duration::from_secs(seconds);
        let [one, other] =
            [1, 2].map(|number| json!({ "name": format!("{name} {number}"), "scope": "api:read" }));
        let ((_, one), (_, other)) = (scene.create(one).await, scene.create(other).await);
        let begun = Instant::now();
        let ((sent, admitted), (other_sent, other_admitted)) = tokio::join!(
            race(urls(&name), CONNECTIONS / 2, &one, begun, until),
            race(urls(&name), CONNECTIONS / 2, &other, begun, until),
        );
        for (sent, admitted) in [(sent, admitted), (other_sent, other_admitted)] {
            let over = most_over(&admitted, bound(QUOTA));
            report(&name, sent, admitted.len() as u64, over, QUOTA, seconds);
        }

        // A quota of the key's own, which is lowered after a while.
        let name = format!("own-{algorithm}");
        let terms = json!({ "name": name, "scope": "api:read", "quotas": { &name: QUOTA } });
        let (id, key) = scene.create(terms).await;
        let begun = Instant::now();
        let lower = async {
            tokio::time::sleep(until).await;
            scene.change(&id, json!({ "quotas": { &name: LOWER } })).await;
            begun.elapsed()
        };
        let settled = Duration::from_secs(delay_seconds + lease_seconds) + TOLERANCE;
        let all = 2 * until + settled + Duration::from_secs(1);
        let ((sent, admitted), lowered) =
            tokio::join!(race(urls(&name), CONNECTIONS, &key, begun, all), lower);
        let over = most_over(&admitted, bound(QUOTA));
        assert!(over <= 0, "{name}: {over} over");
        let from = (lowered + settled).as_millis() as u64;
        let later: race::Admitted =
            admitted.iter().copied().filter(|(before, _)| *before >= from).collect();
        let over = most_over(&later, bound(LOWER));
        let early = admitted.iter().filter(|(_, after)| *after < until.as_millis() as u64).count();
        report(&name, sent, early as u64, most_over(&admitted, bound(QUOTA)), QUOTA, seconds);
        println!("| {name}, lowered to {LOWER} | | {} | | | {over} |", later.len());
        assert!(over <= 0 && !later.is_empty(), "{name}: {over} over the lower quota");
    }
    stop((edges, scene.stack)).await;
}
