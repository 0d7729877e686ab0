//! The variables and bindings of the Worker.

use super::bindings;
use super::executor::{PLATFORM_MS_MAX, TaskPort};
use super::protocol::DataPoint;
use wasm_bindgen::JsValue;

/// All variables, secrets and bindings of a gate.
pub struct Environment(JsValue);

impl Environment {
    /// Reads the environment of the gate with this number.
    pub fn of(gate: u32) -> Self {
        Self(bindings::environment(gate))
    }

    /// Returns the policy of a gate, as JSON.
    pub fn policy_of(gate: u32) -> String {
        bindings::policy(gate)
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

    /// Returns whether something other than a plain variable or a secret is bound to `name`.
    pub fn has_binding(&self, name: &str) -> bool {
        bindings::binding(&self.0, name).is_some()
    }

    /// Returns whether requests can be sent to the binding `name`.
    pub fn can_fetch(&self, name: &str) -> bool {
        bindings::can_fetch(&self.0, name)
    }

    /// Reads the secrets of Secrets Store bindings; `None` stands for each that cannot be read in
    /// time.
    pub async fn read_secrets(
        &self,
        port: &TaskPort,
        names: &[String],
        within_ms: u32,
    ) -> Vec<Option<String>> {
        let promise = bindings::read_secrets(&self.0, &names.join("\n"), within_ms);
        let texts = port.settle(&promise, within_ms).await.unwrap_or_default();
        (0..names.len()).map(|at| bindings::text_at(&texts, at)).collect()
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
