//! A store in memory, which understands what the series send.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Hashes, strings and lists in memory.
#[derive(Clone, Default)]
pub struct MemoryStore(pub Arc<Mutex<State>>);

/// What the store has.
#[derive(Default)]
pub struct State {
    pub hashes: BTreeMap<String, BTreeMap<String, String>>,
    pub values: BTreeMap<String, String>,
    /// The totals of the edges' counters.
    pub totals: BTreeMap<String, u64>,
    pub ring: Vec<String>,
    pub is_down: bool,
    pub queries: usize,
}

impl MemoryStore {
    /// Serves the store, and returns its URL.
    pub async fn serve(&self) -> String {
        let own = self.clone();
        let answer = move |body: String| {
            let own = own.clone();
            async move {
                let down = own.0.lock().unwrap().is_down;
                let status = if down { 503 } else { 200 };
                (axum::http::StatusCode::from_u16(status).unwrap(), own.answer(&body))
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/pipeline", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn answer(&self, body: &str) -> String {
        let commands: Vec<Vec<Value>> = serde_json::from_str(body).unwrap();
        let mut state = self.0.lock().unwrap();
        state.queries += 1;
        let replies = commands.iter().map(|words| {
            let word = |at: usize| words[at].as_str().unwrap_or_default().to_owned();
            let result = match word(0).as_str() {
                "HGETALL" => {
                    let hash = state.hashes.get(&word(1)).cloned().unwrap_or_default();
                    json!(hash.into_iter().flat_map(|(k, v)| [k, v]).collect::<Vec<_>>())
                }
                "HDEL" => {
                    let hash = state.hashes.entry(word(1)).or_default();
                    (2..words.len()).for_each(|at| drop(hash.remove(&word(at))));
                    json!(words.len() - 2)
                }
                "EVAL" => {
                    let lines =
                        state.totals.iter().map(|(name, count)| format!("{name} {count}\n"));
                    json!(lines.collect::<String>())
                }
                "GET" => json!(state.values.get(&word(1))),
                "LRANGE" => json!(state.ring),
                other => panic!("{other}"),
            };
            json!({ "result": result })
        });
        Value::from(replies.collect::<Vec<_>>()).to_string()
    }

    /// Adds to a counter of the edges.
    pub fn count(&self, field: &str, added: u64) {
        let mut state = self.0.lock().unwrap();
        *state.totals.entry(field.to_owned()).or_default() += added;
    }

    /// Sets what an isolate reports.
    pub fn report(&self, name: &str, text: Value) {
        let mut state = self.0.lock().unwrap();
        let hash = state.hashes.entry("pc:edges".into()).or_default();
        hash.insert(name.to_owned(), text.to_string());
    }

    /// Changes the store.
    pub fn set(&self, change: impl Fn(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }
}
