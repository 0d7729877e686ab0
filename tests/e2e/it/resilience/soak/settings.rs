//! Settings of the system that its clients depend on, too.

use crate::support::issuer::Issuer;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The prefix of API keys.
pub const KEY_PREFIX: &str = "pck_live_";

/// The header that takes keys at two of the routes.
pub const KEY_HEADER: &str = "X-API-Key";

/// The URLs of the two APIs that have tokens of their own.
pub const ORDERS: &str = "https://soak.example/orders";
pub const FILES: &str = "https://soak.example/files";

/// The limit of an address: so many requests at once, and as many again in each window.
pub const GUEST_QUOTA: usize = 10;
pub const GUEST_WINDOW_SECONDS: usize = 10;

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
