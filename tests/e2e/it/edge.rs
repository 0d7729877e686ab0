//! The Worker: forwarding, routes, limits, key sets, introspection and its store.

mod access_log;
mod bindings;
mod browsers;
mod configuration;
mod departures;
mod entry;
mod events;
mod explained;
mod forwarding;
mod http_semantics;
mod introspection;
mod issuers;
mod key_sets;
mod limit_script;
mod limits;
mod memcached;
mod optional;
mod paths;
mod resources;
mod revocation;
mod routes;
mod secrets_store;
mod step_up;
mod store;
mod streams;
mod timeouts;
