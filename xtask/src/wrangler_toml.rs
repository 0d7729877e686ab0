//! wrangler.toml, the Worker's settings for Cloudflare.

use crate::workspace::at;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;

/// Returns wrangler.toml.
pub fn wrangler_toml() -> Result<Value> {
    let text = fs::read_to_string(at("wrangler.toml")).context("can't read wrangler.toml")?;
    toml::from_str(&text).context("wrangler.toml")
}
