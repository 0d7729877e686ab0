//! The operator of a request, as handlers extract it. The guard has checked the request before.

use super::operator::Operator;
use super::state::ConsoleState;
use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::sync::Arc;

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
