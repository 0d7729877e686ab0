//! Connections to one server that everybody shares, each kept up by a task of its own. A request waits
//! for its deadline at most, and not at all while the server is known to be gone.

use super::connection::{Own, Shared};
use super::packed;
use super::sentinel::{Sentinels, is_master};
use crate::metrics::Metrics;
use crate::redis_url::{Address, How};
use redis_rest::{Command, Reply};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Redis did not answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outage {
    /// Not in time; what was sent may have been done.
    Deadline,
    /// There is no connection, or it broke; what was sent may have been done.
    Unreachable,
}

impl Outage {
    /// In the words of the protocol.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Deadline => "ERR Redis did not answer in time",
            Self::Unreachable => "ERR Redis can't be reached",
        }
    }
}

/// Where connections come from.
pub enum Source {
    Fixed {
        address: Address,
        how: How,
    },
    /// The server that the Sentinels call the master at the time.
    Sentinel(Sentinels),
}

impl Source {
    async fn open(&self) -> Result<(Address, Own), String> {
        let (address, how) = match self {
            Self::Fixed { address, how } => (address.clone(), how),
            Self::Sentinel(sentinels) => (sentinels.master().await?, &sentinels.how),
        };
        let mut own = Own::open(&address, how).await?;
        // A Sentinel may not have heard yet that there is another master.
        if matches!(self, Self::Sentinel(_)) && !is_master(&mut own).await {
            return Err(format!("{address} is not the master"));
        }
        Ok((address, own))
    }
}

/// For the log.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { address, .. } => address.fmt(f),
            Self::Sentinel(sentinels) => write!(f, "the master {}", sentinels.name),
        }
    }
}

/// One server, by a few connections that are taken in turn: one large answer does not hold up all.
pub struct Node {
    source: Arc<Source>,
    links: Vec<Link>,
    turn: AtomicUsize,
    /// Told when a write was refused as to a replica.
    doubtful: Arc<Notify>,
    follower: AbortHandle,
}

/// One connection, and the task that keeps it up.
struct Link {
    state: watch::Receiver<State>,
    task: AbortHandle,
}

#[derive(Clone)]
enum State {
    /// The last try failed; the next one comes after a pause.
    Down,
    Trying,
    Up(Arc<Live>),
}

struct Live {
    connection: Shared,
    address: Address,
    /// Told by whoever finds that it must be made anew.
    drop: Notify,
    /// Whether Redis lets us use MULTI. If it refused only that, the rest would run one by one.
    transacts: bool,
}

impl Node {
    /// A server that does not answer for as long as `patience` is taken for gone.
    pub fn start(
        source: Source,
        connections: usize,
        patience: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let source = Arc::new(source);
        let patience = patience.max(PATIENCE_MIN);
        let told = Arc::new(AtomicBool::new(false));
        let links: Vec<Link> = (0..connections.max(1))
            .map(|_| {
                let (sender, state) = watch::channel(State::Trying);
                let (told, metrics) = (Arc::clone(&told), Arc::clone(&metrics));
                let task = tokio::spawn(keep(Arc::clone(&source), sender, told, patience, metrics));
                Link { state, task: task.abort_handle() }
            })
            .collect();
        let doubtful = Arc::new(Notify::new());
        let states = links.iter().map(|link| link.state.clone()).collect();
        let follower = tokio::spawn(follow(Arc::clone(&source), states, Arc::clone(&doubtful)));
        Self {
            source,
            links,
            turn: AtomicUsize::new(0),
            doubtful,
            follower: follower.abort_handle(),
        }
    }

    /// Whether one of its connections is up.
    pub fn is_up(&self) -> bool {
        self.links.iter().any(|link| matches!(*link.state.borrow(), State::Up(_)))
    }

    /// Sends commands as they stand; `count` replies come back.
    pub async fn send(
        &self,
        bytes: Vec<u8>,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let live = self.live(deadline).await?;
        self.send_over(&live, bytes, count, deadline).await
    }

    /// As `send`, of MULTI, commands and EXEC.
    pub async fn transact(
        &self,
        bytes: Vec<u8>,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let live = self.live(deadline).await?;
        if !live.transacts {
            return Ok(vec![Reply::Error(NO_MULTI.to_owned())]);
        }
        let replies = self.send_over(&live, bytes, count, deadline).await?;
        if matches!(replies.first(), Some(Reply::Error(_))) {
            // What it may, it may no longer: that is found out when the connection is made.
            live.drop.notify_one();
        }
        Ok(replies)
    }

    /// A connection of one's own to the same server.
    pub async fn open(&self, deadline: Instant) -> Result<Own, Outage> {
        match timeout_at(deadline, self.source.open()).await {
            Ok(Ok((_, own))) => Ok(own),
            Ok(Err(_)) => Err(Outage::Unreachable),
            Err(_) => Err(Outage::Deadline),
        }
    }

    async fn send_over(
        &self,
        live: &Live,
        bytes: Vec<u8>,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let replies = match timeout_at(deadline, live.connection.send(bytes, count)).await {
            Ok(Ok(replies)) => replies,
            Ok(Err(_)) => return Err(Outage::Unreachable),
            Err(_) => return Err(Outage::Deadline),
        };
        let is_refused =
            |reply: &Reply| matches!(reply, Reply::Error(text) if text.starts_with("READONLY"));
        if replies.iter().any(is_refused) {
            self.doubtful.notify_one();
        }
        Ok(replies)
    }

    /// A connection that is up; waits for one that is being made, not for one that failed.
    async fn live(&self, deadline: Instant) -> Result<Arc<Live>, Outage> {
        let count = self.links.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut trying = None;
        for place in 0..count {
            let Some(link) = self.links.get((turn.wrapping_add(place)) % count) else { continue };
            match &*link.state.borrow() {
                State::Up(live) => return Ok(Arc::clone(live)),
                State::Trying => trying = Some(link),
                State::Down => {}
            }
        }
        let mut state = trying.ok_or(Outage::Unreachable)?.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Trying));
        match timeout_at(deadline, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Up(live) => Ok(Arc::clone(live)),
                State::Down | State::Trying => Err(Outage::Unreachable),
            },
            Ok(Err(_)) => Err(Outage::Unreachable),
            Err(_) => Err(Outage::Deadline),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.links.iter().for_each(|link| link.task.abort());
        self.follower.abort();
    }
}

/// Keeps one connection up, for as long as anybody has use for it. `told` is whether the log has it that
/// the server is gone: once for each outage, since a line for every try would bury what else is said.
async fn keep(
    source: Arc<Source>,
    state: watch::Sender<State>,
    told: Arc<AtomicBool>,
    patience: Duration,
    metrics: Arc<Metrics>,
) {
    let mut pause = PAUSE_MIN;
    loop {
        match timeout(patience, connect(&source)).await {
            Ok(Ok(live)) => {
                if told.swap(false, Ordering::SeqCst) {
                    tracing::info!(event = "redis_reached", server = %source);
                }
                let live = Arc::new(live);
                state.send_replace(State::Up(Arc::clone(&live)));
                let up = metrics.link_up();
                let begun = Instant::now();
                until_broken(&live, patience).await;
                drop(up);
                metrics.reconnects.inc();
                state.send_replace(State::Trying);
                // A server that takes connections and drops them is no better than one that is gone.
                if begun.elapsed() > PAUSE_MAX {
                    pause = PAUSE_MIN;
                    continue;
                }
            }
            failed => {
                if !told.swap(true, Ordering::SeqCst) {
                    let why = match failed {
                        Ok(Err(why)) => why,
                        Ok(Ok(_)) | Err(_) => "no connection in time".to_owned(),
                    };
                    tracing::warn!(event = "redis_unreachable", server = %source, why);
                }
                state.send_replace(State::Down);
            }
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn connect(source: &Source) -> Result<Live, String> {
    let (address, mut own) = source.open().await?;
    let mut agrees = async |name: &str| match own.ask(&Command::new(name)).await {
        Ok(reply) => Ok(matches!(reply, Reply::Status(_))),
        Err(error) => Err(error.to_string()),
    };
    let begun = agrees("MULTI").await?;
    let transacts = begun && agrees("DISCARD").await?;
    // A connection on which a transaction was begun, and can't be ended, would only queue.
    let (address, own) = if begun && !transacts { source.open().await? } else { (address, own) };
    Ok(Live { connection: own.share(), address, drop: Notify::new(), transacts })
}

/// Returns when the connection is over, when it is to be made anew, or when it does not answer in time:
/// a server that has vanished, or hangs, sends no word of it.
async fn until_broken(live: &Live, patience: Duration) {
    let ping = packed(&[Command::new("PING")]);
    loop {
        let alive = async {
            sleep(PING_EVERY).await;
            // An error in Redis's own words is an answer, too.
            matches!(timeout(patience, live.connection.send(ping.clone(), 1)).await, Ok(Ok(_)))
        };
        tokio::select! {
            () = live.drop.notified() => return,
            () = live.connection.closed() => return,
            alive = alive => if !alive { return },
        }
    }
}

/// Sees to it that the connections are to the right server. The Sentinels are asked for the master's
/// name again and again: one that was cut off from them goes on to answer, and nobody tells us. Another
/// server is asked for its role when it refused a write: its name may lead to another one by now.
async fn follow(source: Arc<Source>, states: Vec<watch::Receiver<State>>, doubtful: Arc<Notify>) {
    loop {
        match &*source {
            Source::Fixed { .. } => doubtful.notified().await,
            Source::Sentinel(_) => {
                let _ = timeout(FOLLOW_EVERY, doubtful.notified()).await;
            }
        }
        let master = match &*source {
            Source::Fixed { .. } => None,
            Source::Sentinel(sentinels) => match timeout(PATIENCE_MIN, sentinels.master()).await {
                Ok(Ok(master)) => Some(master),
                Ok(Err(_)) | Err(_) => {
                    sleep(FOLLOW_EVERY).await;
                    continue;
                }
            },
        };
        for state in &states {
            let live = match &*state.borrow() {
                State::Up(live) => Arc::clone(live),
                State::Down | State::Trying => continue,
            };
            let is_right = match &master {
                Some(master) => live.address == *master,
                None => {
                    let role = packed(&[Command::new("ROLE")]);
                    let replies = timeout(PATIENCE_MIN, live.connection.send(role, 1)).await;
                    !matches!(replies, Ok(Ok(replies)) if says_replica(&replies))
                }
            };
            if !is_right {
                tracing::info!(event = "redis_changed", from = %live.address);
                live.drop.notify_one();
            }
        }
        // However many writes are refused: a server that has no other name than the replica's own is not
        // left again and again.
        sleep(match &*source {
            Source::Fixed { .. } => DOUBT_EVERY,
            Source::Sentinel(_) => FOLLOW_EVERY,
        })
        .await;
    }
}

fn says_replica(replies: &[Reply]) -> bool {
    let [Reply::Array(role)] = replies else { return false };
    role.first().and_then(Reply::as_text).is_some_and(|role| role != "master")
}

/// Between half of a pause and the whole of it, so that many gateways don't come at once.
fn jittered(pause: Duration) -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    pause / 2 + pause * (nanos % 1000) / 2000
}

/// What is said where MULTI is refused.
pub const NO_MULTI: &str = "NOPERM Redis does not let the redis gateway use MULTI";
const DOUBT_EVERY: Duration = Duration::from_secs(30);
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PING_EVERY: Duration = Duration::from_secs(1);
const PATIENCE_MIN: Duration = Duration::from_secs(2);
