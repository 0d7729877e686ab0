//! The checks before each request to the console's API. A new endpoint is behind them without a
//! line of its own: whatever is not GET or HEAD needs `console:act`, unless it is listed here.

use super::console_sessions::csrf_token;
use super::state::SharedConsole;
use crate::clock::now;
use crate::problem::Problem;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use portcullis_server::Connection;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// What a request needs.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Need {
    /// No session: a login.
    Nothing,
    /// A session.
    Session,
    /// A session that may act.
    Act,
}

/// Checks a request's origin, session, CSRF token, media type and scope, in this order. Handlers
/// find the operator among the request's extensions.
pub async fn guard(
    State(state): SharedConsole,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let need = need_of(&request);
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
    check_origin(request.headers(), &state.origin, is_safe)?;
    if need == Need::Nothing {
        return Ok(next.run(request).await);
    }
    let token = state.cookie.token(request.headers()).ok_or(Problem::SessionMissing)?.to_owned();
    let csrf = csrf_token(&token);
    let (parts, body) = request.into_parts();
    let client = state.app.clients.console_client_info(&parts);
    request = Request::from_parts(parts, body);
    let connection = request.extensions().get::<Connection>().cloned();
    let is_use = !(is_safe && is_background(&request));
    let console = Arc::clone(&state);
    let work = async move { console.sessions.authenticate(&token, client, is_use, now()).await };
    let operator = state.app.run("console", work).await?;
    // A stream of an operator does not give way to connections without a session.
    if let Some(connection) = connection {
        connection.authenticate();
    }
    if !is_safe {
        check_csrf(request.headers(), &csrf)?;
        // A logout has no body.
        let is_logout = need == Need::Session && *request.method() == Method::DELETE;
        if !is_logout && !is_json(request.headers()) {
            return Err(Problem::MediaTypeUnsupported);
        }
    }
    if need == Need::Act && !operator.may_act {
        return Err(Problem::ScopeInsufficient);
    }
    request.extensions_mut().insert(operator);
    Ok(next.run(request).await)
}

/// Returns what a request needs, by its method and its path below `/console/api`. The router
/// compares the same text.
fn need_of(request: &Request) -> Need {
    let path = request.uri().path();
    match *request.method() {
        Method::GET | Method::HEAD => Need::Session,
        Method::POST if path == "/session" => Need::Nothing,
        Method::DELETE if path == "/session" => Need::Session,
        Method::POST if is_explanation(path) => Need::Session,
        _ => Need::Act,
    }
}

/// Returns whether a page sends a request without its operator: a poll, or the stream, which
/// browsers open again by themselves. Such a request must not keep the session of an unattended
/// page alive.
fn is_background(request: &Request) -> bool {
    request.headers().get(BACKGROUND_HEADER).is_some_and(|value| value == "1")
        || request.uri().path() == "/now/events"
}

/// Returns whether a path is that of the explanation of a policy, which changes nothing.
fn is_explanation(path: &str) -> bool {
    let hash = path.strip_prefix("/policies/").and_then(|path| path.strip_suffix("/explain"));
    hash.is_some_and(|hash| !hash.contains('/'))
}

/// Checks that a page of the console sends the request. Browsers name the page's origin with every
/// unsafe request. With others they may say only that it is another one.
fn check_origin(headers: &HeaderMap, own: &str, is_safe: bool) -> Result<(), Problem> {
    let is_allowed = if is_safe {
        let site = headers.get("sec-fetch-site");
        site.is_none_or(|site| site == "same-origin" || site == "none")
    } else {
        is_only(headers, header::ORIGIN.as_str(), |origin| origin == own.as_bytes())
    };
    is_allowed.then_some(()).ok_or(Problem::OriginForbidden)
}

fn check_csrf(headers: &HeaderMap, expected: &str) -> Result<(), Problem> {
    let is_valid = is_only(headers, CSRF_HEADER, |token| token.ct_eq(expected.as_bytes()).into());
    is_valid.then_some(()).ok_or(Problem::CsrfInvalid)
}

/// Returns whether a header is there once, with a value that passes `check`.
fn is_only(headers: &HeaderMap, name: &str, check: impl Fn(&[u8]) -> bool) -> bool {
    let mut values = headers.get_all(name).iter();
    let first = values.next().is_some_and(|value| check(value.as_bytes()));
    first && values.next().is_none()
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// The header of polls, with the value 1.
const BACKGROUND_HEADER: &str = "x-background";
/// The header in which unsafe requests repeat the CSRF token of their session.
const CSRF_HEADER: &str = "x-csrf-token";
