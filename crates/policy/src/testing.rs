//! Runs commands on files that exist only in a test.

pub(crate) mod base;
pub(crate) mod members;

use crate::command::{Outcome, run};
use portcullis_core::{Algorithm, VerifyingKey};

/// The time of all tests.
pub(crate) const NOW_SECONDS: u64 = 1_800_000_000;

/// A policy with a route of each kind.
pub(crate) const POLICY: &str = r#"
[store]
url = "https://store.example"

[upstream]
url = "https://upstream.example"

[auth]
url = "https://auth.example"

[[issuers]]
issuer = "https://issuer.example"
audience = "api"
algorithms = ["EdDSA"]
jwks_url = "https://issuer.example/jwks"
introspection = { url = "https://issuer.example/i", client_id = "e", client_secret_variable = "S" }

[[routes]]
name = "login"
path = "/auth/login"
access = "auth"
limit = { quota = 10, window_seconds = 60, by = "address" }

[[routes]]
name = "admin"
path = "/api/admin/*"
access = "protected"
scopes = ["admin"]
suffixes = "same"

[[routes]]
name = "api"
path = "/api/*"
access = "protected"
on_store_outage = "introspect"
limit = { quota = 5, window_seconds = 60, by = "subject" }

[[routes]]
name = "public"
path = "/public/*"
access = "public"
methods = ["GET"]
"#;

/// Runs a command line on these files.
pub(crate) fn run_on(files: &[(&str, &str)], line: &str) -> Outcome {
    let read = |path: &str| {
        let file = files.iter().find(|(name, _)| *name == path);
        file.map(|(_, text)| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
    };
    let arguments: Vec<String> =
        format!("portcullis {line}").split_whitespace().map(str::to_owned).collect();
    run(&arguments, &read, &verify, NOW_SECONDS, false)
}

/// Stands for the platform: the signature of a text is its length, and no platform has P-521.
fn verify(key: &VerifyingKey, signature: &[u8], input: &str) -> Result<Option<bool>, String> {
    match key.algorithm {
        Algorithm::Es512 => Ok(None),
        Algorithm::Es384 => Err("the platform is broken".to_owned()),
        _ => Ok(Some(signature == input.len().to_string().as_bytes())),
    }
}
