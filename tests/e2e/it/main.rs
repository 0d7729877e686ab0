//! The whole system, tried as its users do: workerd, Redis, gateway, auth service and an upstream, each a real
//! process. A file per behaviour; `stack.rs` brings the system up, `servers.rs` single servers, `load.rs` asks much of them, `issuer.rs`
//! is a foreign issuer, `provider.rs` a server that misbehaves on demand.

mod algorithms;
mod attempts;
mod bounds;
mod breakers;
mod browsers;
mod clients;
mod clusters;
mod crashes;
mod deploy;
mod entry;
mod faults;
mod forwarding;
mod gateway;
mod hostile;
mod issuer;
mod keys;
mod limit_script;
mod limits;
mod load;
mod memcached;
mod opaque;
mod outages;
mod provider;
mod proxy;
mod refresh;
mod refusals;
mod revocation;
mod sealing;
mod servers;
mod sessions;
mod stack;
mod store;
mod storm;
mod tabs;
mod third_party;
mod tokens;
mod topologies;
mod vectors;
