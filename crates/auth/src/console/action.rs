//! The body of a request that changes something.

use super::extract::Actor;
use super::operator::Reason;
use super::state::ConsoleState;
use crate::audit::ClientInfo;
use crate::http::body;
use crate::problem::Problem;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A request that changes something: the client with which services audit it, the operator among
/// its members, and the members of its body beyond `reason`.
pub struct Action<T> {
    pub client: ClientInfo,
    pub body: T,
}

impl<T: DeserializeOwned> FromRequest<Arc<ConsoleState>> for Action<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<ConsoleState>) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let Actor(operator) = Actor::from_request_parts(&mut parts, state).await?;
        let mut members: Map<String, Value> = body::json(&parts.headers, body).await?;
        let reason = members.remove("reason");
        let client = operator.author(Reason::parse(reason.as_ref())?);
        let body = serde_json::from_value(Value::Object(members));
        let body = body.map_err(|_| Problem::RequestMalformed)?;
        Ok(Self { client, body })
    }
}
