//! Parts that break a promise on purpose, to show that the soak reports it.

use super::settings::{CUSTOM_QUOTA, FILES, GUEST_QUOTA, ORDERS, PAID, custom_limit, guest_limit};
use crate::support::http::client_builder;
use crate::support::issuer::AUDIENCE;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The promise to break.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sabotage {
    None,
    /// No revocation marker of the auth service reaches the store.
    MarkersDropped,
    /// A used refresh token returns its first response for ever, and does not end its session.
    ReuseUndetected,
    /// The upstream keeps 1 KB of each request.
    UpstreamLeaks,
    /// No marker of a pushed event reaches the store.
    EventsDropped,
    /// The second issuer's key set has the forger's key, too.
    ForgerTrusted,
    /// The second issuer's events are about the first one's tokens.
    EventsOfFirstIssuer,
    /// Tokens for one API pass at the other.
    ApisShareTokens,
    /// The limit of anonymous requests is ten times as high.
    GuestsUnlimited,
    /// Requests spend no credits.
    CreditsUnlimited,
    /// The limit with other quotas for single callers is ten times as high.
    QuotasUnlimited,
    /// The optional route lets every token pass.
    TokensIgnored,
}

impl Sabotage {
    /// Breaks a promise by the edge's policy.
    pub fn change(self, policy: &mut Value) {
        match self {
            Self::EventsOfFirstIssuer => {
                let [first, second] = [0, 1].map(|place| policy["issuers"][place].clone());
                let mut events = second["events"].clone();
                events["issuer"] = second["issuer"].clone();
                events["jwks_url"] = second["jwks_url"].clone();
                policy["issuers"][0] = first;
                policy["issuers"][0]["events"] = events;
                policy["issuers"][1].as_object_mut().unwrap().remove("events");
            }
            Self::ApisShareTokens => {
                // Resources that share an audience are refused at start.
                policy.as_object_mut().unwrap().remove("resources");
                policy["issuers"][1]["audience"] = json!([AUDIENCE, ORDERS, FILES]);
                for route in policy["routes"].as_array_mut().unwrap() {
                    route.as_object_mut().unwrap().remove("resource");
                }
            }
            Self::GuestsUnlimited => policy["limits"][0] = guest_limit(10 * GUEST_QUOTA),
            Self::CreditsUnlimited => {
                let mut limit = custom_limit(1_000_000);
                limit["name"] = PAID.into();
                policy["limits"][1] = limit;
            }
            Self::QuotasUnlimited => policy["limits"][2] = custom_limit(10 * CUSTOM_QUOTA),
            Self::TokensIgnored => {
                let routes = policy["routes"].as_array_mut().unwrap();
                let open = routes.iter_mut().find(|route| route["name"] == "open").unwrap();
                open["enforce"] = false.into();
            }
            _ => {}
        }
    }
}

const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A proxy in front of an HTTP server that changes messages.
struct Filter {
    target: String,
    sabotage: Sabotage,
    client: reqwest::Client,
    /// Each refresh request, and the response to it.
    refreshes: Mutex<HashMap<Bytes, Bytes>>,
}

/// Starts a proxy in front of the server at `target` that breaks a promise. Returns its URL. The
/// proxy runs until the process ends.
pub fn filter(target: &str, sabotage: Sabotage) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let target = target.to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let client = client_builder().build().unwrap();
            let filter = Filter { target, sabotage, client, refreshes: Mutex::default() };
            let app = Router::new().fallback(pass).with_state(Arc::new(filter));
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    });
    url
}

async fn pass(State(filter): State<Arc<Filter>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    match filter.sabotage {
        Sabotage::MarkersDropped | Sabotage::EventsDropped => filter.drop_markers(head, body).await,
        Sabotage::ReuseUndetected if head.uri.path() == "/auth/refresh" => {
            filter.replay(head, body).await
        }
        _ => filter.forward(head, body).await,
    }
}

impl Filter {
    async fn forward(&self, head: axum::http::request::Parts, body: Bytes) -> Response {
        let url = format!("{}{}", self.target, head.uri);
        let mut headers = head.headers;
        for name in ["host", "content-length", "transfer-encoding", "connection"] {
            headers.remove(name);
        }
        let request = self.client.request(head.method, url).headers(headers).body(body);
        let Ok(answer) = request.send().await else { return response(502, Bytes::new()) };
        let mut passed = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            if !matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection") {
                passed = passed.header(name, value);
            }
        }
        let body = answer.bytes().await.unwrap_or_default();
        passed.body(Body::from(body)).unwrap()
    }

    /// Confirms the writes of revocation markers without forwarding them.
    async fn drop_markers(&self, head: axum::http::request::Parts, body: Bytes) -> Response {
        let Ok(Value::Array(commands)) = serde_json::from_slice(&body) else {
            return self.forward(head, body).await;
        };
        let (name, key) = match self.sabotage {
            // The script, its number of keys, and its key.
            Sabotage::EventsDropped => ("EVAL", 3),
            _ => ("SET", 1),
        };
        let is_marker = |command: &Value| {
            command[0] == name
                && command[key].as_str().is_some_and(|key| key.starts_with("pc:revoked:"))
        };
        let dropped: Vec<bool> = commands.iter().map(is_marker).collect();
        let passed: Vec<Value> =
            commands.into_iter().filter(|command| !is_marker(command)).collect();
        let mut replies = Vec::new();
        if !passed.is_empty() {
            let answer = self.forward(head, Value::Array(passed).to_string().into()).await;
            let (head, body) = answer.into_parts();
            let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
            let Ok(Value::Array(answers)) = serde_json::from_slice(&body) else {
                return Response::from_parts(head, Body::from(body));
            };
            replies = answers;
        }
        let mut replies = replies.into_iter();
        let ok = json!({ "result": "OK" });
        let all = dropped.iter().map(|dropped| {
            if *dropped { Some(ok.clone()) } else { replies.next() }.unwrap_or_default()
        });
        response(200, Value::Array(all.collect()).to_string().into())
    }

    /// Sends the first response to a refresh again, however late.
    async fn replay(&self, head: axum::http::request::Parts, body: Bytes) -> Response {
        let known = self.refreshes.lock().unwrap().get(&body).cloned();
        if let Some(known) = known {
            return response(200, known);
        }
        let answer = self.forward(head, body.clone()).await;
        let (head, answer) = answer.into_parts();
        let answer = to_bytes(answer, BODY_BYTES_MAX).await.unwrap_or_default();
        if head.status == 200 {
            self.refreshes.lock().unwrap().insert(body, answer.clone());
        }
        Response::from_parts(head, Body::from(answer))
    }
}

fn response(status: u16, body: Bytes) -> Response {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(body)).unwrap()
}
