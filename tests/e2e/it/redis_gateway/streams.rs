//! Channels as server-sent events.

use crate::support::gateway::{Gateway, TOKEN, read_reply};
use crate::support::http::{client, field};
use crate::support::process::Folder;
use crate::support::redis_server::Redis;
use serde_json::json;
use std::io::Write as _;
use std::time::{Duration, Instant};

#[tokio::test]
async fn subscription_streams_messages_until_the_client_disconnects() {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let watcher = "watch-watch-watch-watch-watch-watch";
    let tokens =
        format!("[[token]]\nname='w'\nrole='full'\nsecret='{watcher}'\nalso=['MONITOR']\n");
    let file = folder.write("tokens.toml", &tokens).to_str().unwrap().to_owned();
    let settings = [("GATEWAY_STREAMS_MAX", "3"), ("GATEWAY_TOKENS_FILE", file.as_str())];
    let gateway = Gateway::start_in(folder, &redis.url(), &settings);
    let open = async |path: &str, token: &str| {
        // As Upstash's client does: a POST with a meaningless body that requests base64.
        let request = client().post(format!("{}{path}", gateway.url)).bearer_auth(token);
        request.header("upstash-encoding", "base64").body("[]").send().await.unwrap()
    };
    let mut one = open("/subscribe/a/b%2Cc", TOKEN).await;
    assert_eq!(field(&one, "content-type"), "text/event-stream");
    let mut patterns = open("/psubscribe/a*", TOKEN).await;
    let mut all = open("/monitor", watcher).await;
    let refused = open("/subscribe/x", TOKEN).await;
    assert_eq!(field(&refused, "retry-after"), "1");
    let (status, body) = read_reply(refused).await;
    assert!(status == 503 && body["error"].as_str().unwrap().starts_with("ERR too many streams"));
    let (status, body) = read_reply(open("/monitor", TOKEN).await).await;
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
async fn subscriber_that_does_not_read_is_disconnected() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[]);
    let mut lazy = gateway.connect();
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
async fn stream_ends_when_its_token_loses_the_channel() {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let secret = "news-news-news-news-news-news-news";
    let entry = |name: &str, prefix: &str| {
        format!(
            "[[token]]\nname='{name}'\nrole='custom'\nsecret='{secret}'\n\
             rules=[{{commands=['SUBSCRIBE'], key_prefixes=['{prefix}']}}]\n"
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
    // Too many channels are rejected instead of cut off.
    let many = "/x".repeat(101);
    let url = format!("{}/subscribe{many}", gateway.url);
    assert_eq!(client().get(url).bearer_auth(TOKEN).send().await.unwrap().status(), 400);
}
