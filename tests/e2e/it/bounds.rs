//! The redis gateway as a public server: its bounds, its certificate, its reload, its end.

use crate::gateway::GATEWAY;
use crate::servers::{Folder, Gateway, Process, Redis, TOKEN, answer, free_ports, wait_for_port};
use crate::stack::{client, field};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends bytes, and reads until the server is done.
fn exchange(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = connect(gateway);
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_has_its_bounds() {
    let gateway = &GATEWAY.1;
    let large = |bytes: usize| {
        let value = vec![b'x'; bytes];
        client().post(format!("{}/set/gw:large", gateway.url)).bearer_auth(TOKEN).body(value).send()
    };
    assert_eq!(large(10_000_000).await.unwrap().status(), 200);
    let (status, body) = answer(large(10_000_001).await.unwrap()).await;
    assert_eq!((status, body), (413, json!({ "error": "ERR max request size exceeded" })));
    gateway.run(json!(["DEL", "gw:large"])).await;
    // Without a stated length it is counted as it comes.
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n");
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    (0..10).for_each(|_| chunked.extend(&chunk));
    chunked.extend(b"0\r\n\r\n");
    let answered = exchange(gateway, &chunked);
    assert!(answered.starts_with("HTTP/1.1 413"), "{answered}");
    // Nested without end.
    let (status, body) = answer(
        client()
            .post(&gateway.url)
            .bearer_auth(TOKEN)
            .body("[".repeat(1 << 20))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!((status, body), (400, json!({ "error": "ERR failed to parse command" })));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_large_heads_and_bodies_are_cut() {
    let gateway = &GATEWAY.1;
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n");
    let slow = tokio::task::spawn_blocking({
        let head = head.clone();
        move || {
            let begun = Instant::now();
            let answered =
                exchange(gateway, format!("{head}content-length: 20\r\n\r\n[\"PI").as_bytes());
            (answered, begun.elapsed())
        }
    });
    // Who has no token is not waited for at all.
    let begun = Instant::now();
    let stranger =
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\nconnection: close\r\n\r\n[\"PI";
    assert!(exchange(gateway, stranger.as_bytes()).starts_with("HTTP/1.1 401"));
    assert!(begun.elapsed() < Duration::from_secs(2));
    let wide = format!("{head}x: {}\r\n\r\n", "y".repeat(200_000));
    let answered = exchange(gateway, wide.as_bytes());
    assert!(answered.starts_with("HTTP/1.1 431") || answered.is_empty(), "{answered}");
    let many: String = (0..100).map(|n| format!("x{n}: y\r\n")).collect();
    let answered = exchange(gateway, format!("{head}{many}\r\n").as_bytes());
    assert!(answered.starts_with("HTTP/1.1 431"), "{answered}");
    for garbage in [b"\x16\x03\x01\x02\x00".as_slice(), b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
        let answered = exchange(gateway, &[garbage, b"\r\n\r\n"].concat());
        assert!(answered.starts_with("HTTP/1.1 400") || answered.is_empty(), "{answered}");
    }
    let (answered, elapsed) = slow.await.unwrap();
    assert!(answered.starts_with("HTTP/1.1 408"), "{answered}");
    assert!((9..15).contains(&elapsed.as_secs()), "{elapsed:?}");
    assert_eq!(gateway.run(json!(["PING"])).await, "PONG");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_and_a_slow_head_are_closed() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[("GATEWAY_IDLE_SECONDS", "2")]);
    let head = format!("GET /ping HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n");
    for (begin, answers) in [("", 0), (head.as_str(), 0), (format!("{head}\r\n").as_str(), 1)] {
        let begun = Instant::now();
        let answered = exchange(&gateway, begin.as_bytes());
        assert_eq!(answered.matches("PONG").count(), answers, "{answered}");
        assert!((1500..6000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }
    // A head that dribbles in gains nothing by it.
    let begun = Instant::now();
    let mut slow = connect(&gateway);
    while begun.elapsed() < Duration::from_secs(10) && slow.write_all(b"G").is_ok() {
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!((1500..7000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[("GATEWAY_CONNECTIONS_MAX", "3")]);
    let request = format!("GET /ping HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    let ask = |stream: &mut TcpStream| {
        let mut buffer = [0; 1024];
        let _ = stream.write_all(request.as_bytes());
        stream.read(&mut buffer).unwrap_or(0)
    };
    // The redis gateway may not have seen yet that the one which looked for its port is gone.
    std::thread::sleep(Duration::from_secs(1));
    let mut held: Vec<TcpStream> = (0..3).map(|_| connect(&gateway)).collect();
    held.iter_mut().for_each(|stream| assert!(ask(stream) > 0));
    assert_eq!(ask(&mut connect(&gateway)), 0, "closed");
    held.iter_mut().for_each(|stream| assert!(ask(stream) > 0, "the others go on"));
    held.pop();
    std::thread::sleep(Duration::from_secs(1));
    assert!(ask(&mut connect(&gateway)) > 0, "there is room again");
}

#[tokio::test]
async fn channels_are_followed_until_the_client_goes() {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let watcher = "watch-watch-watch-watch-watch-watch";
    let tokens =
        format!("[[token]]\nname='w'\nrole='full'\nsecret='{watcher}'\nalso=['MONITOR']\n");
    let file = folder.write("tokens.toml", &tokens).to_str().unwrap().to_owned();
    let settings = [("GATEWAY_STREAMS_MAX", "3"), ("GATEWAY_TOKENS_FILE", file.as_str())];
    let gateway = Gateway::start_in(folder, &redis.url(), &settings);
    let open = async |path: &str, token: &str| {
        // As Upstash's client does: a POST with a body that means nothing, and base64 asked for.
        let request = client().post(format!("{}{path}", gateway.url)).bearer_auth(token);
        request.header("upstash-encoding", "base64").body("[]").send().await.unwrap()
    };
    let mut one = open("/subscribe/a/b%2Cc", TOKEN).await;
    assert_eq!(field(&one, "content-type"), "text/event-stream");
    let mut patterns = open("/psubscribe/a*", TOKEN).await;
    let mut all = open("/monitor", watcher).await;
    let (status, body) = answer(open("/subscribe/x", TOKEN).await).await;
    assert!(status == 503 && body["error"].as_str().unwrap().starts_with("ERR too many streams"));
    let (status, body) = answer(open("/monitor", TOKEN).await).await;
    assert!(status == 400 && body["error"].as_str().unwrap().starts_with("NOPERM"), "{body}");
    assert_eq!(open("/subscribe", watcher).await.status(), 400);

    assert_eq!(gateway.run(json!(["PUBLISH", "a", "hello"])).await, 2);
    gateway.run(json!(["PUBLISH", "b,c", "two\nlines"])).await;
    let read = async |response: &mut reqwest::Response, end: &str| {
        let mut text = String::new();
        while !text.contains(end) {
            let chunk = response.chunk().await.unwrap().expect("it goes on");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        text
    };
    assert_eq!(
        read(&mut one, "lines").await,
        "data: subscribe,a,1\n\ndata: subscribe,b,c,2\n\ndata: message,a,hello\n\n\
         data: message,b,c,two\ndata: lines\n\n"
    );
    assert_eq!(
        read(&mut patterns, "hello").await,
        "data: psubscribe,a*,1\n\ndata: pmessage,a*,a,hello\n\n"
    );
    let monitored = read(&mut all, "\"PUBLISH\" \"b,c\"").await;
    assert!(monitored.starts_with("data: \"OK\"\n\ndata: 1"), "{monitored}");

    drop((one, patterns, all));
    let begun = Instant::now();
    let mut connection = redis.connection();
    loop {
        let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut connection).unwrap();
        if !clients.contains("cmd=subscribe")
            && !clients.contains("cmd=psubscribe")
            && !clients.contains("flags=O")
        {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{clients}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_what_is_published_is_left() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[]);
    let mut lazy = connect(&gateway);
    let request = format!(
        "GET /subscribe/flood HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    );
    lazy.write_all(request.as_bytes()).unwrap();
    let mut connection = redis.connection();
    let mut subscribers = || -> i64 {
        let answer: (String, i64) =
            redis::cmd("PUBSUB").arg("NUMSUB").arg("flood").query(&mut connection).unwrap();
        answer.1
    };
    let begun = Instant::now();
    while subscribers() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut publisher = redis.connection();
    let payload = "x".repeat(1 << 20);
    for _ in 0..64 {
        let _: i64 =
            redis::cmd("PUBLISH").arg("flood").arg(&payload).query(&mut publisher).unwrap();
    }
    let begun = Instant::now();
    while subscribers() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", gateway.process.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn tokens_are_changed_without_dropping_a_request() {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let token = |name: &str, secret: &str| {
        format!("[[token]]\nname='{name}'\nrole='full'\nsecret='{secret}'\n")
    };
    let (old, new) = ("old-old-old-old-old-old-old-old-old", "new-new-new-new-new-new-new-new-new");
    let file = folder.write("tokens.toml", &token("old", old));
    let path = file.to_str().unwrap().to_owned();
    let gateway = Gateway::start_in(folder, &redis.url(), &[("GATEWAY_TOKENS_FILE", &path)]);
    let status = async |secret: &str| {
        let request = client().get(format!("{}/ping", gateway.url)).bearer_auth(secret);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((status(old).await, status(new).await), (200, 401));
    let stop = AtomicBool::new(false);
    let load = async {
        let client = client();
        let mut count = 0;
        while !stop.load(Ordering::SeqCst) {
            let response = client.get(format!("{}/ping", gateway.url)).bearer_auth(TOKEN).send();
            assert_eq!(response.await.unwrap().status(), 200);
            count += 1;
        }
        count
    };
    let reload = async {
        let turn = async |text: &str, event: &str, count: usize| {
            std::fs::write(&file, text).unwrap();
            gateway.process.signal("-HUP");
            let begun = Instant::now();
            while gateway.process.text().matches(event).count() < count {
                assert!(begun.elapsed() < Duration::from_secs(20));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let both = token("old", old) + &token("new", new);
        turn(&both, "\"reloaded\"", 1).await;
        assert_eq!((status(old).await, status(new).await), (200, 200));
        turn("[[token]]\nname='broken'\nsecret=new-new-", "configuration_invalid", 1).await;
        assert_eq!((status(old).await, status(new).await), (200, 200), "what was good goes on");
        turn(&token("new", new), "\"reloaded\"", 2).await;
        assert_eq!((status(old).await, status(new).await), (401, 200));
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.store(true, Ordering::SeqCst);
    };
    let (count, ()) = tokio::join!(load, reload);
    assert!(count > 20, "{count}");
    let log = gateway.process.text();
    assert!(!log.contains("new-new-"), "no secret is in the log");
}

#[tokio::test]
async fn who_may_no_longer_follow_is_left() {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let secret = "news-news-news-news-news-news-news";
    let entry = |name: &str, prefix: &str| {
        format!(
            "[[token]]\nname='{name}'\nrole='custom'\nsecret='{secret}'\n\
             commands=['SUBSCRIBE']\nkey_prefixes=['{prefix}']\n"
        )
    };
    let file = folder.write("tokens.toml", &entry("a", "news:"));
    let path = file.to_str().unwrap().to_owned();
    let gateway = Gateway::start_in(folder, &redis.url(), &[("GATEWAY_TOKENS_FILE", &path)]);
    let open =
        || client().get(format!("{}/subscribe/news:x", gateway.url)).bearer_auth(secret).send();
    let mut stream = open().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    let reload = async |text: &str, count: usize| {
        std::fs::write(&file, text).unwrap();
        gateway.process.signal("-HUP");
        let begun = Instant::now();
        while gateway.process.text().matches("\"reloaded\"").count() < count {
            assert!(begun.elapsed() < Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // A new name for the same secret is the same token.
    reload(&entry("b", "news:"), 1).await;
    gateway.run(json!(["PUBLISH", "news:x", "still here"])).await;
    assert!(
        String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()).contains("still here")
    );
    reload(&entry("b", "other:"), 2).await;
    assert!(stream.chunk().await.unwrap().is_none(), "it ends");
    assert_eq!(open().await.unwrap().status(), 400);
    // More channels than a stream may have are refused, not cut.
    let many = "/x".repeat(101);
    let url = format!("{}/subscribe{many}", gateway.url);
    assert_eq!(client().get(url).bearer_auth(TOKEN).send().await.unwrap().status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_small_pieces_leaves_room_for_others() {
    let gateway = &GATEWAY.1;
    let mut slow = connect(gateway);
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n");
    slow.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    slow.write_all(&b"1\r\n \r\n".repeat(300_000)).unwrap();
    for _ in 0..10 {
        assert_eq!(gateway.run(json!(["PING"])).await, "PONG");
    }
    // All of it is white space, so it is no command; but it was read.
    slow.write_all(b"0\r\n\r\n").unwrap();
    let mut buffer = [0; 512];
    let count = slow.read(&mut buffer).unwrap();
    let answered = String::from_utf8_lossy(&buffer[..count]);
    assert!(answered.starts_with("HTTP/1.1 400"), "{answered}");
}

#[tokio::test]
async fn its_certificate_is_its_own_and_can_be_changed() {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let make = || {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        folder.write("cert.pem", &cert.pem());
        folder.write("key.pem", &signing_key.serialize_pem());
        cert.pem()
    };
    let first = make();
    let [port] = free_ports();
    let mut command = Gateway::command();
    command
        .env("REDIS_URL", redis.url())
        .env("GATEWAY_LISTEN", format!("127.0.0.1:{port}"))
        .env("GATEWAY_TOKENS", format!("test={TOKEN}"))
        .env("GATEWAY_TLS_CERT_FILE", folder.file("cert.pem"))
        .env("GATEWAY_TLS_KEY_FILE", folder.file("key.pem"));
    let gateway = Process::start(&mut command, folder.file("gateway.log"));
    wait_for_port(port, &gateway);
    let ask = async |trusted: &str| {
        let certificate = reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap();
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap();
        let request = client.get(format!("https://localhost:{port}/ping")).bearer_auth(TOKEN);
        request.send().await.map(|response| response.status().as_u16())
    };
    assert_eq!(ask(&first).await.unwrap(), 200);
    let second = make();
    assert!(ask(&second).await.is_err(), "not yet");
    gateway.signal("-HUP");
    let begun = Instant::now();
    while ask(&second).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "{}", gateway.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(ask(&first).await.is_err());
    // A stranger who speaks no TLS, and one who says nothing, hold up nobody.
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(ask(&second).await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_finished_before_it_ends() {
    let redis = Redis::start(&[]);
    let mut gateway = Gateway::start(&redis.url(), &[("GATEWAY_DEADLINE_MS", "5000")]);
    let mut stream = client()
        .get(format!("{}/subscribe/x", gateway.url))
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    let script = "local t = redis.call('TIME')[1] + 2; while redis.call('TIME')[1] + 0 < t do end return 'done'";
    let slow = client().post(&gateway.url).bearer_auth(TOKEN).json(&json!(["EVAL", script, 0]));
    let slow = tokio::spawn(slow.send());
    tokio::time::sleep(Duration::from_millis(500)).await;
    gateway.process.signal("-TERM");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = client().get(format!("{}/ping", gateway.url)).send().await;
    assert!(refused.is_err(), "nobody new comes in");
    assert_eq!(answer(slow.await.unwrap().unwrap()).await, (200, json!({ "result": "done" })));
    assert_eq!(gateway.process.ended(10), Some(0));
    while let Ok(Some(_)) = stream.chunk().await {}
}

#[tokio::test]
async fn what_is_asked_is_counted_and_logged_without_values() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[]);
    let commands = json!([
        ["SET", "a-key-of-mine", "a-value-of-mine"],
        ["INCR", "a-key-of-mine"],
        ["FLUSHALL"],
        ["HGETALL", "another"],
    ]);
    let request = client().post(format!("{}/pipeline", gateway.url)).bearer_auth(TOKEN);
    let response = request.header("x-request-id", "r-1").json(&commands).send().await.unwrap();
    assert_eq!(response.status(), 200);
    gateway.run(json!(["EVAL", "return 'a-value-of-mine'", 0])).await;
    let stranger = client().get(format!("{}/get/a-key-of-mine?_token=wrong-of-mine", gateway.url));
    assert_eq!(stranger.send().await.unwrap().status(), 401);

    let text = crate::stack::get(&format!("{}/metrics", gateway.url)).send().await.unwrap();
    let text = text.text().await.unwrap();
    for line in [
        "commands_total{family=\"string\",outcome=\"ok\"} 1",
        "commands_total{family=\"string\",outcome=\"error\"} 1",
        "commands_total{family=\"server\",outcome=\"refused\"} 1",
        "commands_total{family=\"hash\",outcome=\"ok\"} 1",
        "commands_total{family=\"scripting\",outcome=\"ok\"} 1",
        "requests_total{endpoint=\"pipeline\",status=\"200\"} 1",
        "requests_total{endpoint=\"command\",status=\"200\"} 1",
        "requests_total{endpoint=\"command\",status=\"401\"} 1",
        "request_seconds_count 3",
    ] {
        assert!(text.contains(&format!("portcullis_gateway_{line}\n")), "{line}:\n{text}");
    }
    let log = gateway.process.says("\"status\":401").await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let asked: Vec<&Value> = lines
        .iter()
        .map(|line| &line["fields"])
        .filter(|line| line["event"] == "request")
        .collect();
    assert_eq!(asked.len(), 3, "{log}");
    let first = asked[0];
    assert_eq!((&first["request_id"], &first["token"]), (&json!("r-1"), &json!("test")));
    assert_eq!((&first["commands"], &first["endpoint"]), (&json!(4), &json!("pipeline")));
    assert!(first["micros"].is_u64() && asked.iter().all(|line| !line["request_id"].is_null()));
    assert!(!log.contains("of-mine") && !text.contains("of-mine"), "{log}");
}

#[tokio::test]
async fn faulty_settings_are_named_all_at_once() {
    let folder = Folder::new();
    let tokens = folder.write("tokens.toml", "[[token]]\nname='a'\nrole='full'\nsecret='hush'\n");
    let mut command = Gateway::command();
    command
        .env("REDIS_URL", "redis://:topsecret@h/1/2")
        .env("GATEWAY_LISTEN", "nowhere")
        .env("GATEWAY_DEADLINE_MS", "soon")
        .env("GATEWAY_TOKENS_FILE", tokens);
    let mut gateway = Process::start(&mut command, folder.file("log"));
    assert_eq!(gateway.ended(5), Some(2));
    let log = gateway.text();
    for name in
        ["REDIS_URL", "GATEWAY_LISTEN", "GATEWAY_DEADLINE_MS", "token a: the secret must be"]
    {
        assert!(log.contains(name), "{name}: {log}");
    }
    assert!(!log.contains("topsecret") && !log.contains("hush"), "{log}");
    // A port that is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Gateway::command();
    command.env("GATEWAY_LISTEN", &address).env("GATEWAY_TOKENS", format!("t={TOKEN}"));
    let mut gateway = Process::start(&mut command, folder.file("log"));
    assert_eq!(gateway.ended(5), Some(1));
    assert!(gateway.text().contains(&format!("can't listen on {address}")), "{}", gateway.text());
}
