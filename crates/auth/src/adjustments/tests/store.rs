//! A store in memory, whose failures and delays tests choose.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

type Held = (String, oneshot::Sender<()>, oneshot::Receiver<()>);

#[derive(Default)]
struct State {
    values: BTreeMap<String, (String, String)>,
    is_down: bool,
    /// The next request with this text waits: it says that it came, and then waits to be let go.
    held: Option<Held>,
}

/// A store that supports SET with an expiry, GET and DEL.
#[derive(Clone, Default)]
pub struct TestStore(Arc<Mutex<State>>);

impl TestStore {
    /// Serves the store, and returns its URL.
    pub async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let own = self.clone();
        let answer = move |body: String| {
            let own = own.clone();
            async move { own.answer(&body).await }
        };
        let router = axum::Router::new().route("/pipeline", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    async fn answer(&self, body: &str) -> (axum::http::StatusCode, String) {
        let held = self.0.lock().unwrap().held.take_if(|held| body.contains(&held.0));
        if let Some((_, came, go)) = held {
            came.send(()).unwrap();
            go.await.unwrap();
        }
        let mut state = self.0.lock().unwrap();
        if state.is_down {
            return (axum::http::StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        let commands: Vec<Vec<String>> = serde_json::from_str(body).unwrap();
        let replies = commands.into_iter().map(|command| {
            let key = command.get(1).cloned().unwrap_or_default();
            let reply = match command[0].as_str() {
                "SET" => {
                    assert!(command.len() == 5, "{command:?} has no expiry");
                    let expiry = format!("{} {}", command[3], command[4]);
                    state.values.insert(key, (command[2].clone(), expiry));
                    "OK".into()
                }
                "GET" => state.values.get(&key).map(|(value, _)| value.clone()).into(),
                "DEL" => i32::from(state.values.remove(&key).is_some()).into(),
                _ => serde_json::Value::from(0),
            };
            serde_json::json!({ "result": reply })
        });
        let body = serde_json::Value::Array(replies.collect()).to_string();
        (axum::http::StatusCode::OK, body)
    }

    /// Lets the next request that contains `text` wait. The first channel says that it came, and
    /// the second lets it go on.
    pub fn hold(&self, text: &str) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let ((came, arrived), (go, gone)) = (oneshot::channel(), oneshot::channel());
        self.0.lock().unwrap().held = Some((text.to_owned(), came, gone));
        (arrived, go)
    }

    /// Takes the store down, or brings it up again.
    pub fn set_down(&self, is_down: bool) {
        self.0.lock().unwrap().is_down = is_down;
    }

    /// Returns a value and its expiry.
    pub fn value(&self, key: &str) -> Option<(String, String)> {
        self.0.lock().unwrap().values.get(key).cloned()
    }

    /// Writes a value, as a process does that dies afterwards.
    pub fn put(&self, key: &str, value: &str) {
        let value = (value.to_owned(), "EX 1000".to_owned());
        self.0.lock().unwrap().values.insert(key.to_owned(), value);
    }

    /// Removes a key, as an eviction does.
    pub fn evict(&self, key: &str) {
        assert!(self.0.lock().unwrap().values.remove(key).is_some(), "no {key}");
    }

    /// Removes everything, and returns the keys of adjustments that were there.
    pub fn flush(&self) -> Vec<String> {
        let values = std::mem::take(&mut self.0.lock().unwrap().values);
        let adjusted = |key: &String| key.contains(":block:") || key.contains(":quota:");
        values.into_keys().filter(adjusted).collect()
    }

    /// Returns the keys of adjustments.
    pub fn keys(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let adjusted = |key: &&String| key.contains(":block:") || key.contains(":quota:");
        state.values.keys().filter(adjusted).cloned().collect()
    }
}
