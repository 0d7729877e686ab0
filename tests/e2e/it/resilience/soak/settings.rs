//! Settings of the system that its clients depend on, too.

use crate::support::issuer::Issuer;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The prefix of API keys.
pub const KEY_PREFIX: &str = "pck_live_";

/// The header that takes keys at two of the routes.
pub const KEY_HEADER: &str = "X-API-Key";

/// How many seconds old the list of blocked networks may be in an isolate.
pub const BLOCK_REFRESH_SECONDS: u64 = 5;

/// The URLs of the two APIs that have tokens of their own.
pub const ORDERS: &str = "https://soak.example/orders";
pub const FILES: &str = "https://soak.example/files";

/// The limit of an address: so many requests at once, and as many again in each window.
pub const GUEST_QUOTA: usize = 10;
pub const GUEST_WINDOW_SECONDS: usize = 10;

/// The limit of credits, and the one with other quotas for single callers: so many requests at
/// once, and as many again in each window.
pub const PAID: &str = "paid";
pub const CUSTOM: &str = "custom";
pub const CUSTOM_QUOTA: u64 = 10;
pub const CUSTOM_WINDOW_SECONDS: u64 = 10;
pub const RAISED_QUOTA: u64 = 30;

/// A key that no issuer has, and its name.
pub static FORGER: LazyLock<Issuer> = LazyLock::new(Issuer::new);
pub const FORGED_KEY: &str = "forger";

/// Returns the guests' limit for the edge's policy, with this quota.
pub fn guest_limit(quota: usize) -> Value {
    json!({
        "name": "guests", "quota": quota, "window_seconds": GUEST_WINDOW_SECONDS, "by": "address",
        "timing": "exact", "on_store_outage": "deny",
    })
}

/// Returns the limit of credits for the edge's policy.
pub fn paid_limit() -> Value {
    json!({ "name": PAID, "algorithm": "credits", "by": "subject", "on_store_outage": "deny" })
}

/// Returns the limit with other quotas for the edge's policy, with this quota.
pub fn custom_limit(quota: u64) -> Value {
    json!({
        "name": CUSTOM, "quota": quota, "window_seconds": CUSTOM_WINDOW_SECONDS, "by": "subject",
        "overrides": true, "timing": "exact", "on_store_outage": "deny",
    })
}
