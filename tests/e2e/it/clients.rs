//! Third-party clients, and this project's client for browsers.

mod assertions;
mod examples;
mod gate_library;
mod mcp;
mod npm_package;
mod oauth;
mod policy_tools;
mod providers;
mod release;
mod rust_worker;
mod service_binding;
mod shells;
mod tabs;
mod tutorial;
mod upstash;
