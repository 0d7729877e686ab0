//! The configuration of an isolate.

use crate::platform::environment::{Dataset, Environment, RateLimiter};
use crate::platform::log::{Level, Line};
use portcullis_core::Policy;

/// The policy and the bindings of an isolate. They never change while it lives.
pub struct Config {
    /// `None` if the configuration is invalid.
    pub policy: Option<&'static Policy>,
    /// The platform's rate limiter, if one is bound.
    pub local_limiter: Option<RateLimiter>,
    /// Workers Analytics Engine, if it is bound.
    pub analytics: Option<Dataset>,
}

impl Config {
    /// Reads the policy with the Worker's variables, and logs all its errors or warnings.
    ///
    /// The policy is leaked, because it lives as long as the isolate.
    pub fn load() -> Self {
        let environment = Environment::read();
        let names = environment.variables();
        let lookup = |name: &str| environment.variable(name);
        let policy = match Policy::parse_named(&Environment::policy(), &names, lookup) {
            Ok(policy) => {
                warn(&policy);
                Some(&*Box::leak(Box::new(policy)))
            }
            Err(errors) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Line::new(Level::Error, "configuration_invalid")
                    .value("faults", &errors.into())
                    .write();
                None
            }
        };
        Self {
            policy,
            local_limiter: environment.rate_limiter("LOCAL_LIMITER"),
            analytics: environment.dataset("ANALYTICS"),
        }
    }
}

/// Logs the configuration's warnings in one line, if there are any.
fn warn(policy: &Policy) {
    let warnings: Vec<String> = policy.open_warnings().map(ToString::to_string).collect();
    if warnings.is_empty() {
        return;
    }
    Line::new(Level::Warn, "configuration_warning").value("warnings", &warnings.into()).write();
}
