//! The tests' shared helpers: the system, single servers, and servers that misbehave on demand.

pub mod auth_service;
pub mod authority;
pub mod chance;
pub mod edge;
pub mod environment;
pub mod gateway;
pub mod http;
pub mod images;
pub mod issuer;
pub mod load;
pub mod memcached;
pub mod npm_project;
pub mod own_workerd;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod rate_limit;
pub mod redis_server;
pub mod sandbox;
pub mod sentinel;
pub mod signer;
pub mod silent;
pub mod socket;
pub mod stack;
pub mod tcp_proxy;
pub mod yaml;
