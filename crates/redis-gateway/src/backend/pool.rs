//! A pool of connections to one server. A background task maintains each connection.
//!
//! A request waits at most until its deadline, and fails at once while the server is known to be
//! down.

use super::batch::{Batch, Step};
use super::connection::{DedicatedConnection, SharedConnection};
use super::memory::ReplyMemory;
use super::outage::Outage;
use super::protocol::role;
use super::source::{Opened, Source};
use super::steps::{send_steps, within};
use crate::metrics::Metrics;
use crate::redis_url::Address;
use redis_rest::{Command, Reply};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// A few connections to one server, used in turn so that one large reply does not delay all
/// requests.
pub struct Pool {
    source: Arc<Source>,
    connections: Vec<PooledConnection>,
    next: AtomicUsize,
    /// Notified when a write was rejected in the way that replicas do.
    role_doubtful: Arc<Notify>,
    role_monitor: AbortHandle,
}

/// One connection of the pool, and the task that maintains it.
struct PooledConnection {
    state: watch::Receiver<ConnectionState>,
    task: AbortHandle,
}

#[derive(Clone)]
enum ConnectionState {
    Connecting,
    /// The last attempt failed; the next one follows after a pause.
    Down,
    Up(Arc<OpenConnection>),
}

struct OpenConnection {
    connection: SharedConnection,
    address: Address,
    /// Notified when the connection must be replaced.
    replace: Notify,
    /// Whether Redis permits MULTI. If it rejected only MULTI, the commands would run one by one.
    supports_transactions: bool,
}

impl Pool {
    /// Starts to connect. A server that does not respond within `timeout` counts as down.
    pub fn start(
        source: Source,
        connections: usize,
        timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let source = Arc::new(source);
        let timeout = timeout.max(TIMEOUT_MIN);
        let outage_logged = Arc::new(AtomicBool::new(false));
        let connections: Vec<PooledConnection> = (0..connections.max(1))
            .map(|_| {
                let (sender, state) = watch::channel(ConnectionState::Connecting);
                let maintenance = Maintenance {
                    source: Arc::clone(&source),
                    state: sender,
                    outage_logged: Arc::clone(&outage_logged),
                    timeout,
                    metrics: Arc::clone(&metrics),
                };
                let task = tokio::spawn(maintenance.run());
                PooledConnection { state, task: task.abort_handle() }
            })
            .collect();
        let role_doubtful = Arc::new(Notify::new());
        let states = connections.iter().map(|connection| connection.state.clone()).collect();
        let role_monitor =
            tokio::spawn(monitor_role(Arc::clone(&source), states, Arc::clone(&role_doubtful)));
        Self {
            source,
            connections,
            next: AtomicUsize::new(0),
            role_doubtful,
            role_monitor: role_monitor.abort_handle(),
        }
    }

    /// Returns whether at least one connection is up.
    pub fn is_up(&self) -> bool {
        self.connections
            .iter()
            .any(|connection| matches!(*connection.state.borrow(), ConnectionState::Up(_)))
    }

    /// Returns the server's address, or the name by which Sentinels know it.
    pub fn name(&self) -> String {
        self.source.to_string()
    }

    /// Sends commands step by step over one connection, and returns all replies.
    ///
    /// # Errors
    ///
    /// The first step failed: by the deadline, by the connection, or by memory.
    pub async fn send(
        &self,
        batch: Batch,
        memory: &Arc<ReplyMemory>,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let open = self.open_connection(deadline).await?;
        self.send_over(&open, batch, memory, deadline).await
    }

    /// Sends one of the gateway's own queries, and returns its replies.
    pub async fn query(
        &self,
        commands: &[Command],
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let open = self.open_connection(deadline).await?;
        let sent = open.connection.send(Step::internal(commands), None);
        within(deadline, sent).await
    }

    /// Sends MULTI, commands and EXEC, and returns all replies.
    ///
    /// Returns the single error [`NO_MULTI`] if Redis does not permit MULTI.
    pub async fn transact(
        &self,
        batch: Batch,
        memory: &Arc<ReplyMemory>,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let open = self.open_connection(deadline).await?;
        if !open.supports_transactions {
            return Ok(vec![Reply::Error(NO_MULTI.to_owned())]);
        }
        let replies = self.send_over(&open, batch, memory, deadline).await?;
        if matches!(replies.first(), Some(Reply::Error(_))) {
            // The permissions have changed. A new connection checks them.
            open.replace.notify_one();
        }
        Ok(replies)
    }

    /// Opens a connection with one user to the same server.
    ///
    /// # Errors
    ///
    /// [`Outage::Deadline`] if it is not open by then, and [`Outage::Unreachable`] for any other
    /// reason.
    pub async fn open(&self, deadline: Instant) -> Result<DedicatedConnection, Outage> {
        match timeout_at(deadline, self.source.open()).await {
            Ok(Ok(opened)) => Ok(opened.connection),
            Ok(Err(_)) => Err(Outage::Unreachable),
            Err(_) => Err(Outage::Deadline),
        }
    }

    async fn send_over(
        &self,
        open: &OpenConnection,
        batch: Batch,
        memory: &Arc<ReplyMemory>,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let all = send_steps(&open.connection, batch, memory, deadline).await?;
        let is_readonly =
            |reply: &Reply| matches!(reply, Reply::Error(text) if text.starts_with("READONLY"));
        if all.iter().any(is_readonly) {
            self.role_doubtful.notify_one();
        }
        Ok(all)
    }

    /// Returns a connection that is up. Waits for one that is connecting, but not for one that
    /// failed.
    async fn open_connection(&self, deadline: Instant) -> Result<Arc<OpenConnection>, Outage> {
        let count = self.connections.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut connecting = None;
        for offset in 0..count {
            let index = first.wrapping_add(offset) % count;
            let Some(connection) = self.connections.get(index) else { continue };
            match &*connection.state.borrow() {
                ConnectionState::Up(open) => return Ok(Arc::clone(open)),
                ConnectionState::Connecting => connecting = Some(connection),
                ConnectionState::Down => {}
            }
        }
        let mut state = connecting.ok_or(Outage::Unreachable)?.state.clone();
        let settled = state.wait_for(|state| !matches!(state, ConnectionState::Connecting));
        match timeout_at(deadline, settled).await {
            Ok(Ok(state)) => match &*state {
                ConnectionState::Up(open) => Ok(Arc::clone(open)),
                ConnectionState::Down | ConnectionState::Connecting => Err(Outage::Unreachable),
            },
            Ok(Err(_)) => Err(Outage::Unreachable),
            Err(_) => Err(Outage::Deadline),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.connections.iter().for_each(|connection| connection.task.abort());
        self.role_monitor.abort();
    }
}

/// The task that maintains one connection.
struct Maintenance {
    source: Arc<Source>,
    state: watch::Sender<ConnectionState>,
    /// Whether the current outage is in the log. All connections share it: one line for each
    /// outage.
    outage_logged: Arc<AtomicBool>,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Maintenance {
    /// Connects, and reconnects whenever the connection breaks.
    async fn run(self) {
        let mut pause = PAUSE_MIN;
        loop {
            match timeout(self.timeout, connect(&self.source)).await {
                Ok(Ok(open)) => {
                    if self.outage_logged.swap(false, Ordering::SeqCst) {
                        tracing::info!(event = "redis_reached", server = %self.source);
                    }
                    let open = Arc::new(open);
                    self.state.send_replace(ConnectionState::Up(Arc::clone(&open)));
                    let up = self.metrics.redis_connection_up();
                    let started = Instant::now();
                    wait_until_broken(&open, self.timeout).await;
                    drop(up);
                    self.metrics.reconnects.inc();
                    self.state.send_replace(ConnectionState::Connecting);
                    // A server that accepts connections and then drops them still needs the longer
                    // pause.
                    if started.elapsed() > PAUSE_MAX {
                        pause = PAUSE_MIN;
                        continue;
                    }
                }
                failed => {
                    if !self.outage_logged.swap(true, Ordering::SeqCst) {
                        let why = match failed {
                            Ok(Err(why)) => why,
                            Ok(Ok(_)) | Err(_) => "no connection in time".to_owned(),
                        };
                        tracing::warn!(event = "redis_unreachable", server = %self.source, why);
                    }
                    self.state.send_replace(ConnectionState::Down);
                }
            }
            sleep(with_jitter(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

async fn connect(source: &Source) -> Result<OpenConnection, String> {
    let Opened { address, mut connection } = source.open().await?;
    let mut succeeds = async |name: &str| match connection.query(&Command::new(name)).await {
        Ok(reply) => Ok(matches!(reply, Reply::Status(_))),
        Err(error) => Err(error.to_string()),
    };
    let began = succeeds("MULTI").await?;
    let supports_transactions = began && succeeds("DISCARD").await?;
    // If MULTI succeeds and DISCARD fails, this connection would queue every command.
    let Opened { address, connection } = if began && !supports_transactions {
        source.open().await?
    } else {
        Opened { address, connection }
    };
    let connection = connection.into_shared();
    Ok(OpenConnection { connection, address, replace: Notify::new(), supports_transactions })
}

/// Returns when the connection closed, must be replaced, or does not answer PING within `limit`.
///
/// PING detects a server that hangs, or that vanished without closing the connection.
async fn wait_until_broken(open: &OpenConnection, limit: Duration) {
    let ping = || Step::internal(&[Command::new("PING")]);
    loop {
        let alive = async {
            sleep(PING_INTERVAL).await;
            // An error reply also shows a live server.
            matches!(timeout(limit, open.connection.send(ping(), None)).await, Ok(Ok(_)))
        };
        tokio::select! {
            () = open.replace.notified() => return,
            () = open.connection.closed() => return,
            alive = alive => if !alive { return },
        }
    }
}

/// Replaces connections that lead to the wrong server.
///
/// With Sentinels, queries the master's address at an interval, because a demoted master that is
/// cut off from them still responds. Otherwise queries the server's role after a rejected write,
/// because its name may now resolve to another server.
async fn monitor_role(
    source: Arc<Source>,
    states: Vec<watch::Receiver<ConnectionState>>,
    role_doubtful: Arc<Notify>,
) {
    loop {
        match &*source {
            Source::Fixed { .. } => role_doubtful.notified().await,
            Source::Sentinel(_) => {
                let _ = timeout(SENTINEL_INTERVAL, role_doubtful.notified()).await;
            }
        }
        let master = match &*source {
            Source::Fixed { .. } => None,
            Source::Sentinel(sentinels) => match timeout(TIMEOUT_MIN, sentinels.master()).await {
                Ok(Ok(master)) => Some(master),
                Ok(Err(_)) | Err(_) => {
                    sleep(SENTINEL_INTERVAL).await;
                    continue;
                }
            },
        };
        for state in &states {
            let open = match &*state.borrow() {
                ConnectionState::Up(open) => Arc::clone(open),
                ConnectionState::Down | ConnectionState::Connecting => continue,
            };
            let is_master = match &master {
                Some(master) => open.address == *master,
                None => {
                    let query = Step::internal(&[Command::new("ROLE")]);
                    let replies = timeout(TIMEOUT_MIN, open.connection.send(query, None)).await;
                    !matches!(replies, Ok(Ok(replies)) if is_replica(&replies))
                }
            };
            if !is_master {
                tracing::info!(event = "redis_changed", from = %open.address);
                open.replace.notify_one();
            }
        }
        // Limits reconnects if the configured name always leads to a replica.
        sleep(match &*source {
            Source::Fixed { .. } => ROLE_INTERVAL,
            Source::Sentinel(_) => SENTINEL_INTERVAL,
        })
        .await;
    }
}

fn is_replica(replies: &[Reply]) -> bool {
    let [reply] = replies else { return false };
    role(reply).is_some_and(|role| role != "master")
}

/// Returns a random time between half of a pause and all of it, so that many gateways do not
/// reconnect at once.
fn with_jitter(pause: Duration) -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    pause / 2 + pause * (nanos % 1000) / 2000
}

/// The error for a transaction if Redis does not permit MULTI.
pub const NO_MULTI: &str = "NOPERM Redis does not let the redis gateway use MULTI";
const PAUSE_MAX: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// The interval between two checks of a fixed server's role.
const ROLE_INTERVAL: Duration = Duration::from_secs(30);
const SENTINEL_INTERVAL: Duration = Duration::from_secs(1);
/// The timeout for connecting and role checks, even if a request's timeout is shorter.
const TIMEOUT_MIN: Duration = Duration::from_secs(2);
