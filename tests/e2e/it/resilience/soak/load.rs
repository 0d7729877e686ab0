//! The load: requests of mixed kinds at a fixed rate, however slow the responses are.

use super::record::Topic;
use super::world::World;
use super::{
    api_keys, blocks, credits, events, forged_events, guests, overrides, requests, sessions,
    visitors,
};
use crate::support::chance::Chance;
use crate::support::proxy::Fault;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

/// The most requests in progress. At a rate of 300 a second, this allows 3 s for each.
const IN_PROGRESS_MAX: usize = 1000;

/// The time between logins: at most 5 a second, because each costs an argon2id hash.
const LOGIN_INTERVAL: Duration = Duration::from_millis(200);

/// The time in which the first sessions are logged in.
const FILLED_WITHIN: Duration = Duration::from_secs(120);

/// The number of requests that wait during a fault of 2 s.
const WARM_UP_AT_ONCE: usize = 600;
const WARM_UP_ROUNDS: usize = 6;

#[derive(Clone, Copy)]
enum Kind {
    Valid,
    Revoked,
    Forged,
    Aborted,
    Public,
    Socket,
    Refresh,
    Change,
    Visitor,
    VisitorGone,
    Event,
    ForgedEvent,
    Guest,
    GreedyGuest,
    Key,
    KeyEnded,
    MadeUpKey,
    KeyChange,
    Block,
    Credit,
    CreditGrant,
    Customer,
    Override,
}

/// Each kind, with its number among 1000 requests.
const SHARES: [(Kind, u64); 23] = [
    (Kind::Valid, 208),
    (Kind::Revoked, 80),
    (Kind::Forged, 90),
    (Kind::Aborted, 100),
    (Kind::Public, 50),
    (Kind::Socket, 50),
    (Kind::Refresh, 40),
    (Kind::Change, 20),
    (Kind::Visitor, 90),
    (Kind::VisitorGone, 40),
    (Kind::Event, 15),
    (Kind::ForgedEvent, 10),
    (Kind::Guest, 30),
    (Kind::GreedyGuest, 15),
    (Kind::Key, 70),
    (Kind::KeyEnded, 30),
    (Kind::MadeUpKey, 20),
    (Kind::KeyChange, 8),
    (Kind::Block, 2),
    (Kind::Credit, 15),
    (Kind::CreditGrant, 1),
    (Kind::Customer, 15),
    (Kind::Override, 1),
];

fn choose(chance: &mut Chance) -> Kind {
    let mut place = chance.below(1000);
    for (kind, share) in SHARES {
        if place < share {
            return kind;
        }
        place -= share;
    }
    Kind::Valid
}

/// Logs in the sessions with which a run starts.
pub async fn fill(world: &World) {
    world.visitors.fill();
    let begun = Instant::now();
    while world.model.live() < sessions::SESSIONS {
        tokio::time::sleep(LOGIN_INTERVAL).await;
        sessions::log_in(world).await;
        assert!(begun.elapsed() < FILLED_WITHIN, "logins fail: {:?}", world.record.findings());
    }
}

/// Lets as many requests wait for the upstream at once as during a fault. An allocator keeps the
/// memory that a process needed at its peak. Without this warm-up, a process would grow with the
/// first fault that makes requests wait, in whichever third of the run that is.
pub async fn warm_up(world: &Arc<World>) {
    let mut chance = Chance::new(1);
    world.system.upstream.set(Fault::Late { ms: 1000 });
    for _ in 0..WARM_UP_ROUNDS {
        let mut waiting = JoinSet::new();
        for _ in 0..WARM_UP_AT_ONCE {
            let Some(token) = world.model.valid(&mut chance) else { continue };
            let request = world.client.get(world.url("/api/record")).bearer_auth(&token.text);
            let world = Arc::clone(world);
            waiting.spawn(async move { world.send(request).await });
        }
        waiting.join_all().await;
    }
    world.system.upstream.set(Fault::None);
}

/// The rate of requests, and the seed that selects them.
pub struct Load {
    pub per_second: u64,
    pub seed: u64,
}

/// Sends requests for some time, and waits for their responses.
pub async fn run(world: &Arc<World>, begun: Instant, length: Duration, load: Load) {
    let Load { per_second, seed } = load;
    let mut chance = Chance::new(seed + 1);
    let places = Arc::new(Semaphore::new(IN_PROGRESS_MAX));
    let mut logged_in = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0.. {
        let at = begun + Duration::from_micros(number * 1_000_000 / per_second);
        if at >= begun + length {
            break;
        }
        tokio::time::sleep_until(at.into()).await;
        while let Some(ended) = clients.try_join_next() {
            report(world, ended);
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            world.record.skip();
            continue;
        };
        let kind = choose(&mut chance);
        let may_log_in = matches!(kind, Kind::Change) && logged_in.elapsed() >= LOGIN_INTERVAL;
        if may_log_in {
            logged_in = Instant::now();
        }
        let own = Chance::new(chance.below(u64::from(u32::MAX)) + 1);
        let world = Arc::clone(world);
        clients.spawn(async move {
            match kind {
                Kind::Valid => requests::valid(&world, own).await,
                Kind::Revoked => requests::revoked(&world, own).await,
                Kind::Forged => requests::forged(&world, own).await,
                Kind::Aborted => requests::aborted(&world, own).await,
                Kind::Public => requests::public(&world).await,
                Kind::Socket => requests::socket(&world, own).await,
                Kind::Refresh => sessions::refresh(&world, own).await,
                Kind::Change => sessions::change(&world, own, may_log_in).await,
                Kind::Visitor => visitors::visit(&world, own).await,
                Kind::VisitorGone => visitors::visit_again(&world, own).await,
                Kind::Event => events::push(&world, own).await,
                Kind::ForgedEvent => forged_events::push(&world, own).await,
                Kind::Guest => guests::visit(&world, own).await,
                Kind::GreedyGuest => guests::visit_greedily(&world, own).await,
                Kind::Key => api_keys::call(&world, own).await,
                Kind::KeyEnded => api_keys::call_again(&world, own).await,
                Kind::MadeUpKey => api_keys::guess(&world, own).await,
                Kind::KeyChange => api_keys::change(&world, own).await,
                Kind::Block => blocks::block(&world, own).await,
                Kind::Credit => credits::spend(&world, own).await,
                Kind::CreditGrant => credits::grant(&world, own).await,
                Kind::Customer => overrides::call(&world, own).await,
                Kind::Override => overrides::change(&world, own).await,
            }
            drop(place);
        });
    }
    while let Some(ended) = clients.join_next().await {
        report(world, ended);
    }
}

/// Reports a client of the test that panicked, because its checks were not made.
fn report(world: &World, ended: Result<(), JoinError>) {
    if let Err(panic) = ended {
        world.record.find(Topic::Load, format!("a client failed: {panic}"));
    }
}
