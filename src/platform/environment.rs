//! The variables and bindings of the Worker.

use super::bindings;
use super::executor::{PLATFORM_MS_MAX, TaskPort};
use super::protocol::DataPoint;
use wasm_bindgen::JsValue;

/// All variables, secrets and bindings.
pub struct Environment(JsValue);

impl Environment {
    /// Reads the environment of the Worker.
    pub fn read() -> Self {
        Self(bindings::environment())
    }

    /// Returns the policy that the Worker was built with, as JSON.
    pub fn policy() -> String {
        bindings::policy()
    }

    /// Returns the names of all plain variables and secrets.
    pub fn variables(&self) -> Vec<String> {
        let names = bindings::names(&self.0);
        let is_variable = |name: &&str| self.variable(name).is_some();
        names.split('\n').filter(is_variable).map(str::to_owned).collect()
    }

    /// Returns a plain variable or a secret.
    pub fn variable(&self, name: &str) -> Option<String> {
        bindings::variable(&self.0, name)
    }

    /// Returns the rate limiter that is bound to `name`.
    pub fn rate_limiter(&self, name: &str) -> Option<RateLimiter> {
        bindings::binding(&self.0, name).map(RateLimiter)
    }

    /// Returns the data set of Workers Analytics Engine that is bound to `name`.
    pub fn dataset(&self, name: &str) -> Option<Dataset> {
        bindings::binding(&self.0, name).map(Dataset)
    }
}

/// The platform's rate limiter, which the isolates of one location share.
pub struct RateLimiter(JsValue);

impl RateLimiter {
    /// Returns whether the limiter admits one more call; `None` if it fails or does not respond in
    /// time.
    pub async fn admits(&self, port: &TaskPort, key: &str) -> Option<bool> {
        port.settle(&bindings::limit(&self.0, key), PLATFORM_MS_MAX).await.ok()?.as_bool()
    }
}

/// A data set of Workers Analytics Engine.
pub struct Dataset(JsValue);

impl Dataset {
    /// Writes one data point. A point with a line break in a text is dropped.
    pub fn write(&self, point: &DataPoint<'_>) {
        if let Ok(point) = point.encode() {
            bindings::write_point(&self.0, &point);
        }
    }
}
