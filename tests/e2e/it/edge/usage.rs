//! Usage: the database's sums are what was sent, whatever fails in between.

use super::limits::scene::{protected, start, store, unique};
use crate::support::chance::Chance;
use crate::support::environment::{is_short, on_memcached};
use crate::support::gateway::{Gateway, TOKEN};
use crate::support::http::{assert_refused, client, field, get_with, post};
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::proxy::{Fault, Proxy};
use crate::support::stack::{RECORD_ENCRYPTION_KEY, Tokens, stop};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An auth service, which the test may kill.
struct Auth {
    folder: Folder,
    port: u16,
    settings: Vec<(String, String)>,
    process: Option<Process>,
}

impl Auth {
    async fn start(gateway: &Gateway) -> Self {
        let (folder, [port, admin_port]) = (Folder::new(), free_ports());
        let settings = [
            ("DATABASE_URL", format!("sqlite://{}", folder.file("auth.db").display())),
            ("ISSUER", "https://a.example".to_owned()),
            ("AUDIENCE", "a".to_owned()),
            ("STORE_URL", gateway.url.clone()),
            ("STORE_TOKEN", TOKEN.to_owned()),
            ("MASTER_KEY", RECORD_ENCRYPTION_KEY.to_owned()),
            ("RECORD_ENCRYPTION_KEY", RECORD_ENCRYPTION_KEY.to_owned()),
            ("AUTH_LISTEN", format!("127.0.0.1:{port}")),
            ("AUTH_ADMIN_LISTEN", format!("127.0.0.1:{admin_port}")),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let mut auth = Self { folder, port, settings, process: None };
        for (name, scope) in
            [("admin", "usage:admin"), ("reader", "usage:read"), ("other", "keys:manage")]
        {
            let mut add = auth.command();
            add.args(["user", "add", "--username", name, "--scope", scope]);
            let mut child = add.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            std::io::Write::write_all(&mut input, b"correct horse").unwrap();
            drop(input);
            assert!(child.wait().unwrap().success());
        }
        auth.up();
        auth
    }

    fn command(&self) -> Command {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let mut command = Command::new(Path::new(root).join("target/debug/portcullis-auth"));
        command.envs(self.settings.iter().cloned());
        command
    }

    fn up(&mut self) {
        let mut serve = self.command();
        let process = Process::start(serve.arg("serve"), self.folder.file("auth.log"));
        wait_for_port(self.port, &process);
        self.process = Some(process);
    }

    fn kill(&mut self) {
        drop(self.process.take());
    }

    fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn login(&self, username: &str) -> String {
        let body = json!({ "username": username, "password": "correct horse" });
        Tokens::read(post(&self.at("/auth/login"), body).await).await.access
    }

    /// Returns what `GET /auth/usage` says.
    async fn usage(&self, token: &str, query: &str) -> Value {
        let response = get_with(&self.at(&format!("/auth/usage?{query}")), token).await;
        assert_eq!(response.status(), 200, "{query}");
        response.json().await.unwrap()
    }

    /// Returns passed and refused requests by subject and route, once they are as many as expected.
    async fn counts(&self, token: &str, expected: u64) -> Counts {
        let begun = Instant::now();
        loop {
            let usage = self.usage(token, "by=subject,route").await;
            let counts: Counts = usage["usage"].as_array().unwrap().iter().map(count).collect();
            let sum: u64 = counts.values().map(|(passed, refused)| passed + refused).sum();
            assert!(sum <= expected, "{sum} of {expected} requests were counted");
            if sum == expected {
                return counts;
            }
            let log = self.process.as_ref().map(Process::text).unwrap_or_default();
            let waited = begun.elapsed();
            assert!(waited < Duration::from_secs(30), "{sum} of {expected}: {counts:?}\n{log}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Passed and refused requests, by subject and route.
type Counts = BTreeMap<(String, String), (u64, u64)>;

fn count(row: &Value) -> ((String, String), (u64, u64)) {
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    let number = |name: &str| row[name].as_u64().unwrap();
    ((text("subject"), text("route")), (number("passed"), number("refused")))
}

/// Records the status of a response, as usage should count it.
fn record(sent: &Mutex<(Counts, u64)>, entry: (String, String), status: u16) {
    let (counts, others) = &mut *sent.lock().unwrap();
    match status {
        200 => counts.entry(entry).or_default().0 += 1,
        403 => counts.entry(entry).or_default().1 += 1,
        503 => *others += 1,
        status => panic!("{status}"),
    }
}

fn token(subject: &str) -> String {
    super::limits::scene::token(json!({ "sub": subject, "scope": "read" }))
}

fn vars(store: &str, name: &str, flush_seconds: u32) -> Value {
    json!({
        "store.url": store, "STORE_TOKEN": TOKEN, "store.timeout_ms": 1000, "breaker.failures": 0,
        "revocation.delay_seconds_max": 60, "usage.flush_seconds": flush_seconds,
        "routes": [
            protected(name, json!({})),
            protected(&format!("{name}-admin"), json!({ "scopes": ["admin"] })),
            { "name": format!("{name}-public"), "path": "/public/*", "access": "public" },
        ],
    })
}

/// Each isolate flushes at most once a second, while the store fails in every way, and the auth
/// service dies. What it prints is part of the documentation.
#[tokio::test]
async fn sums_are_what_was_sent() {
    if on_memcached() {
        return;
    }
    let requests = if is_short() { 2000 } else { 5000 };
    let (redis, gateway) = store().await;
    let (far, name) = (Arc::new(Proxy::start(&gateway.url)), unique("usage"));
    let mut auth = Auth::start(&gateway).await;
    let admin = auth.login("admin").await;
    let vars = vars(&far.url(), &name, 1);
    let (a, b, c, d) =
        tokio::join!(start(vars.clone()), start(vars.clone()), start(vars.clone()), start(vars));
    let edges = [a, b, c, d];
    let urls: Vec<String> = edges.iter().map(|edge| edge.edge("")).collect();
    // A few subjects send most of the requests.
    let subjects: Vec<String> = (0..60).map(|number| format!("subject-{number}")).collect();
    let tokens: Vec<String> = subjects.iter().map(|subject| token(subject)).collect();
    let paths = [format!("/api/{name}"), format!("/api/{name}-admin"), "/public/x".to_owned()];
    let routes = [name.clone(), format!("{name}-admin"), format!("{name}-public")];
    let sent: Arc<Mutex<(Counts, u64)>> = Arc::default();
    let mut workers = Vec::new();
    for worker in 0..16_usize {
        let (urls, subjects, tokens) = (urls.clone(), subjects.clone(), tokens.clone());
        let (paths, routes, sent) = (paths.clone(), routes.clone(), Arc::clone(&sent));
        workers.push(tokio::spawn(async move {
            let (client, mut chance) = (client(), Chance::new(worker as u64));
            for number in 0..requests / 16 {
                let rank = 1 << chance.below(6);
                let subject = chance.below(rank.min(60)) as usize;
                let route = [0, 0, 0, 1, 2][chance.below(5) as usize];
                let url = format!("{}{}", urls[(worker + number) % urls.len()], paths[route]);
                let is_public = route == 2;
                let request = match is_public {
                    true => client.get(url),
                    false => client.get(url).bearer_auth(&tokens[subject]),
                };
                let status = request.send().await.unwrap().status().as_u16();
                let subject = if is_public { String::new() } else { subjects[subject].clone() };
                record(&sent, (subject, routes[route].clone()), status);
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }));
    }
    let mut seen = Vec::new();
    for fault in [Fault::Hangs, Fault::Half, Fault::Refuses, Fault::Half, Fault::Resets] {
        tokio::time::sleep(Duration::from_millis(700)).await;
        far.set(fault);
        tokio::time::sleep(Duration::from_millis(700)).await;
        far.set(Fault::None);
        auth.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let waiting = gateway.run(json!(["LRANGE", "pc:usage", "0", "-1"])).await;
        seen.extend(waiting.as_array().unwrap().iter().map(Value::to_string));
        auth.up();
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert!(!seen.is_empty(), "no batch waited while the auth service was down");
    let is_sealed = |batch: &String| batch.starts_with("\"v1.test.") && !batch.contains("subject");
    assert!(seen.iter().all(is_sealed), "{seen:?}");
    // One more request lets each isolate flush.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for url in &urls {
        let status = get_with(&format!("{url}{}", paths[0]), &tokens[0]).await.status();
        assert_eq!(status, 200);
        record(&sent, (subjects[0].clone(), routes[0].clone()), 200);
    }
    let (expected, others) = std::mem::take(&mut *sent.lock().unwrap());
    let sum: u64 = expected.values().map(|(passed, refused)| passed + refused).sum();
    let counted = auth.counts(&admin, sum).await;
    assert_eq!(counted, expected);
    let refused: u64 = expected.values().map(|(_, refused)| refused).sum();
    let batches = auth.usage(&admin, "").await;
    println!(
        "usage over four isolates: {sum} requests counted of {sum}, {refused} of them refused, \
         {others} more were 503; {batches}"
    );
    let begun = Instant::now();
    while gateway.run(json!(["LLEN", "pc:usage"])).await != 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "batches are left");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop((edges, far, redis, gateway, auth.process)).await;
}

/// The counts of an interval are more than one batch. Each further request sends one.
#[tokio::test]
async fn many_callers_are_sent_in_several_batches() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let name = unique("callers");
    let edge = start(vars(&gateway.url, &name, 3600)).await;
    let url = edge.edge(&format!("/api/{name}"));
    let send = async |callers: std::ops::Range<usize>, times: usize| {
        for caller in callers {
            let token = token(&format!("caller-{caller}"));
            for _ in 0..times {
                assert_eq!(get_with(&url, &token).await.status(), 200);
            }
        }
    };
    let batches = async || gateway.run(json!(["LLEN", "pc:usage"])).await.as_u64().unwrap();
    send(0..2047, 2).await;
    assert_eq!(batches().await, 0, "there is room, and the interval is not over");
    send(2047..2048, 1).await;
    let begun = Instant::now();
    let mut sent = 4095;
    while batches().await < 4 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} batches", batches().await);
        send(0..1, 1).await;
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What came since waits for its own batch.
    send(0..5, 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(batches().await, 4);
    let auth = Auth::start(&gateway).await;
    let admin = auth.login("admin").await;
    let counts = auth.counts(&admin, 4095).await;
    assert_eq!(counts.len(), 2048);
    assert!(counts.values().all(|count| *count == (2, 0) || *count == (1, 0)), "{counts:?}");
    println!("2048 callers in 4 batches after {sent} requests");
    stop((edge, redis, gateway, auth.process)).await;
}

#[tokio::test]
async fn isolate_that_ends_loses_one_interval_at_most() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let name = unique("evicted");
    let auth = Auth::start(&gateway).await;
    let admin = auth.login("admin").await;
    let edge = start(vars(&gateway.url, &name, 2)).await;
    let (token, url) = (token("alice"), edge.edge(&format!("/api/{name}")));
    let send = async |count: u64| {
        for _ in 0..count {
            assert_eq!(get_with(&url, &token).await.status(), 200);
        }
    };
    send(20).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    send(1).await;
    let counts = auth.counts(&admin, 21).await;
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [(21, 0)]);
    // The last of these pushes all, since the interval is over.
    send(10).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    send(1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    send(10).await;
    edge.signal("edge", "-KILL");
    let (begun, mut passed) = (Instant::now(), 0);
    while passed < 32 && begun.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        passed = auth.usage(&admin, "").await["usage"][0]["passed"].as_u64().unwrap();
    }
    // The first of the ten may have come after the interval, and have pushed itself.
    assert!((32..42).contains(&passed), "{passed} of 42, of which ten came in one interval");
    stop((edge, redis, gateway, auth.process)).await;
}

#[tokio::test]
async fn usage_is_shown_to_those_who_may_see_it() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let name = unique("shown");
    let auth = Auth::start(&gateway).await;
    let edge = start(vars(&gateway.url, &name, 1)).await;
    let url = edge.edge(&format!("/api/{name}"));
    for subject in ["alice", "=2+3", "=2+3"] {
        assert_eq!(get_with(&url, &token(subject)).await.status(), 200);
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(get_with(&url, &token("alice")).await.status(), 200);
    let (admin, reader, other) =
        (auth.login("admin").await, auth.login("reader").await, auth.login("other").await);
    auth.counts(&admin, 4).await;
    let ask = async |query: &str, token: &str| {
        get_with(&auth.at(&format!("/auth/usage{query}")), token).await
    };
    let csv = ask("?by=subject&format=csv", &admin).await;
    assert!(field(&csv, "content-type").starts_with("text/csv"));
    let csv = csv.text().await.unwrap();
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines[0], "issuer,subject,passed,refused");
    assert!(lines[1].ends_with(",'=2+3,2,0") && lines[2].ends_with(",alice,2,0"), "{csv}");
    let first = ask("?by=subject&format=csv&limit=1", &admin).await;
    let next = field(&first, "link");
    let next = next.strip_prefix("</auth/usage").unwrap().split('>').next().unwrap();
    assert!(ask(next, &admin).await.text().await.unwrap().contains("alice"));
    let request = client().get(auth.at("/auth/usage")).bearer_auth(&admin);
    let accepted = request.header("accept", "text/csv;q=1").send().await.unwrap();
    assert_eq!(accepted.text().await.unwrap(), "passed,refused\r\n4,0\r\n");
    let day = auth.usage(&admin, "by=day,route&subject=alice").await;
    assert_eq!((&day["usage"][0]["passed"], &day["usage"][0]["route"]), (&json!(2), &json!(name)));
    // The reader's own requests: none.
    let own = auth.usage(&reader, "by=subject").await;
    assert_eq!(own, json!({ "usage": [], "next": null }));
    assert_refused(ask("?subject=alice", &reader).await, 403, "scope_insufficient").await;
    assert_refused(ask("", &other).await, 403, "scope_insufficient").await;
    assert_refused(ask("", "x").await, 401, "access_token_invalid").await;
    assert_refused(ask("?by=colour", &admin).await, 400, "query_invalid").await;
    // The command prints the same.
    let mut command = auth.command();
    let output = command.args(["usage", "--by", "subject", "--csv"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), csv);
    let mut command = auth.command();
    let output = command.args(["usage", "--subject", "alice"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "{\"passed\":2,\"refused\":0}\n");
    let mut command = auth.command();
    assert!(!command.args(["usage", "--from", "then"]).output().unwrap().status.success());
    stop((edge, redis, gateway, auth.process)).await;
}

/// The bound is what was not reported: here nothing, because the isolate had flushed.
#[tokio::test]
async fn calendar_limit_goes_on_after_the_store_lost_it() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let name = unique("month");
    let auth = Auth::start(&gateway).await;
    let admin = auth.login("admin").await;
    let mut vars = vars(&gateway.url, &name, 1);
    let limit = json!({ "quota": 50, "period": "month", "by": "subject", "timing": "exact" });
    vars["routes"] = json!([protected(&name, json!({ "limit": limit }))]);
    let edge = start(vars).await;
    let (token, url) = (token("alice"), edge.edge(&format!("/api/{name}")));
    let send = async |count: u64| {
        let mut passed = 0;
        for _ in 0..count {
            passed += u64::from(get_with(&url, &token).await.status() == 200);
        }
        passed
    };
    assert_eq!(send(20).await, 20);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(send(1).await, 1);
    auth.counts(&admin, 21).await;
    redis::cmd("FLUSHALL").query::<()>(&mut redis.connection()).unwrap();
    auth.process.as_ref().unwrap().says("\"states\":1").await;
    assert_eq!(send(40).await, 29, "{}", auth.process.as_ref().unwrap().text());
    stop((edge, redis, gateway, auth.process)).await;
}
