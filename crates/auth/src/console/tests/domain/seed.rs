//! Rows for tests of lists: many of them, written in bulk.

use crate::console::tests::harness::TestConsole;
use crate::db::Db;
use std::fmt::Write as _;

/// Runs an INSERT of `count` rows, whose values `row` returns, some hundred at once.
pub async fn insert(db: &Db, head: &str, count: usize, row: impl Fn(usize) -> String) {
    for start in (0..count).step_by(400) {
        let mut statement = format!("{head} VALUES ");
        for place in start..count.min(start + 400) {
            let comma = if place > start { ", " } else { "" };
            let _ = write!(statement, "{comma}({})", row(place));
        }
        db.query_number(&format!("{statement} RETURNING 1")).await.unwrap();
    }
}

/// Adds users with these names.
pub async fn users(console: &TestConsole, count: usize, name: impl Fn(usize) -> String) {
    let head = "INSERT INTO users (id, username, password_hash, scope, created_at)";
    let row = |n: usize| format!("'u{n}', '{}', 'x', 'read', {}", name(n), 1_000_000 + n);
    insert(&console.db, head, count, row).await;
}

/// Adds sessions, of which every tenth has ended.
pub async fn sessions(console: &TestConsole, count: usize, user: impl Fn(usize) -> String) {
    let now = crate::clock::now().0;
    let head = "INSERT INTO sessions (id, user_id, client_id, scope, created_at, expires_at,
         refreshed_at, device, address, country, revoked_at, revoked_why)";
    let row = |n: usize| {
        let ended = if n.is_multiple_of(10) { "1500000000, 'logout'" } else { "NULL, NULL" };
        format!(
            "'s{n}', '{}', 'web', 'read', {}, {}, {now}, 'device', '192.0.2.{}', 'DE', {ended}",
            user(n),
            now - 5000 + n as u64 / 4,
            now + 10_000,
            n % 250,
        )
    };
    insert(&console.db, head, count, row).await;
}

/// Adds security events.
pub async fn audit(console: &TestConsole, count: usize) {
    let now = crate::clock::now().0;
    let head = "INSERT INTO audit (id, at, event, actor, user_id, session_id, address, device,
         request_id, detail, by_user_id, reason)";
    let row = |n: usize| {
        let event = if n.is_multiple_of(1000) { "key_rotated" } else { "login" };
        let (actor, by) = match n.is_multiple_of(5000) {
            true => ("operator", "'u1'"),
            false => ("user", "NULL"),
        };
        format!(
            "'a{n}', {}, '{event}', '{actor}', 'u{}', 's{}', '198.51.100.{}', 'agent', \
             'request-{n}', 'detail {n}', {by}, ''",
            now - 100_000 + n as u64,
            n % 1000,
            n % 1000,
            n % 250,
        )
    };
    insert(&console.db, head, count, row).await;
}
