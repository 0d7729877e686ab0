//! wrangler.toml, which tells Cloudflare of the Worker.

use crate::workspace::root;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Returns this workspace's wrangler.toml.
pub fn wrangler_toml() -> Result<Value> {
    wrangler_toml_of(root())
}

/// Returns the wrangler.toml of a folder.
pub fn wrangler_toml_of(project: &Path) -> Result<Value> {
    let file = project.join("wrangler.toml");
    let text =
        fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
    toml::from_str(&text).with_context(|| file.display().to_string())
}
