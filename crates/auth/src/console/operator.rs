//! The operator of a request, as handlers extract it. The guard has checked the request before.

use super::state::ConsoleState;
use crate::audit::{ClientInfo, ConsoleAction};
use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
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

/// The operator of a request that reads.
pub struct Reader(pub Operator);

/// The operator of a request that changes something.
pub struct Actor(pub Operator);

impl FromRequestParts<Arc<ConsoleState>> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ConsoleState>) -> Result<Self, Problem> {
        operator(parts).map(Self)
    }
}

impl FromRequestParts<Arc<ConsoleState>> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ConsoleState>) -> Result<Self, Problem> {
        let operator = operator(parts)?;
        // The guard checks the origin of unsafe requests alone.
        let is_allowed = operator.may_act && !parts.method.is_safe();
        is_allowed.then_some(Self(operator)).ok_or(Problem::ScopeInsufficient)
    }
}

/// Returns the operator that the guard has found.
fn operator(parts: &Parts) -> Result<Operator, Problem> {
    parts.extensions.get::<Operator>().cloned().ok_or(Problem::SessionMissing)
}

const REASON_CHARACTERS_MAX: usize = 200;
