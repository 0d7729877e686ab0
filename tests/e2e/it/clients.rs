//! Third-party clients, and this project's client for browsers.

mod oauth;
mod policy_tools;
mod tabs;
mod upstash;
