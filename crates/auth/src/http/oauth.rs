//! The OAuth 2.0 endpoints: token (RFC 6749 sections 4.4 and 6), revocation (RFC 7009),
//! introspection (RFC 7662), metadata (RFC 8414) and the key set (RFC 7517).

use super::body;
use super::client_auth::{ClientForm, client_credential};
use super::extract::{Client, DirectClient};
use super::response::{RefreshTokenIn, client_token_response, revocation_response, token_response};
use super::state::SharedState;
use crate::accounts::basic_credentials;
use crate::api_keys::is_api_key;
use crate::clients::ALGORITHM_NAMES;
use crate::clock::now;
use crate::problem::Problem;
use crate::token::{AccessClaims, token_hash};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Exchanges a refresh token (RFC 6749 section 6), or issues a token to a client that acts for
/// itself (section 4.4).
pub async fn token(
    State(state): SharedState,
    Client(client): Client,
    headers: HeaderMap,
    body: Body,
) -> Response {
    #[derive(Deserialize)]
    struct Form {
        grant_type: String,
        refresh_token: Option<String>,
        scope: Option<String>,
        client_id: Option<String>,
        client_secret: Option<String>,
        client_assertion_type: Option<String>,
        client_assertion: Option<String>,
    }
    let form: Form = match body::form(body).await {
        Ok(form) => form,
        Err(problem) => return problem.into_oauth_response(),
    };
    if form.grant_type == "client_credentials" {
        let own = ClientForm {
            client_id: form.client_id,
            client_secret: form.client_secret,
            client_assertion_type: form.client_assertion_type,
            client_assertion: form.client_assertion,
        };
        let app = Arc::clone(&state);
        let work = async move {
            let credential = client_credential(&headers, own)?;
            let scope = form.scope.as_deref();
            app.sessions.client_credentials(&credential, scope, &client, now()).await
        };
        return match state.run("client_credentials", work).await {
            Ok(token) => client_token_response(&token),
            Err(problem) => problem.into_oauth_response(),
        };
    }
    if form.grant_type != "refresh_token" {
        return Problem::GrantTypeUnsupported.into_oauth_response();
    }
    let Some(token) = form.refresh_token else {
        return Problem::RequestMalformed.into_oauth_response();
    };
    let app = Arc::clone(&state);
    let work = async move {
        let (scope, client_id) = (form.scope.as_deref(), form.client_id.as_deref());
        app.sessions.refresh(&token, scope, client_id, &client, now()).await
    };
    match state.run("refresh", work).await {
        Ok(tokens) => token_response(tokens, RefreshTokenIn::Body),
        Err(problem) => problem.into_oauth_response(),
    }
}

/// Revokes a token (RFC 7009). Clients are public: possession of a token is enough. An unknown
/// token is not an error.
pub async fn revoke(State(state): SharedState, Client(client): Client, body: Body) -> Response {
    #[derive(Deserialize)]
    struct Form {
        token: String,
        client_id: Option<String>,
    }
    let form: Form = match body::form(body).await {
        Ok(form) => form,
        Err(problem) => return problem.into_oauth_response(),
    };
    let app = Arc::clone(&state);
    let work = async move {
        if is_api_key(&form.token) {
            return app.api_keys.revoke_secret(&form.token, &client, now()).await;
        }
        app.sessions.revoke(&form.token, form.client_id.as_deref(), &client, now()).await
    };
    match state.run("revoke", work).await {
        Ok(delivery) => revocation_response(delivery, StatusCode::OK),
        Err(problem) => problem.into_oauth_response(),
    }
}

/// The claims of an active token.
#[derive(Serialize)]
#[serde(untagged)]
enum Claims {
    AccessToken(AccessClaims),
    ApiKey(Map<String, Value>),
}

/// Introspects an access token or an API key (RFC 7662) for an authenticated client. Refresh tokens
/// are inactive.
pub async fn introspect(
    State(state): SharedState,
    DirectClient(client): DirectClient,
    headers: HeaderMap,
    body: Body,
) -> Response {
    #[derive(Deserialize)]
    struct Form {
        #[serde(default)]
        token: String,
        #[serde(default)]
        client_id: String,
        #[serde(default)]
        client_secret: String,
    }
    let form: Form = match body::form(body).await {
        Ok(form) => form,
        Err(problem) => return problem.into_oauth_response(),
    };
    let field = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credentials = match field {
        Some(field) => basic_credentials(field),
        None => Some((form.client_id, form.client_secret)),
    };
    let app = Arc::clone(&state);
    let work = async move {
        app.sessions.authenticate_client(credentials, &client, now()).await?;
        if form.token.is_empty() {
            return Err(Problem::RequestMalformed);
        }
        if is_api_key(&form.token) {
            let claims = app.api_keys.introspect(&form.token, now()).await?;
            return Ok(claims.map(Claims::ApiKey));
        }
        let claims = app.sessions.introspect(&form.token, now()).await?;
        Ok(claims.map(Claims::AccessToken))
    };
    #[derive(Serialize)]
    struct Active {
        active: bool,
        token_type: &'static str,
        #[serde(flatten)]
        claims: Claims,
    }
    let answer = match state.run("introspect", work).await {
        Ok(Some(claims)) => {
            Json(Active { active: true, token_type: "Bearer", claims }).into_response()
        }
        Ok(None) => Json(json!({ "active": false })).into_response(),
        Err(problem) => return problem.into_oauth_response(),
    };
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

/// Returns the key set (RFC 7517). It rarely changes, so caches revalidate it by its ETag.
pub async fn jwks(State(state): SharedState, headers: HeaderMap) -> Response {
    let body = state.sessions.keys().key_set().jwks().to_string();
    let tag = format!("\"{}\"", token_hash(&body));
    let fields = [
        (header::CONTENT_TYPE, "application/jwk-set+json".to_owned()),
        (header::CACHE_CONTROL, "public, max-age=300".to_owned()),
        (header::ETAG, tag.clone()),
    ];
    let cached = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_cached = cached.is_some_and(|tags| tags.split(',').any(|own| own.trim() == tag));
    match is_cached {
        true => (StatusCode::NOT_MODIFIED, fields).into_response(),
        false => (fields, body).into_response(),
    }
}

/// Returns the metadata (RFC 8414).
pub async fn metadata(State(state): SharedState) -> Response {
    let issuer = &state.sessions.config().store.issuer;
    let body = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth/token"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "revocation_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint": format!("{issuer}/oauth/introspect"),
        "introspection_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post"],
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials", "refresh_token"],
        "token_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHM_NAMES,
    });
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(body)).into_response()
}
