//! Requests whose client leaves before the response: their cost for the edge and the upstream, and
//! the limits on all open requests together.

use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, field, get};
use crate::support::stack::{Stack, stop};
use serde_json::{Value, json};
use socket2::SockRef;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// An upstream that sends nothing for a minute, and counts its open requests.
struct Silent {
    url: String,
    open: Arc<AtomicUsize>,
    seen: Arc<AtomicUsize>,
}

impl Silent {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (open, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&open), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (open, seen) = (Arc::clone(&counts.0), Arc::clone(&counts.1));
                std::thread::spawn(move || {
                    open.fetch_add(1, Ordering::SeqCst);
                    seen.fetch_add(1, Ordering::SeqCst);
                    Self::wait(stream);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { url, open, seen }
    }

    /// Drops every other connection after its request, and responds with 200 on the others.
    fn flaky() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (open, seen) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&seen);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 65_536]);
                if count.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
                    let _ = stream.write_all(
                        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                    );
                }
            }
        });
        Self { url, open, seen }
    }

    /// Reads until the edge closes the connection.
    fn wait(mut stream: TcpStream) {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut chunk = [0; 65_536];
        while stream.read(&mut chunk).is_ok_and(|read| read > 0) {}
    }

    /// Waits until this many requests have arrived.
    fn has_seen(&self, times: usize) {
        let begun = Instant::now();
        while self.seen.load(Ordering::SeqCst) < times {
            assert!(begun.elapsed() < Duration::from_secs(20), "they did not arrive");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

async fn edge_before(upstream: &Silent, vars: Value) -> Stack {
    let mut all = json!({
        "upstream.url": upstream.url,
        "upstream.timeout_ms": 60000,
        "routes": [{ "name": "public", "path": "/public/*", "access": "public" }],
    });
    all.as_object_mut().unwrap().extend(vars.as_object().unwrap().clone());
    start_edge(all).await
}

/// Opens a connection, and sends a request with 96 KB of headers from a new client.
fn ask(edge: &Stack) -> TcpStream {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let [.., high, low] = ASKED.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    ask_from(&format!("10.0.{high}.{low}"), edge)
}

fn ask_from(client: &str, edge: &Stack) -> TcpStream {
    let address = edge.fact("edge_url").trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /public/slow HTTP/1.1\r\nhost: edge\r\ncf-connecting-ip: {client}\r\n")
        .unwrap();
    for at in 0..8 {
        write!(stream, "x-{at}: {}\r\n", "a".repeat(12_000)).unwrap();
    }
    stream.write_all(b"\r\n").unwrap();
    stream
}

/// Closes a connection with a reset instead of a normal end.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Sends requests, and resets each when the upstream has received it.
fn ask_and_reset(edge: &Stack, upstream: &Silent, times: usize) {
    let before = upstream.seen.load(Ordering::SeqCst);
    let mut open = std::collections::VecDeque::new();
    for sent in 1..=times {
        open.push_back(ask(edge));
        if open.len() > 20 {
            upstream.has_seen(before + sent - 20);
            reset(open.pop_front().unwrap());
        }
    }
    upstream.has_seen(before + times);
    open.into_iter().for_each(reset);
}

/// Waits until no request is open at the upstream.
async fn all_close(upstream: &Silent) {
    let begun = Instant::now();
    while upstream.open() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} stay open", upstream.open());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the resident memory of the edge in MiB.
fn resident_mib(edge: &Stack) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", edge.pid("edge"))).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// The edge forgets a client that resets its connection at once. It closes the upstream request,
/// and keeps none of the headers.
#[tokio::test]
async fn resets_close_upstream_requests_and_keep_no_headers() {
    let upstream = Silent::start();
    // The caps are too high to be the reason for the low memory.
    let caps = json!({ "open_requests.bytes_max": 2000000000, "logging.requests": "all" });
    let edge = edge_before(&upstream, caps).await;
    // The heap of V8 grows until its first full collections.
    ask_and_reset(&edge, &upstream, 3000);
    all_close(&upstream).await;
    let settled = resident_mib(&edge);
    ask_and_reset(&edge, &upstream, 2000);
    all_close(&upstream).await;
    let grown = resident_mib(&edge).saturating_sub(settled);
    println!("{settled} MiB after 3000 requests, {grown} MiB more after 2000 others");
    // The heads of 2000 requests are 184 MiB. A bare Worker that only fetches grows by 10 MiB. An
    // edge that keeps one copy until V8 collects its garbage grows by 220.
    assert!(grown < 92, "{grown} MiB more after 2000 requests, {settled} MiB before");
    let log = edge.log("edge");
    assert!(log.contains(r#""event":"client_left","request_id":""#), "{log}");
    stop(edge).await;
}

/// A GET whose connection fails is repeated, unless its head is too large to be kept.
#[tokio::test]
async fn get_with_a_small_head_is_sent_again() {
    let upstream = Silent::flaky();
    let edge = edge_before(&upstream, json!({})).await;
    let small = get(&edge.edge("/public/x")).send().await.unwrap();
    assert_eq!((small.status().as_u16(), upstream.seen.load(Ordering::SeqCst)), (200, 2));
    let large = get(&edge.edge("/public/x")).header("x-large", "a".repeat(9000));
    assert_refused(large.send().await.unwrap(), 502, "upstream_unreachable").await;
    assert_eq!(upstream.seen.load(Ordering::SeqCst), 3);
    stop(edge).await;
}

/// Reads a refusal.
fn is_overloaded(mut stream: TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("overloaded"), "{answer}");
}

/// One client, that is an IPv6 /64, may use a quarter of either cap. Others have the rest.
#[tokio::test]
async fn open_requests_of_one_client_are_capped_at_a_quarter() {
    for cap in
        [json!({ "open_requests.count_max": 8 }), json!({ "open_requests.bytes_max": 800000 })]
    {
        let upstream = Silent::start();
        let edge = edge_before(&upstream, cap).await;
        let held = [ask_from("2001:db8::1", &edge), ask_from("2001:db8::2", &edge)];
        upstream.has_seen(2);
        is_overloaded(ask_from("2001:db8::3", &edge));
        let others = [ask(&edge), ask(&edge)];
        upstream.has_seen(4);
        drop((held, others));
        stop(edge).await;
    }
}

/// Above either cap, new requests are refused. Requests in progress continue.
#[tokio::test]
async fn open_requests_are_capped_by_count_and_bytes() {
    let caps = [
        (json!({ "open_requests.count_max": 5 }), 5),
        (json!({ "open_requests.bytes_max": 300000 }), 3),
    ];
    for (cap, most) in caps {
        let upstream = Silent::start();
        let edge = edge_before(&upstream, cap).await;
        let mut held: Vec<TcpStream> = (0..most).map(|_| ask(&edge)).collect();
        let begun = Instant::now();
        while upstream.open() < most {
            assert!(begun.elapsed() < Duration::from_secs(10), "{} are open", upstream.open());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        is_overloaded(ask(&edge));
        if most == 5 {
            let small = get(&edge.edge("/public/slow")).send().await.unwrap();
            assert_eq!(field(&small, "retry-after"), "1");
            assert_refused(small, 503, "overloaded").await;
        }
        assert_eq!(upstream.open(), most, "those in progress go on");

        // When a client resets its connection, another request is admitted.
        reset(held.pop().unwrap());
        while upstream.open() == most {
            assert!(begun.elapsed() < Duration::from_secs(20), "it stays open");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let again = ask(&edge);
        while upstream.open() < most {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not admitted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop((again, held));
        stop(edge).await;
    }
}
