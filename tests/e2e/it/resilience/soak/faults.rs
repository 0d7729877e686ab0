//! One fault after the other, in an order that the seed repeats.

use super::guests;
use super::history::Loss;
use super::record::Topic;
use super::system::STORE_DEADLINE_MS;
use super::world::World;
use crate::resilience::faults::harm::{harm, store_faults};
use crate::support::chance::Chance;
use crate::support::proxy::Fault;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The effect of a fault.
enum Action {
    Store(Fault),
    Auth(Fault),
    Upstream(Fault),
    /// Deletes everything in Redis.
    Flush,
    /// Kills a server, and restarts it.
    Kill(&'static str),
}

struct Row {
    name: String,
    action: Action,
}

/// The faults of a run, at equal distances.
pub struct Schedule {
    slot: Duration,
    fault: Duration,
    rows: Vec<Row>,
}

/// The pause after the first third and after the rest. Within 10 s, workerd and the clients close
/// the connections that they keep for later requests.
pub const REST: Duration = Duration::from_secs(15);

/// The number of faults of a short run. Longer runs have one a minute.
const FAULTS_MIN: u32 = 6;

/// The time after which a killed server is restarted, unless the fault ends earlier.
const DOWN: Duration = Duration::from_secs(5);

/// The longest duration of a fault's effects. A longer one is a finding.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

impl Schedule {
    pub fn new(length: Duration, seed: u64) -> Self {
        let slots = u32::try_from(length.as_secs() / 60).unwrap().max(FAULTS_MIN);
        let slot = length / slots;
        let mut chance = Chance::new(seed);
        // Each run kills each server in its first half, so that the memory of each can be compared
        // with its earlier memory.
        let mut rows: Vec<Row> = ["auth", "redis-gateway", "redis"]
            .map(|name| row(name, "is killed", Action::Kill(name)))
            .into();
        let mut others = table();
        chance.shuffle(&mut others);
        others.truncate(slots as usize - rows.len());
        let late = others.split_off(slots as usize / 2 - rows.len());
        rows.extend(others);
        chance.shuffle(&mut rows);
        rows.extend(late);
        let fault = (slot / 3).min(Duration::from_secs(20));
        Self { slot, fault, rows }
    }

    /// Returns the first third of the schedule, and the rest.
    pub fn split(self) -> [Self; 2] {
        let Self { slot, fault, rows: mut third } = self;
        let rest = third.split_off(third.len() / 3);
        [third, rest].map(|rows| Self { slot, fault, rows })
    }

    /// Returns the duration of the schedule.
    pub fn length(&self) -> Duration {
        self.slot * u32::try_from(self.rows.len()).unwrap()
    }

    /// Returns a REFRESH_GRACE_SECONDS that is long enough for a client to refresh again after each
    /// fault: the fault, the recovery, a pause of the load, and a few seconds.
    pub fn grace(&self) -> u64 {
        self.fault.as_secs() + RECOVERY_MAX.as_secs() + REST.as_secs() + 5
    }
}

fn row(subject: &str, what: &str, action: Action) -> Row {
    Row { name: format!("{subject} {what}"), action }
}

/// Returns the faults of docs/reliability.md, other than kills.
fn table() -> Vec<Row> {
    let mut rows = vec![row("redis", "is flushed", Action::Flush)];
    let store = store_faults(STORE_DEADLINE_MS).into_iter();
    rows.extend(store.map(|(name, fault)| row("store", name, Action::Store(fault))));
    rows.extend(harm().into_iter().map(|(name, fault)| row("auth", name, Action::Auth(fault))));
    let upstream = harm().into_iter();
    rows.extend(upstream.map(|(name, fault)| row("upstream", name, Action::Upstream(fault))));
    rows.retain(|row| !row.name.ends_with("does nothing wrong"));
    rows
}

/// Injects the faults of a schedule.
pub async fn inject(world: Arc<World>, begun: Instant, schedule: Schedule) {
    for (number, row) in (0..).zip(schedule.rows) {
        // The end of a run has no fault, so that memory can be compared.
        let at = begun + schedule.slot * number + schedule.slot / 20;
        tokio::time::sleep_until(at.into()).await;
        println!("{}", row.name);
        let loss = match row.action {
            Action::Flush => Loss::Everything,
            Action::Kill("redis") => Loss::LastWrites,
            _ => Loss::Nothing,
        };
        world.history.begin(row.name.clone(), loss);
        fail(&world, row.action, schedule.fault).await;
        world.history.end();
        match recovers(&world).await {
            Some(after) => world.history.is_back(after),
            None => world.record.find(Topic::Recovery, row.name),
        }
    }
}

/// Injects one fault, and ends it.
async fn fail(world: &World, action: Action, length: Duration) {
    let system = &world.system;
    match action {
        Action::Store(fault) => {
            for store in &system.stores {
                store.set(fault.clone());
            }
            tokio::time::sleep(length).await;
            for store in &system.stores {
                store.set(Fault::None);
            }
        }
        Action::Auth(fault) => {
            system.auth.set(fault);
            tokio::time::sleep(length).await;
            system.auth.set(Fault::None);
        }
        Action::Upstream(fault) => {
            system.upstream.set(fault);
            tokio::time::sleep(length).await;
            system.upstream.set(Fault::None);
        }
        Action::Flush => {
            let client = redis::Client::open(system.stack.fact("redis_url")).unwrap();
            let mut redis = client.get_multiplexed_async_connection().await.unwrap();
            redis::cmd("FLUSHALL").exec_async(&mut redis).await.unwrap();
        }
        Action::Kill(name) => {
            system.with_server(name, |server| server.kill());
            tokio::time::sleep(length.min(DOWN)).await;
            system.with_server(name, |server| server.up());
        }
    }
}

/// Returns the time until requests of each kind succeed again; `None` after [`RECOVERY_MAX`].
async fn recovers(world: &World) -> Option<Duration> {
    let (begun, mut chance) = (Instant::now(), Chance::new(7));
    let mut good = 0;
    while good < 3 {
        if begun.elapsed() > RECOVERY_MAX {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Some(token) = world.model.valid(&mut chance) else { continue };
        let get = |path: &str| world.client.get(world.url(path));
        let refresh = json!({ "refresh_token": "never-issued" });
        let Some(pass) = world.visitors.live(&mut chance) else { continue };
        let other = |path: &str| world.client.get(world.system.other.edge(path));
        let calls = [
            (other(pass.path()).bearer_auth(&pass.token.text), 200),
            (guests::anonymous(other("/open/x"), &mut chance), 200),
            (get("/api/record").bearer_auth(&token.text), 200),
            (get("/api/not-revoked").bearer_auth(&token.text), 200),
            (get("/public/x"), 200),
            (world.client.post(world.url("/auth/refresh")).json(&refresh), 401),
        ];
        let mut all = true;
        for (call, expected) in calls {
            all &= world.send(call).await.status == Some(expected);
        }
        good = if all { good + 1 } else { 0 };
    }
    Some(begun.elapsed())
}
