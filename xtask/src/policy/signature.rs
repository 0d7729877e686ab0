//! Signatures of tokens, verified by Node: xtask links no cryptography.

use crate::tools::Tools;
use crate::workspace::at;
use anyhow::{Context as _, Result, bail};
use portcullis_core::VerifyingKey;
use serde_json::json;
use std::io::Write as _;
use std::process::Stdio;

/// Returns whether a signature holds, or `None` if Node can't use the key.
pub fn verify(key: &VerifyingKey, signature: &[u8], input: &str) -> Result<Option<bool>> {
    let mut node = Tools::default().command("node");
    node.arg(at("xtask/src/policy/verify.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = node.spawn().context("--jwks needs Node; run `cargo xtask setup`")?;
    let request = json!({
        "algorithm": key.algorithm.name(),
        "jwk": key.jwk,
        "signature": signature,
        "input": input,
    });
    // The standard input ends when it is dropped.
    let mut stdin = node.stdin.take().context("Node has no standard input")?;
    stdin.write_all(request.to_string().as_bytes())?;
    drop(stdin);
    let output = node.wait_with_output()?;
    if !output.status.success() {
        bail!("Node can't verify the signature: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("Node's answer about the signature")
}
