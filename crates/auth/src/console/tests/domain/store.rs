//! A store that accepts all writes, and replies to reads what a test has given it.

use redis_rest::{BodyBounds, decode_pipeline};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
pub struct FakeStore {
    replies: Arc<Mutex<BTreeMap<String, Value>>>,
    /// The commands since the last clearing, as texts.
    commands: Arc<Mutex<Vec<String>>>,
    is_down: Arc<Mutex<bool>>,
}

impl FakeStore {
    /// Serves the store, and returns its URL.
    pub async fn serve(&self) -> String {
        let own = self.clone();
        let answer = move |body: String| {
            let own = own.clone();
            async move { own.answer(&body) }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/pipeline", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn answer(&self, body: &str) -> (axum::http::StatusCode, String) {
        if *self.is_down.lock().unwrap() {
            return (axum::http::StatusCode::BAD_GATEWAY, String::new());
        }
        let bounds = BodyBounds { commands_max: 1000, words_max: 100_000 };
        let commands = decode_pipeline(body.as_bytes(), bounds).unwrap();
        let replies = self.replies.lock().unwrap();
        let reply = |command: &redis_rest::Command| {
            let words = command.words().iter().map(|word| String::from_utf8_lossy(word));
            self.commands.lock().unwrap().push(words.collect::<Vec<_>>().join(" "));
            let is_read = matches!(command.name(), "GET" | "HGET" | "HGETALL" | "MGET");
            let key = command.text(1).unwrap_or_default();
            let known = replies.get(key).cloned();
            let other = if is_read { Value::Null } else { json!("OK") };
            json!({ "result": if is_read { known.unwrap_or(other) } else { other } })
        };
        let replies: Vec<Value> = commands.iter().map(reply).collect();
        (axum::http::StatusCode::OK, Value::from(replies).to_string())
    }

    /// Sets the reply to reads of a key.
    pub fn set(&self, key: &str, reply: Value) {
        self.replies.lock().unwrap().insert(key.to_owned(), reply);
    }

    /// Lets requests fail, or not.
    pub fn set_down(&self, is_down: bool) {
        *self.is_down.lock().unwrap() = is_down;
    }

    /// Returns whether a command has had this text.
    pub fn has_seen(&self, text: &str) -> bool {
        self.commands.lock().unwrap().iter().any(|command| command.contains(text))
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.replies.lock().unwrap().clear();
        self.commands.lock().unwrap().clear();
        self.set_down(false);
    }
}
