//! Clients of other authors, and the one for browsers.

mod oauth;
mod policy_tools;
mod tabs;
mod tutorial;
mod upstash;
