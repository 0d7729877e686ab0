//! The holder of a request's access token, for endpoints that require a scope.

use super::headers::bearer;
use super::state::AppState;
use crate::audit::ClientInfo;
use crate::clock::now;
use crate::problem::Problem;
use crate::token::AccessClaims;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::sync::Arc;

/// The holder of an active access token.
pub struct Caller {
    pub claims: AccessClaims,
    pub client: ClientInfo,
}

impl Caller {
    /// Returns whether the token's scope contains `scope`.
    pub fn has(&self, scope: &str) -> bool {
        self.claims.scope.split(' ').any(|own| own == scope)
    }

    /// Checks that the token's scope contains `scope`.
    ///
    /// # Errors
    ///
    /// [`Problem::ScopeInsufficient`] if it does not.
    pub fn require(&self, scope: &str) -> Result<(), Problem> {
        self.has(scope).then_some(()).ok_or(Problem::ScopeInsufficient)
    }
}

impl FromRequestParts<Arc<AppState>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AppState>) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).ok_or(Problem::CredentialsMissing)?;
        let now = now();
        let client = state.clients.client_info(parts, now);
        let app = Arc::clone(state);
        let is_change = !parts.method.is_safe();
        let work = async move {
            let claims = app.sessions.authenticate(&token, now).await?;
            if is_change {
                app.write_rates.count(&claims.sub)?;
            }
            Ok(claims)
        };
        let claims = state.run("authenticate", work).await?;
        Ok(Self { claims, client })
    }
}
