//! Tests of the endpoints for users, sessions, keys, clients, signing keys, usage, audit, limits
//! and policies.

mod access;
mod actions;
mod exports;
mod lists;
mod policies;
mod seed;
mod sizes;
mod store;

use super::harness::{Browser, TestConsole};
use crate::config::Config;
use crate::testing::{TestService, on_each_database};
use serde_json::Value;
use store::FakeStore;

/// Runs a test on each database with a console, an operator who may act, and a store.
async fn on_each(test: impl AsyncFn(TestConsole, Browser, FakeStore)) {
    let fake = FakeStore::default();
    let url = fake.serve().await;
    let change = |config: &mut Config| {
        config.store.url = url.clone();
        config.refresh_idle_seconds = 10_000_000;
        config.refresh_token_seconds = 10_000_000;
    };
    on_each_database(change, async |service: TestService| {
        fake.clear();
        let console = TestConsole::open(service);
        let browser = console.browser("operator", "console:read console:act").await;
        test(console, browser, fake.clone()).await;
    })
    .await;
}

/// Returns one member of each item of a list.
fn column(list: &Value, name: &str) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| match &item[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect()
}

/// Fetches JSON, which must be there.
async fn get(console: &TestConsole, browser: &Browser, path: &str) -> Value {
    let reply = console.get(browser, &format!("/console/api{path}")).await;
    reply.assert(200, "");
    reply.json()
}

/// Sends an action with a reason. It must end with this status.
async fn act(
    console: &TestConsole,
    browser: &Browser,
    (method, path): (&str, &str),
    mut body: Value,
    status: u16,
) -> Value {
    body["reason"] = "ticket 7".into();
    let reply = console.call(browser, method, &format!("/console/api{path}"), &body).await;
    assert_eq!(reply.status.as_u16(), status, "{method} {path}: {}", reply.text);
    reply.json()
}

/// Follows the cursors of a list, and returns one member of all items.
async fn all(console: &TestConsole, browser: &Browser, path: &str, name: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let sign = if path.contains('?') { '&' } else { '?' };
        let page = get(console, browser, &format!("{path}{sign}after={next}")).await;
        seen.extend(column(&page, name));
        match page["next"].as_str() {
            Some(cursor) => next = cursor.to_owned(),
            None => return seen,
        }
    }
}
