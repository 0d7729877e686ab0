//! Clients of other authors, and the one for browsers.

mod tabs;
mod upstash;
