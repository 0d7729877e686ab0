//! A store in memory, whose next write of a key can be held.

use redis_rest::{BodyBounds, decode_pipeline};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A store that executes SET, GET and DEL.
#[derive(Clone, Default)]
pub struct MemoryStore {
    values: Arc<Mutex<BTreeMap<String, String>>>,
    hold: Arc<Mutex<Option<Hold>>>,
    /// Whether requests fail without being executed.
    is_down: Arc<Mutex<bool>>,
    /// The longest random delay of a request, in milliseconds.
    jitter_ms: Arc<Mutex<u64>>,
}

/// The text of the request to be held, and the channel through which the test lets it pass.
struct Hold {
    text: String,
    held: mpsc::Sender<oneshot::Sender<()>>,
}

impl MemoryStore {
    /// Serves the store, and returns its URL.
    pub async fn serve(&self) -> String {
        let own = self.clone();
        let answer = move |body: String| {
            let own = own.clone();
            async move { own.answer(body).await }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/pipeline", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    async fn answer(&self, body: String) -> (axum::http::StatusCode, String) {
        if *self.is_down.lock().unwrap() {
            return (axum::http::StatusCode::BAD_GATEWAY, String::new());
        }
        let held = self.hold.lock().unwrap().take_if(|hold| body.contains(&hold.text));
        if let Some(Hold { held, .. }) = held {
            let (pass, passed) = oneshot::channel();
            held.send(pass).await.unwrap();
            passed.await.unwrap();
        }
        let jitter = *self.jitter_ms.lock().unwrap();
        if jitter > 0 {
            let ms = crate::random::random_below(jitter);
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        let bounds = BodyBounds { commands_max: 1000, words_max: 100_000 };
        let commands = decode_pipeline(body.as_bytes(), bounds).unwrap();
        let mut values = self.values.lock().unwrap();
        let replies = commands.iter().map(|command| {
            let key = command.text(1).unwrap_or_default().to_owned();
            let reply = match command.name() {
                "SET" => {
                    values.insert(key, command.text(2).unwrap().to_owned());
                    "OK".into()
                }
                "GET" => values.get(&key).cloned().into(),
                "DEL" => i32::from(values.remove(&key).is_some()).into(),
                _ => serde_json::Value::from(0),
            };
            serde_json::json!({ "result": reply })
        });
        let replies = serde_json::Value::Array(replies.collect()).to_string();
        (axum::http::StatusCode::OK, replies)
    }

    /// Holds the next request that contains a text. The returned channel has the means to let it
    /// pass.
    pub fn hold(&self, text: &str) -> mpsc::Receiver<oneshot::Sender<()>> {
        let (held, receiver) = mpsc::channel(1);
        *self.hold.lock().unwrap() = Some(Hold { text: text.to_owned(), held });
        receiver
    }

    /// Holds no further request.
    pub fn unhold(&self) {
        *self.hold.lock().unwrap() = None;
    }

    pub fn set_down(&self, is_down: bool) {
        *self.is_down.lock().unwrap() = is_down;
    }

    pub fn set_jitter(&self, ms: u64) {
        *self.jitter_ms.lock().unwrap() = ms;
    }

    pub fn flush(&self) {
        self.values.lock().unwrap().clear();
    }

    pub fn get(&self, key: &str) -> Option<String> {
        self.values.lock().unwrap().get(key).cloned()
    }

    /// Returns the record of a key's secret.
    pub fn record(&self, secret: &str) -> Option<serde_json::Value> {
        let text = self.get(&format!("pc:token:{}", crate::token::token_hash(secret)))?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// Returns how many keys begin with a text.
    pub fn count(&self, start: &str) -> usize {
        self.values.lock().unwrap().keys().filter(|key| key.starts_with(start)).count()
    }
}
