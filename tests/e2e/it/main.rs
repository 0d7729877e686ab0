//! End-to-end tests: workerd, Redis, the redis gateway, the auth service and an upstream, each a
//! real process. A folder for each subject, a file for each promise; `tests/README.md` lists them.
//! `support` starts what they run against.

mod auth;
mod clients;
mod console;
mod deployment;
mod edge;
mod redis_gateway;
mod resilience;
mod security;
mod support;
