//! Connections to one server that everybody shares, each kept up by a task of its own. A request waits
//! for its deadline at most, and not at all while the server is known to be gone.

use super::about;
use super::reply::{error_text, reply};
use crate::metrics::Metrics;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisResult};
use redis_rest::Reply;
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
#[derive(Clone)]
pub enum Source {
    Fixed(Arc<Client>),
    /// The server that the Sentinels call the master at the time.
    Sentinel(Arc<AskSentinels>),
}

/// Makes what asks the Sentinels: anew each time, so that one that hangs holds up nobody else.
pub type AskSentinels = dyn Fn() -> RedisResult<SentinelClient> + Send + Sync;

impl Source {
    async fn client(&self) -> RedisResult<Client> {
        match self {
            Self::Fixed(client) => Ok(Client::clone(client)),
            Self::Sentinel(ask) => ask()?.async_get_client().await,
        }
    }
}

/// One server, by a few connections that are taken in turn: one large answer does not hold up all.
pub struct Node {
    source: Source,
    links: Vec<Link>,
    turn: AtomicUsize,
    watch: Option<AbortHandle>,
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
    connection: MultiplexedConnection,
    /// Told by whoever finds that it broke.
    broken: Notify,
    /// Whether Redis lets us use MULTI. If it refused only that, the rest would run one by one.
    transacts: bool,
}

impl Node {
    pub fn start(source: Source, connections: usize, metrics: Arc<Metrics>) -> Self {
        let told = Arc::new(AtomicBool::new(false));
        let links: Vec<Link> = (0..connections.max(1))
            .map(|_| {
                let (sender, state) = watch::channel(State::Trying);
                let (told, metrics) = (Arc::clone(&told), Arc::clone(&metrics));
                let task = tokio::spawn(keep(source.clone(), sender, told, metrics));
                Link { state, task: task.abort_handle() }
            })
            .collect();
        let watch = match &source {
            Source::Fixed(_) => None,
            Source::Sentinel(_) => {
                let states = links.iter().map(|link| link.state.clone()).collect();
                Some(tokio::spawn(follow(source.clone(), states)).abort_handle())
            }
        };
        Self { source, links, turn: AtomicUsize::new(0), watch }
    }

    /// Whether one of its connections is up.
    pub fn is_up(&self) -> bool {
        self.links.iter().any(|link| matches!(*link.state.borrow(), State::Up(_)))
    }

    /// Sends a pipeline; `count` replies come back.
    pub async fn send(
        &self,
        pipeline: &Pipeline,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let live = self.live(deadline).await?;
        self.send_over(&live, pipeline, count, deadline).await
    }

    /// As `send`, if Redis lets us use MULTI.
    pub async fn send_transaction(
        &self,
        pipeline: &Pipeline,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let live = self.live(deadline).await?;
        if !live.transacts {
            let text = "NOPERM Redis does not let the gateway use MULTI".to_owned();
            return Ok(vec![Reply::Error(text)]);
        }
        self.send_over(&live, pipeline, count, deadline).await
    }

    /// A client of the same server, for a connection of one's own.
    pub async fn client(&self, deadline: Instant) -> Result<Client, Outage> {
        match timeout_at(deadline, self.source.client()).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(_)) => Err(Outage::Unreachable),
            Err(_) => Err(Outage::Deadline),
        }
    }

    async fn send_over(
        &self,
        live: &Live,
        pipeline: &Pipeline,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let mut connection = live.connection.clone();
        let sent = connection.req_packed_commands(pipeline, 0, count);
        let replies: Vec<Reply> = match timeout_at(deadline, sent).await {
            Ok(Ok(values)) if values.len() == count => values.into_iter().map(reply).collect(),
            Ok(Ok(_)) => {
                live.broken.notify_one();
                return Err(Outage::Unreachable);
            }
            Ok(Err(error)) => match error.into_server_errors().as_deref() {
                Some([(_, first), ..]) => {
                    (0..count).map(|_| Reply::Error(error_text(first))).collect()
                }
                Some([]) | None => {
                    live.broken.notify_one();
                    return Err(Outage::Unreachable);
                }
            },
            Err(_) => return Err(Outage::Deadline),
        };
        let is_demoted =
            |reply: &Reply| matches!(reply, Reply::Error(text) if text.starts_with("READONLY"));
        if matches!(self.source, Source::Sentinel(_)) && replies.iter().any(is_demoted) {
            self.links.iter().for_each(|link| drop_connection(&link.state));
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
        self.watch.iter().for_each(AbortHandle::abort);
    }
}

fn drop_connection(state: &watch::Receiver<State>) {
    if let State::Up(live) = &*state.borrow() {
        live.broken.notify_one();
    }
}

/// Keeps one connection up, for as long as anybody has use for it. `told` is whether the log has it that
/// the server is gone: once for each outage, since a line for every try would bury what else is said.
async fn keep(
    source: Source,
    state: watch::Sender<State>,
    told: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
) {
    let mut pause = PAUSE_MIN;
    loop {
        match timeout(CONNECT_MAX, connect(&source)).await {
            Ok(Ok(live)) => {
                if told.swap(false, Ordering::SeqCst) {
                    tracing::info!(event = "redis_reached");
                }
                let live = Arc::new(live);
                state.send_replace(State::Up(Arc::clone(&live)));
                metrics.links_up.inc();
                let begun = Instant::now();
                until_broken(&live).await;
                metrics.links_up.dec();
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
                        Ok(Err(error)) => about(&error),
                        Ok(Ok(_)) | Err(_) => "no connection in time".to_owned(),
                    };
                    tracing::warn!(event = "redis_unreachable", why);
                }
                state.send_replace(State::Down);
            }
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn connect(source: &Source) -> RedisResult<Live> {
    let client = source.client().await?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        // Each request has its own deadline.
        .set_response_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut probe = redis::pipe();
    probe.ignore_errors().cmd("MULTI").cmd("DISCARD");
    let answers = connection.req_packed_commands(&probe, 0, 2).await?;
    let transacts = matches!(answers.as_slice(), [redis::Value::Okay, redis::Value::Okay]);
    Ok(Live { connection, broken: Notify::new(), transacts })
}

/// Returns when somebody finds the connection broken, or when it does not answer in time: a server that
/// has vanished, or hangs, sends no word of it.
async fn until_broken(live: &Live) {
    let mut connection = live.connection.clone();
    loop {
        tokio::select! {
            () = live.broken.notified() => return,
            () = sleep(PING_EVERY) => {}
        }
        let ping = redis::cmd("PING");
        let alive = tokio::select! {
            () = live.broken.notified() => return,
            answer = timeout(PING_MAX, connection.req_packed_command(&ping)) => {
                // An error in Redis's own words is an answer, too.
                answer.is_ok_and(|answer| match answer {
                    Ok(_) => true,
                    Err(error) => error.into_server_errors().is_some(),
                })
            }
        };
        if !alive {
            return;
        }
    }
}

/// Asks the Sentinels for the master's name again and again: one that was cut off from them goes on to
/// answer, and nobody tells us.
async fn follow(source: Source, states: Vec<watch::Receiver<State>>) {
    let mut known = None;
    loop {
        sleep(ASK_SENTINELS_EVERY).await;
        if let Ok(Ok(client)) = timeout(CONNECT_MAX, source.client()).await {
            let address = client.get_connection_info().addr().to_string();
            if known.as_ref().is_some_and(|known| *known != address) {
                tracing::info!(event = "redis_master_changed", address);
                states.iter().for_each(drop_connection);
            }
            known = Some(address);
        }
    }
}

/// Between half of a pause and the whole of it, so that many gateways don't come at once.
fn jittered(pause: Duration) -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    pause / 2 + pause * (nanos % 1000) / 2000
}

const ASK_SENTINELS_EVERY: Duration = Duration::from_secs(1);
const CONNECT_MAX: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_MAX: Duration = Duration::from_secs(2);
