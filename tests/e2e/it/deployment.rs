//! Images, compose file and manifests, as far as they can be tried without a container runtime.

mod compose;
mod images;
mod kubernetes;
