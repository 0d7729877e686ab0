//! The operator of a request, and the reason of an action.

use crate::audit::{ClientInfo, ConsoleAction};
use crate::problem::Problem;
use serde_json::Value;
use std::sync::Arc;

/// The user of a session in the console.
#[derive(Clone, Debug)]
pub struct Operator {
    pub user_id: String,
    pub username: String,
    /// Whether the user's scope has `console:act`.
    pub may_act: bool,
    pub client: ClientInfo,
    /// The hash of the session's cookie.
    pub session_hash: String,
    pub ends_at: u64,
}

impl Operator {
    /// Returns the client of an action, by which the audit knows the operator and the reason.
    pub fn author(&self, reason: Reason) -> ClientInfo {
        let action = ConsoleAction { user_id: self.user_id.clone(), reason: reason.0 };
        ClientInfo { action: Some(Arc::new(action)), ..self.client.clone() }
    }
}

/// The reason of an action: 1 to 200 characters, none of them a control character.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason(String);

impl Reason {
    /// Parses the member `reason` of a body.
    ///
    /// # Errors
    ///
    /// [`Problem::ReasonMissing`] if there is none, or it is out of bounds.
    pub fn parse(reason: Option<&Value>) -> Result<Self, Problem> {
        let reason = reason.and_then(Value::as_str).unwrap_or_default().trim();
        let is_valid = (1..=REASON_CHARACTERS_MAX).contains(&reason.chars().count())
            && !reason.chars().any(char::is_control);
        is_valid.then(|| Self(reason.to_owned())).ok_or(Problem::ReasonMissing)
    }
}

const REASON_CHARACTERS_MAX: usize = 200;
