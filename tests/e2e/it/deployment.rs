//! Images, compose file and manifests, as far as they can be tried without a container runtime, and
//! what watches a running system.

mod compose;
mod images;
mod kubernetes;
mod monitoring;
mod telemetry;
