//! Tests of the scripts in src/js with a stub of core, in workerd. The path of a request tells the
//! stub what to do: steps, deadlines, bounds and panics.

use crate::support::http::client;
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::provider::{Behaviour, Provider};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Response;
use socket2::SockRef;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// A server with the scripts and the stub.
struct Entry {
    port: u16,
    process: Process,
    _folder: Folder,
}

impl Entry {
    fn start() -> Self {
        let (folder, [port]) = (Folder::new(), free_ports());
        for name in SCRIPTS.into_iter().chain(["protocol.golden"]) {
            std::fs::copy(format!("{ROOT}/src/js/{name}"), folder.file(name)).unwrap();
        }
        let stub = folder.file("portcullis_edge.js");
        std::fs::copy(format!("{ROOT}/tests/e2e/stub.mjs"), stub).unwrap();
        folder.write("policy.js", "export default \"{}\";");
        // The smallest valid module.
        std::fs::write(folder.file("index_bg.wasm"), b"\0asm\x01\0\0\0").unwrap();
        let modules = SCRIPTS
            .into_iter()
            .chain(["portcullis_edge.js", "policy.js"])
            .map(|name| format!("(name = \"{name}\", esModule = embed \"{name}\"),\n"));
        let modules: String = modules.collect();
        let config = folder.write(
            "config.capnp",
            &format!(
                "using Workerd = import \"/workerd/workerd.capnp\";\n\
                 const config :Workerd.Config = (\n\
                   services = [(name = \"main\", worker = (compatibilityDate = \"2026-11-01\", compatibilityFlags = [\"enable_request_signal\"], modules = [\n{modules}\
                     (name = \"protocol.golden\", text = embed \"protocol.golden\"),\n\
                     (name = \"index_bg.wasm\", wasm = embed \"index_bg.wasm\")])),\n\
                     (name = \"internet\", network = (allow = [\"public\", \"private\"]))],\n\
                   sockets = [(name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"main\")],\n\
                 );\n"
            ),
        );
        let mut workerd = Command::new(format!("{ROOT}/node_modules/.bin/workerd"));
        let process = Process::start(workerd.arg("serve").arg(config), folder.file("log"));
        wait_for_port(port, &process);
        Self { port, process, _folder: folder }
    }

    fn url(&self, target: &str) -> String {
        format!("http://127.0.0.1:{}{target}", self.port)
    }

    async fn get(&self, target: &str) -> Response {
        client().get(self.url(target)).header("x-secret", "s").send().await.unwrap()
    }

    /// Returns the result of a text request: the status, or 0, and the text.
    async fn asks(&self, provider: &Provider) -> (String, String) {
        let answer = self.get(&format!("/ask?url={}", provider.url("/"))).await;
        let status = answer.headers()["x-status"].to_str().unwrap().to_owned();
        (status, answer.text().await.unwrap())
    }
}

#[tokio::test]
async fn steps_lead_to_their_ends() {
    let entry = Entry::start();
    let answer = entry.get("/").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-generation"]),
        (200, &"0".parse().unwrap())
    );
    assert_eq!(answer.text().await.unwrap(), "body\nof two lines");

    let upstream = Provider::serving("things");
    let answer = entry.get(&format!("/forward?url={}", upstream.url("/"))).await;
    assert_eq!(answer.headers()["x-dressed"], "yes");
    assert_eq!(answer.text().await.unwrap(), "things");
    let sent = upstream.take().pop().unwrap().to_lowercase();
    assert!(sent.contains("x-said: yes") && !sent.contains("x-secret"), "{sent}");
    let answer = entry.get("/forward-badly").await;
    assert_eq!(answer.headers()["x-status"], "0");
    assert_eq!(answer.text().await.unwrap(), "unreachable");
}

#[tokio::test]
async fn a_promise_settles_or_is_rejected() {
    let entry = Entry::start();
    let answer = entry.get("/settle").await;
    assert_eq!(answer.headers()["x-status"], "1");
    assert_eq!(answer.text().await.unwrap(), "settled");
    let answer = entry.get("/settle?no").await;
    assert_eq!(answer.headers()["x-status"], "0");
    assert_eq!(answer.text().await.unwrap(), "rejected");
}

#[tokio::test]
async fn a_task_that_waits_for_nothing_is_answered_with_500() {
    let entry = Entry::start();
    for (target, event) in [("/stall", "task_stalled"), ("/settle-again", "panicked")] {
        let answer = tokio::time::timeout(Duration::from_secs(10), entry.get(target));
        let answer = answer.await.expect("it is answered");
        assert_eq!(answer.status(), 500);
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body: serde_json::Value = answer.json().await.unwrap();
        assert_eq!((&body["code"], &body["request_id"]), (&"internal".into(), &id.clone().into()));
        entry.process.says(&format!(r#""event":"{event}","request_id":"{id}""#)).await;
    }
    // Nothing else is lost.
    assert_eq!(entry.get("/").await.headers()["x-generation"], "0");
}

#[tokio::test]
async fn responses_are_bounded_in_time_and_size_whatever_they_announce() {
    let entry = Entry::start();
    assert_eq!(entry.asks(&Provider::serving("text")).await, ("200".into(), "text".into()));
    let begun = Instant::now();
    assert_eq!(
        entry.asks(&Provider::start(Behaviour::Stalls)).await,
        ("0".into(), "timeout".into())
    );
    // The head arrives, the rest does not.
    let stops = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec();
    let cut = Provider::start(Behaviour::Raw(stops));
    assert_eq!(entry.asks(&cut).await, ("0".into(), "unreachable".into()));
    assert!(begun.elapsed() < Duration::from_secs(10));

    let too_large = ("0".to_owned(), "too large".to_owned());
    assert_eq!(entry.asks(&Provider::serving(&"x".repeat(1001))).await, too_large);
    let long = vec![b'x'; 1_000_000];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&long).unwrap();
    let packed = gzip.finish().unwrap();
    assert!(packed.len() < 1000 * 2);
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes();
    let raw = |head: Vec<u8>, body: &[u8]| {
        Provider::start(Behaviour::Raw([head, body.to_vec()].concat()))
    };
    let length = format!("content-encoding: gzip\r\ncontent-length: {}\r\n", packed.len());
    assert_eq!(entry.asks(&raw(head(&length), &packed)).await, too_large);
    let chunks =
        [format!("{:x}\r\n", long.len()).into_bytes(), long, b"\r\n0\r\n\r\n".to_vec()].concat();
    let both = "transfer-encoding: chunked\r\ncontent-length: 5\r\n";
    let (status, text) = entry.asks(&raw(head(both), &chunks)).await;
    assert!(status == "0" && text.len() < 20, "{status} {}", text.len());
}

#[tokio::test]
async fn panic_ends_only_its_own_instance() {
    let entry = Entry::start();
    let (url, slow) = (
        entry.url("/settle"),
        Provider::start(Behaviour::Answer { status: 200, body: "late".into(), after_ms: 2000 }),
    );
    let waits = tokio::spawn(async move { client().get(url).send().await.unwrap() });
    let url = entry.url(&format!("/ask?url={}", slow.url("/")));
    let asks = tokio::spawn(async move { client().get(url).send().await.unwrap() });
    let begun = Instant::now();
    while slow.take().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it was not asked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;

    let begun = Instant::now();
    for lost in [entry.get("/panic").await, waits.await.unwrap(), asks.await.unwrap()] {
        assert_eq!(lost.status(), 500);
        let id = lost.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body: serde_json::Value = lost.json().await.unwrap();
        assert_eq!((&body["code"], &body["request_id"]), (&"internal".into(), &id.clone().into()));
        entry.process.says(&id).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "those that waited got a response");
    let answer = entry.get("/").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-generation"]),
        (200, &"1".parse().unwrap())
    );
}

/// Serves one response that continues until its reader leaves.
fn endless() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        while stream.write_all(b"more\n").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    url
}

/// Nothing watches a stream after its instance has ended, so it ends at its next recheck.
#[tokio::test]
async fn a_panic_ends_the_streams_that_its_instance_watched() {
    let entry = Entry::start();
    let mut stream = entry.get(&format!("/stream?url={}", endless())).await;
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_secs(2) {
        assert!(stream.chunk().await.unwrap().is_some(), "it goes on while it is watched");
    }
    assert_eq!(entry.get("/panic").await.status(), 500);
    let rest = async { while stream.chunk().await.is_ok_and(|chunk| chunk.is_some()) {} };
    tokio::time::timeout(Duration::from_secs(5), rest).await.expect("the stream ends");
}

/// If dropping the task of a departed client traps, the instance ends, too.
#[tokio::test]
async fn a_trap_after_a_client_has_left_ends_the_instance() {
    let entry = Entry::start();
    let mut stream = TcpStream::connect(("127.0.0.1", entry.port)).unwrap();
    stream.write_all(b"GET /trap HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(entry.get("/").await.headers()["x-generation"], "0");
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    let begun = Instant::now();
    while entry.get("/").await.headers()["x-generation"] == "0" {
        assert!(begun.elapsed() < Duration::from_secs(10), "the instance goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    entry.process.says(r#""event":"panicked""#).await;
}

/// The first one is the entry.
const SCRIPTS: [&str; 11] = [
    "worker.js",
    "gate.js",
    "gates.js",
    "tasks.js",
    "protocol.js",
    "http.js",
    "platform.js",
    "streams.js",
    "crypto.js",
    "failures.js",
    "timer.js",
];
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
