//! The whole system on this machine: Redis, redis gateway, auth service, upstream and the Worker.
//! Each is a process with its own loopback port.

mod build;
mod facts;
mod local;
mod plan;
mod run;
mod start;
mod worker;

pub use crate::process::Servers;
pub use build::{Binaries, build, prepare};
pub use local::{loopback, random_text, record_encryption_key};
pub use plan::{Database, Engine, OPERATOR, Plan, USERNAME, VIEWER};
pub use run::{Options, run};
pub use start::{start, start_backends};
pub use worker::write_policy;
