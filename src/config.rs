//! The configuration of an isolate.

use crate::platform::environment::{Dataset, Environment, RateLimiter};
use crate::platform::log::{Level, Line};
use portcullis_core::{ConfigError, Policy};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The policy and the bindings of an isolate. They never change while it lives.
pub struct Config {
    /// `None` if the configuration is invalid, or if its secrets were not read yet.
    pub policy: Option<&'static Policy>,
    /// The platform's rate limiter, if one is bound.
    pub local_limiter: Option<RateLimiter>,
    /// Workers Analytics Engine, if it is bound.
    pub analytics: Option<Dataset>,
    /// The secrets that the policy takes from Secrets Store bindings.
    pub stored_secrets: StoredSecrets,
}

/// Secrets of Secrets Store bindings by their names; `None` stands for each that was not read yet.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct StoredSecrets(BTreeMap<String, Option<String>>);

impl Config {
    /// Reads the policy with the Worker's variables and these secrets, and logs all its errors or
    /// warnings.
    ///
    /// Secrets that are bound by the Secrets Store and that were not read yet are no errors: the
    /// policy is `None` until they are read.
    pub fn load(mut stored_secrets: StoredSecrets) -> Self {
        let environment = Environment::read();
        let policy = parse(&environment, &mut stored_secrets);
        let policy = match policy {
            Ok(policy) => {
                warn(&policy);
                Some(&*Box::leak(Box::new(policy)))
            }
            Err(_) if stored_secrets.is_incomplete() => None,
            Err(errors) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                log_faults(&errors);
                None
            }
        };
        Self {
            policy,
            local_limiter: environment.rate_limiter("LOCAL_LIMITER"),
            analytics: environment.dataset("ANALYTICS"),
            stored_secrets,
        }
    }
}

impl StoredSecrets {
    /// Returns secrets that were read; the texts stand in the order of the names.
    pub fn new(names: Vec<String>, texts: Vec<String>) -> Self {
        Self(names.into_iter().zip(texts.into_iter().map(Some)).collect())
    }

    /// Returns the names of the bindings.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Returns whether the policy takes no secret from such a binding.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a secret was not read yet.
    pub fn is_incomplete(&self) -> bool {
        self.0.values().any(Option::is_none)
    }
}

/// Parses the policy. Adds to `stored_secrets` the bindings that the policy takes a secret from.
fn parse(
    environment: &Environment,
    stored_secrets: &mut StoredSecrets,
) -> Result<Policy, Vec<ConfigError>> {
    let stored = RefCell::new(stored_secrets);
    let lookup = |name: &str| {
        environment.variable(name).or_else(|| {
            // The kinds of bindings look alike, so that only the name tells a secret.
            let mut stored = stored.borrow_mut();
            if !stored.0.contains_key(name) && environment.has_binding(name) {
                stored.0.insert(name.to_owned(), None);
            }
            stored.0.get(name).cloned().flatten()
        })
    };
    Policy::parse_named(&Environment::policy(), &environment.variables(), lookup)
}

/// Logs why the configuration cannot be used.
pub fn log_faults(faults: &[String]) {
    Line::new(Level::Error, "configuration_invalid").value("faults", &faults.into()).write();
}

/// Logs the configuration's warnings in one line, if there are any.
fn warn(policy: &Policy) {
    let warnings: Vec<String> = policy.open_warnings().map(ToString::to_string).collect();
    if warnings.is_empty() {
        return;
    }
    Line::new(Level::Warn, "configuration_warning").value("warnings", &warnings.into()).write();
}
