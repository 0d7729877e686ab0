//! Request bodies: bounded in length and time.

use crate::problem::Problem;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A JSON body. The media type is required: a form on a foreign page can't send it unasked.
pub async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::MediaTypeUnsupported);
    }
    serde_json::from_slice(&read(body).await?).map_err(|_| Problem::RequestMalformed)
}

/// The same, where there may be none.
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

/// A form (RFC 6749 appendix B). No parameter may come twice.
pub async fn form<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let bytes = read(body).await?;
    serde_urlencoded::from_bytes(&bytes).map_err(|_| Problem::RequestMalformed)
}

async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    match tokio::time::timeout(BODY_WAIT_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(bytes) => bytes.map(Vec::from).map_err(|_| Problem::BodyTooLarge),
        Err(_) => Err(Problem::BodyTooSlow),
    }
}

const BODY_WAIT_MAX: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 16 * 1024;
