//! wrangler.toml, which tells Cloudflare of the Worker.

use crate::workspace::at;
use anyhow::Result;
use serde_json::Value;
use std::fs;

/// Returns wrangler.toml.
pub fn wrangler_toml() -> Result<Value> {
    let text = fs::read_to_string(at("wrangler.toml"))?;
    Ok(toml::from_str(&text)?)
}
