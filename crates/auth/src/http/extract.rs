//! Extractors of the endpoints.

use super::state::AppState;
use crate::audit::ClientInfo;
use crate::clock::now;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::convert::Infallible;
use std::sync::Arc;

/// The client of a request, by the statements that this server trusts.
pub struct Client(pub ClientInfo);

impl FromRequestParts<Arc<AppState>> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<AppState>,
    ) -> Result<Self, Infallible> {
        Ok(Self(state.clients.client_info(parts, now())))
    }
}

/// The client that sent the request directly, for the introspection endpoint.
pub struct DirectClient(pub ClientInfo);

impl FromRequestParts<Arc<AppState>> for DirectClient {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<AppState>,
    ) -> Result<Self, Infallible> {
        Ok(Self(state.clients.direct_client_info(parts)))
    }
}
