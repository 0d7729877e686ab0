//! The values that a change was made from.

use crate::problem::Problem;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The values that members had when the caller read them, by their names. A change of members that
/// have others by now is refused, so that one operator does not undo
/// another's change unawares.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Was(Map<String, Value>);

impl Was {
    /// Compares with what is changed, as endpoints show it. A missing member is `null`.
    ///
    /// # Errors
    ///
    /// [`Problem::ChangedMeanwhile`] if a member has another value.
    pub fn check(&self, shown: &Value) -> Result<(), Problem> {
        let shown = |name: &String| shown.get(name).unwrap_or(&Value::Null);
        match self.0.iter().all(|(name, value)| shown(name) == value) {
            true => Ok(()),
            false => Err(Problem::ChangedMeanwhile),
        }
    }
}
