//! What a policy file means, before it is live: `check` finds its errors and risks, `explain` says
//! what happens to a request, and `diff` says what a change allows. All three run the edge's own
//! code.
//!
//! The crate does no I/O. A host gives it the files, and prints what it returns.
//!
//! ```
//! let policy = r#"
//!     store = { url = "https://store.example" }
//!     upstream = { url = "https://upstream.example" }
//!
//!     [[issuers]]
//!     issuer = "https://issuer.example"
//!     audience = "api"
//!     algorithms = ["EdDSA"]
//!     jwks_url = "https://issuer.example/jwks"
//!
//!     [[routes]]
//!     name = "api"
//!     path = "/api/*"
//!     access = "protected"
//!     timeout_ms = 0
//! "#;
//! let read = |path: &str| match path {
//!     "portcullis.toml" => Ok(policy.to_owned()),
//!     _ => Err("no such file".to_owned()),
//! };
//! let words = ["portcullis", "check"].map(str::to_owned);
//! // Only `explain --jwks` verifies signatures.
//! let verify = |_: &_, _: &_, _: &_| Ok(None);
//! let outcome = portcullis_policy::run(&words, &read, &verify, 1_700_000_000, false);
//! assert_eq!(outcome.status, 1);
//! assert!(outcome.text.contains("routes[0].timeout_ms (route api): must be a whole number"));
//! ```

mod build;
mod check;
mod command;
mod diff;
mod explain;
mod file;
mod members;
mod risk;
#[cfg(test)]
mod round_trip;
mod routes;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod testing;

pub use build::worker_module;
pub use command::{Host, Outcome, Verify, run};
pub use explain::{ExplainError, Explanation, Question, explain_document};
pub use file::{module, sections};
pub use members::{described_place, descriptions, message};
pub use routes::{RouteSummary, routes};
