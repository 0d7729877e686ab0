//! Clients of other authors, and the one for browsers.

mod examples;
mod oauth;
mod policy_tools;
mod tabs;
mod upstash;
