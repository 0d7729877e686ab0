//! Sessions: login, refresh and logout at the auth service and at another provider.

mod login_behind_proxies;
mod login_throttling;
mod refresh;
mod server;
mod introspection;
mod login_throttling;
mod refresh;
mod revocation;
mod sessions;
mod third_party;
