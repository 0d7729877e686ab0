//! Request bodies, bounded in size and time.

use crate::problem::Problem;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Reads a JSON body. Requires the media type, because a form on another site's page can't send it
/// without a preflight.
pub async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    if !is_media_type(headers, "application/json") {
        return Err(Problem::MediaTypeUnsupported);
    }
    serde_json::from_slice(&read(body).await?).map_err(|_| Problem::RequestMalformed)
}

/// Reads a merge patch (RFC 7396), which may also be sent as plain JSON.
pub async fn merge_patch<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    if !is_media_type(headers, "application/merge-patch+json") {
        return json(headers, body).await;
    }
    serde_json::from_slice(&read(body).await?).map_err(|_| Problem::RequestMalformed)
}

fn is_media_type(headers: &HeaderMap, expected: &str) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case(expected)
}

/// Reads a JSON body, or returns the default if the body is empty.
pub async fn optional_json<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    if headers.contains_key(header::CONTENT_TYPE) {
        return json(headers, body).await;
    }
    match read(body).await?.is_empty() {
        true => Ok(T::default()),
        false => Err(Problem::MediaTypeUnsupported),
    }
}

/// Reads a form (RFC 6749 appendix B). Repeated parameters are rejected, and empty ones count as
/// omitted (section 3.2).
pub async fn form<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let bytes = read(body).await?;
    let has_value = |pair: &&[u8]| {
        let value = pair.iter().position(|b| *b == b'=').and_then(|at| pair.get(at + 1..));
        value.is_some_and(|value| !value.is_empty())
    };
    let pairs: Vec<&[u8]> = bytes.split(|b| *b == b'&').filter(has_value).collect();
    serde_urlencoded::from_bytes(&pairs.join(&b'&')).map_err(|_| Problem::RequestMalformed)
}

async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(bytes) => bytes.map(Vec::from).map_err(|_| Problem::BodyTooLarge),
        Err(_) => Err(Problem::BodyTooSlow),
    }
}

const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 16 * 1024;
