//! Kills the auth service at each step, and lets the store lose data. Afterwards the edge accepts
//! nothing that the database considers revoked, and no client has lost its session.

use crate::support::environment::{crash_rounds, crash_stride};
use crate::support::http::{client, get_with};
use crate::support::process::{Folder, Process};
use crate::support::proxy::{Fault, Proxy};
use crate::support::stack::{Stack, Tokens, stop};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};

/// A system whose auth service the test starts and kills.
struct World {
    stack: Stack,
    folder: Folder,
    settings: Vec<(String, String)>,
    auth: Option<Process>,
    port: u16,
    /// The longest time for which the edge accepted a revoked token after the auth service was
    /// back.
    worst: Duration,
    crashes: u32,
}

async fn start(options: &'static [&'static str]) -> World {
    let vars = json!({ "store.timeout_ms": 3000, "breaker.failures": 0, "routes": [
        { "name": "not-revoked", "path": "/api/not-revoked", "access": "protected", "require": "not_revoked" },
        { "name": "api", "path": "/api/*", "access": "protected" },
        { "name": "auth", "path": "/auth/*", "access": "auth" },
    ] });
    let stack = tokio::task::spawn_blocking(move || Stack::start(options, Some(vars)));
    let stack = stack.await.unwrap();
    stack.signal("auth", "-KILL");
    let port: u16 = stack.fact("auth_url").rsplit(':').next().unwrap().parse().unwrap();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let settings = ["LOGIN_ATTEMPTS_PER_USERNAME", "LOGIN_ATTEMPTS_PER_ADDRESS"];
    let settings = settings.map(|name| (name.to_owned(), "0".to_owned())).to_vec();
    let (worst, crashes) = (Duration::ZERO, 0);
    World { stack, folder: Folder::new(), settings, auth: None, port, worst, crashes }
}

fn program() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debug/portcullis-auth"))
}

impl World {
    fn set(&mut self, name: &str, value: String) {
        self.settings.push((name.to_owned(), value));
    }

    async fn up(&mut self) {
        let mut command = Command::new(program());
        command.arg("--config").arg(self.stack.fact("auth_config")).arg("serve");
        command.envs(self.settings.iter().cloned());
        let process = Process::start(&mut command, self.folder.file("auth.log"));
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", process.text());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.auth = Some(process);
    }

    fn kill(&mut self) {
        self.auth.take().unwrap().signal("-KILL");
        self.crashes += 1;
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.stack.fact("auth_url"))
    }

    async fn login(&self) -> Tokens {
        let body = json!({ "username": self.stack.username(), "password": self.stack.password() });
        Tokens::read(client().post(self.url("/auth/login")).json(&body).send().await.unwrap()).await
    }

    /// Returns whether a token is active in the database.
    async fn is_active(&self, token: &str) -> bool {
        let secret = self.stack.fact("introspection_secret");
        let request = client().post(self.url("/oauth/introspect")).basic_auth("edge", Some(secret));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(format!("token={token}")).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["active"] == true
    }

    /// Compares the edge's verdict on a token with the database, after the auth service is back.
    async fn agree(&mut self, token: &str) {
        let begun = Instant::now();
        let active = self.is_active(token).await;
        for path in ["/api/hello", "/api/not-revoked"] {
            loop {
                let sent = begun.elapsed();
                let answer = get_with(&self.stack.edge(path), token).await;
                let (status, good) = (answer.status().as_u16(), if active { 200 } else { 401 });
                if status == good {
                    break;
                }
                let log = self.auth.as_ref().map(Process::text).unwrap_or_default();
                assert_eq!(status, 200, "{path}: active: {active}\n{log}");
                assert!(
                    sent < Duration::from_secs(3),
                    "{path}: still accepted after {sent:?}\n{log}"
                );
                self.worst = self.worst.max(sent);
            }
        }
    }

    async fn stop(self) {
        stop(self).await;
    }
}

/// The request that is in progress while the auth service dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Login,
    Logout,
    LogoutEverywhere,
    Refresh,
    Revoke,
}

const ACTS: [Act; 5] = [Act::Login, Act::Logout, Act::LogoutEverywhere, Act::Refresh, Act::Revoke];

impl World {
    fn request(&self, act: Act, session: &Tokens) -> reqwest::RequestBuilder {
        let refresh = json!({ "refresh_token": session.refresh });
        match act {
            Act::Login => {
                let login =
                    json!({ "username": self.stack.username(), "password": self.stack.password() });
                client().post(self.url("/auth/login")).json(&login)
            }
            Act::Logout => client().post(self.url("/auth/logout")).json(&refresh),
            Act::LogoutEverywhere => {
                client().delete(self.url("/auth/sessions")).bearer_auth(&session.access)
            }
            Act::Refresh => client().post(self.url("/auth/refresh")).json(&refresh),
            Act::Revoke => {
                let request = client().post(self.url("/oauth/revoke"));
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                request.body(format!("token={}", session.access))
            }
        }
    }

    /// Sends a request, kills the auth service after `moment`, restarts it, and compares the
    /// states.
    async fn crash(&mut self, act: Act, moment: impl Future<Output = ()>, mend: impl Fn()) {
        let (session, other) = (self.login().await, self.login().await);
        for tokens in [&session, &other] {
            assert_eq!(
                get_with(&self.stack.edge("/api/hello"), &tokens.access).await.status(),
                200
            );
        }
        let request = self.request(act, &session);
        let response = tokio::spawn(request.send());
        moment.await;
        self.kill();
        let answer = response.await.unwrap().ok().map(|answer| answer.status().as_u16());
        mend();
        self.up().await;
        for tokens in [&session, &other] {
            self.agree(&tokens.access).await;
        }
        // The auth service's response is a promise.
        let revokes = matches!(act, Act::Logout | Act::LogoutEverywhere | Act::Revoke);
        if revokes && matches!(answer, Some(200 | 204)) {
            assert!(!self.is_active(&session.access).await, "{act:?}: it was done");
        }
        if act == Act::Refresh {
            // A retry returns the pair that was made, or a new one: the session is not lost.
            let again = self.request(act, &session).send().await.unwrap();
            assert_eq!(again.status(), 200, "{}", again.text().await.unwrap());
            let next = Tokens::read(again).await;
            self.agree(&next.access).await;
            assert!(self.is_active(&next.access).await);
        }
    }
}

#[tokio::test]
async fn auth_service_killed_around_store_writes_stays_consistent() {
    for options in [&[][..], &["--db", "postgres"]] {
        let mut world = start(options).await;
        let store = Proxy::start(world.stack.fact("store_url"));
        world.set("STORE_URL", store.url());
        world.up().await;
        for act in ACTS {
            for fault in [Fault::Hangs, Fault::Late { ms: 5000 }] {
                let moment = async {
                    store.set(fault.clone());
                    // The change is in the database; the write to the store takes up to 1 s here.
                    tokio::time::sleep(Duration::from_millis(400)).await;
                };
                // Log in first, with a healthy store.
                let logged_in = Fault::None;
                store.set(logged_in);
                world.crash(act, moment, || store.set(Fault::None)).await;
            }
        }
        println!(
            "killed {} times around the store ({options:?}): {:?} at most",
            world.crashes, world.worst
        );
        world.stop().await;
    }
}

/// A proxy before a Postgres that stops at a packet.
struct Wire {
    port: u16,
    /// The packets of the auth service that still pass.
    left: Arc<AtomicI64>,
    /// Whether the last packet passes and only the reply to it is dropped.
    passes_last: Arc<Mutex<bool>>,
}

const ALL: i64 = i64::MAX / 2;

impl Wire {
    async fn start(database_url: &str) -> Self {
        let folder = database_url.split("host=").nth(1).unwrap();
        let socket = format!("{folder}/.s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (left, passes_last) = (Arc::new(AtomicI64::new(ALL)), Arc::new(Mutex::new(false)));
        let own = (Arc::clone(&left), Arc::clone(&passes_last));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&socket).await else { return };
                let (left, passes_last) = own.clone();
                let (mut from, mut to) = client.into_split();
                let (mut back, mut onward) = server.into_split();
                let silent = Arc::clone(&left);
                tokio::spawn(async move {
                    let mut chunk = [0; 16 * 1024];
                    while let Ok(read @ 1..) = from.read(&mut chunk).await {
                        let before = left.fetch_sub(1, Ordering::SeqCst);
                        let passes = before > 0 || (before == 0 && *passes_last.lock().unwrap());
                        if passes && onward.write_all(&chunk[..read]).await.is_err() {
                            return;
                        }
                    }
                });
                tokio::spawn(async move {
                    let mut chunk = [0; 16 * 1024];
                    while let Ok(read @ 1..) = back.read(&mut chunk).await {
                        if silent.load(Ordering::SeqCst) >= 0
                            && to.write_all(&chunk[..read]).await.is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, left, passes_last }
    }

    fn arm(&self, packets: i64, passes_last: bool) {
        *self.passes_last.lock().unwrap() = passes_last;
        self.left.store(packets, Ordering::SeqCst);
    }

    /// Waits until it has stopped. Returns `false` if no further packet came.
    async fn silence(&self) -> bool {
        for _ in 0..150 {
            if self.left.load(Ordering::SeqCst) < 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                return true;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        false
    }
}

#[tokio::test]
async fn auth_service_killed_at_each_database_packet_stays_consistent() {
    let mut world = start(&["--db", "postgres"]).await;
    let wire = Wire::start(world.stack.fact("database_url")).await;
    world.set("DATABASE_URL", format!("postgres://postgres@127.0.0.1:{}/postgres", wire.port));
    world.up().await;
    let mut steps = 0;
    for act in [Act::Logout, Act::Refresh, Act::LogoutEverywhere] {
        for passes_last in [false, true] {
            // Each session repeats the steps of the first.
            let stride = if act == Act::LogoutEverywhere { 4 } else { 1 };
            let mut missed = 0;
            // The two series begin at different packets, so that together they try more of them.
            let first = usize::from(passes_last) * (crash_stride() / 2);
            for packet in (first..80).step_by(stride * crash_stride()) {
                let reached = Mutex::new(true);
                let moment = async {
                    wire.arm(i64::try_from(packet).unwrap(), passes_last);
                    *reached.lock().unwrap() = wire.silence().await;
                };
                world.crash(act, moment, || wire.arm(ALL, false)).await;
                // A single miss may be caused by load on the machine.
                missed = if reached.into_inner().unwrap() { 0 } else { missed + 1 };
                if missed == 2 {
                    break;
                }
                steps += u32::from(missed == 0);
            }
        }
    }
    println!("killed at {steps} packets: {:?} at most", world.worst);
    assert!(steps > 30 / u32::try_from(crash_stride()).unwrap(), "{steps}");
    world.stop().await;
}

#[tokio::test]
async fn auth_service_killed_at_any_moment_stays_consistent_on_sqlite() {
    let mut world = start(&[]).await;
    world.up().await;
    for round in 0..crash_rounds() {
        let act =
            [Act::Logout, Act::Refresh, Act::LogoutEverywhere, Act::Revoke][round as usize % 4];
        // From before the request arrives to after it is done, in uneven steps.
        let moment = tokio::time::sleep(Duration::from_micros(300 + (round * 7919) % 14_000));
        world.crash(act, moment, || ()).await;
    }
    println!("killed {} times at any moment: {:?} at most", world.crashes, world.worst);
    world.stop().await;
}

#[tokio::test]
async fn revocations_are_republished_after_the_store_is_flushed() {
    let mut world = start(&[]).await;
    world.up().await;
    let (ended, disabled, live) = (world.login().await, world.login().await, world.login().await);
    for act in [Act::Logout, Act::Revoke] {
        let session = if act == Act::Logout { &ended } else { &disabled };
        assert!(world.request(act, session).send().await.unwrap().status().is_success());
    }
    let mut redis =
        redis::Client::open(world.stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let (edge, mut worst) = (world.stack.edge("/api/not-revoked"), Duration::ZERO);
    // The check runs every 2 s. The flush happens at different times between two checks.
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(300 + 500 * round)).await;
        redis::cmd("FLUSHALL").exec(&mut redis).unwrap();
        let flushed = Instant::now();
        // Routes that require a record are correct at once, because of introspection.
        for token in [&ended.access, &disabled.access] {
            assert_eq!(get_with(&world.stack.edge("/api/hello"), token).await.status(), 401);
        }
        assert_eq!(get_with(&world.stack.edge("/api/hello"), &live.access).await.status(), 200);
        while get_with(&edge, &ended.access).await.status() == 200
            || get_with(&edge, &disabled.access).await.status() == 200
        {
            worst = worst.max(flushed.elapsed());
            assert!(worst < Duration::from_secs(4), "{worst:?}");
        }
        assert_eq!(get_with(&edge, &live.access).await.status(), 200);
    }
    println!("after a flush, a revoked token passed a route without records for {worst:?} at most");
    world.stop().await;
}

/// A Redis that was restored from its disk, or a replica that replaced it, may lack the last
/// seconds.
#[tokio::test]
async fn revocations_are_republished_after_the_store_restores_an_old_copy() {
    let mut world = start(&[]).await;
    world.up().await;
    let mut redis =
        redis::Client::open(world.stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let mut worst = Duration::ZERO;
    for round in 0..4 {
        let ended = world.login().await;
        assert_eq!(get_with(&world.stack.edge("/api/hello"), &ended.access).await.status(), 200);
        // This is tested with and without a check between login and snapshot.
        tokio::time::sleep(Duration::from_millis(if round % 2 == 0 { 100 } else { 2500 })).await;
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut redis).unwrap();
        let before: Vec<(Vec<u8>, Vec<u8>)> = keys
            .into_iter()
            .map(|key| {
                let value = redis::cmd("DUMP").arg(&key).query(&mut redis).unwrap();
                (key, value)
            })
            .collect();
        let logout = world.request(Act::Logout, &ended).send().await.unwrap();
        assert_eq!(logout.status(), 204);
        let mut back = redis::pipe();
        back.atomic().cmd("FLUSHALL");
        for (key, value) in &before {
            back.cmd("RESTORE").arg(key).arg(600_000).arg(value);
        }
        back.exec(&mut redis).unwrap();
        let begun = Instant::now();
        for path in ["/api/hello", "/api/not-revoked"] {
            while get_with(&world.stack.edge(path), &ended.access).await.status() == 200 {
                worst = worst.max(begun.elapsed());
                assert!(worst < Duration::from_secs(4), "{worst:?}");
            }
        }
    }
    println!("after the store went back, a revoked token passed for {worst:?} at most");
    world.stop().await;
}
