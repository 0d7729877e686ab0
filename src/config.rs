//! The configuration of an isolate.

use crate::platform::environment::{Dataset, Environment, RateLimiter};
use crate::platform::log::{Level, Line};
use portcullis_core::{ConfigError, Policy};
use std::cell::RefCell;

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
pub struct StoredSecrets(Vec<(String, Option<String>)>);

impl Config {
    /// Reads the policy of a gate with its variables and these secrets, and logs all its errors or
    /// warnings.
    ///
    /// Secrets that are bound by the Secrets Store and that were not read yet are no errors: the
    /// policy is `None` until they are read.
    pub fn load(gate: u32, mut stored_secrets: StoredSecrets) -> Self {
        let environment = Environment::of(gate);
        let policy = parse(&Environment::policy_of(gate), &environment, &mut stored_secrets);
        let policy = match policy {
            // Without an optional secret the policy would be valid, and mean less.
            _ if stored_secrets.is_incomplete() => None,
            Ok(policy) if has_unbound(&policy, &environment) => None,
            Ok(policy) => {
                warn(&policy);
                Some(&*Box::leak(Box::new(policy)))
            }
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
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Returns whether the policy takes no secret from such a binding.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a secret was not read yet.
    pub fn is_incomplete(&self) -> bool {
        self.0.iter().any(|(_, text)| text.is_none())
    }
}

/// Parses the policy. Adds to `stored_secrets` the bindings that the policy takes a secret from.
fn parse(
    policy: &str,
    environment: &Environment,
    stored_secrets: &mut StoredSecrets,
) -> Result<Policy, Vec<ConfigError>> {
    let stored = RefCell::new(stored_secrets);
    let lookup = |name: &str| {
        environment.variable(name).or_else(|| {
            // The kinds of bindings look alike, so that only the name tells a secret.
            let mut stored = stored.borrow_mut();
            if let Some((_, text)) = stored.0.iter().find(|(own, _)| own == name) {
                return text.clone();
            }
            if environment.has_binding(name) {
                stored.0.push((name.to_owned(), None));
            }
            None
        })
    };
    Policy::parse_named(policy, &environment.variables(), lookup)
}

/// Returns whether the policy names bindings that the Worker does not have, and logs those.
fn has_unbound(policy: &Policy, environment: &Environment) -> bool {
    let faults: Vec<String> = policy
        .bindings()
        .into_iter()
        .filter(|(_, name)| !environment.can_fetch(name))
        .map(|(place, name)| {
            format!("{place}: the Worker has no binding {name} that can fetch; add it to wrangler's configuration")
        })
        .collect();
    if !faults.is_empty() {
        log_faults(&faults);
    }
    !faults.is_empty()
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
