//! Stores that refuse a script with key locking.

use super::scene::{call, protected, start, token, unique};
use crate::support::environment::on_memcached;
use crate::support::http::field;
use crate::support::redis_server::Redis;
use crate::support::stack::stop;
use axum::extract::State;
use axum::{Json, Router};
use portcullis_core::{LIMIT_SCRIPT_SHA1, LOCKING_LIMIT_SCRIPT_SHA1};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// A server that speaks the REST protocol and sends Redis each script as it is.
#[derive(Clone)]
struct PlainServer {
    redis: Arc<Mutex<redis::Connection>>,
    /// Redis before 7.0 knows no first line of a script.
    is_old: bool,
    /// The scripts that were sent, by the form of their command.
    scripts: Arc<Mutex<Vec<&'static str>>>,
}

impl PlainServer {
    /// Starts the server before a Redis. Returns its URL.
    async fn start(redis: &Redis, is_old: bool) -> (Self, String) {
        let redis = Arc::new(Mutex::new(redis.connection()));
        let server = Self { redis, is_old, scripts: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pipeline).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (server, url)
    }

    fn take_scripts(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.scripts.lock().unwrap())
    }

    fn run(&self, words: &[String]) -> Value {
        let has_first_line = words[0] == "EVAL" && words[1].starts_with("#!");
        let form = match (words[0].as_str(), words[1].as_str()) {
            ("EVALSHA", LOCKING_LIMIT_SCRIPT_SHA1) => Some("name with key locking"),
            ("EVALSHA", LIMIT_SCRIPT_SHA1) => Some("plain name"),
            ("EVAL", _) if has_first_line => Some("script with key locking"),
            ("EVAL", _) => Some("plain script"),
            _ => None,
        };
        self.scripts.lock().unwrap().extend(form);
        if has_first_line && self.is_old {
            return json!({ "error": OLD_ERROR });
        }
        let mut command = redis::cmd(&words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(word);
        });
        match command.query::<redis::Value>(&mut *self.redis.lock().unwrap()) {
            Ok(value) => json!({ "result": plain(&value) }),
            Err(error) => {
                let (code, detail) = (error.code().unwrap_or("ERR"), error.detail());
                json!({ "error": format!("{code} {}", detail.unwrap_or_default()) })
            }
        }
    }
}

/// What Redis 6.2.5 replies.
const OLD_ERROR: &str =
    "ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'";

async fn pipeline(
    State(server): State<PlainServer>,
    Json(commands): Json<Vec<Vec<String>>>,
) -> Json<Vec<Value>> {
    Json(commands.iter().map(|words| server.run(words)).collect())
}

fn plain(value: &redis::Value) -> Value {
    match value {
        redis::Value::Nil => Value::Null,
        redis::Value::Int(number) => json!(number),
        redis::Value::Array(values) => values.iter().map(plain).collect(),
        other => json!(redis::from_redis_value::<String>(other.clone()).unwrap()),
    }
}

/// The script counts from the first request on, and later requests send its plain name.
#[tokio::test]
async fn store_without_key_locking_gets_the_plain_script() {
    if on_memcached() {
        return;
    }
    for is_old in [false, true] {
        let redis = Redis::start(&[]);
        let (server, url) = PlainServer::start(&redis, is_old).await;
        let name = unique("plain");
        let limit =
            json!({ "quota": 4, "window_seconds": 600, "by": "subject", "timing": "exact" });
        let stack = start(json!({
            "store.url": url, "STORE_TOKEN": "any",
            "routes": [protected(&name, json!({ "limit": limit }))],
        }))
        .await;
        let (token, path) = (token(json!({})), format!("/api/{name}"));
        let send = async || {
            let response = call(&stack, &path, "192.0.2.1", Some(&token)).await;
            assert_eq!(field(&response, "portcullis-degraded"), "", "the store did not count");
            response.status().as_u16()
        };
        assert_eq!(send().await, 200);
        let first = ["name with key locking", "script with key locking", "plain script"];
        assert_eq!(server.take_scripts(), first, "old: {is_old}");
        assert_eq!(send().await, 200);
        assert_eq!(server.take_scripts(), ["plain name"], "old: {is_old}");
        // The store forgets scripts when it starts again.
        let () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut redis.connection()).unwrap();
        assert_eq!(send().await, 200);
        assert_eq!(server.take_scripts(), ["plain name", "plain script"], "old: {is_old}");
        assert_eq!([send().await, send().await], [200, 429]);
        stop((stack, redis)).await;
    }
}
