//! Sessions: login, refresh and logout at the auth service and at another provider.

mod api_keys;
mod blocks;
pub mod clients;
mod console;
mod introspection;
mod login_behind_proxies;
mod login_throttling;
mod refresh;
mod revocation;
mod server;
mod sessions;
mod third_party;
mod users;
mod write_rates;
