//! The query of a request's URL, for endpoints that return lists.

use crate::problem::Problem;
use axum::http::Uri;
use serde::de::DeserializeOwned;

/// Reads the parameters of a query. Rejects unknown and repeated ones.
pub fn read<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    serde_urlencoded::from_str(uri.query().unwrap_or_default()).map_err(|_| {
        Problem::QueryInvalid("the query has an unknown, repeated or malformed parameter")
    })
}

/// Returns the most items of a page.
pub fn limit(limit: Option<u32>) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(100);
    let is_valid = (1..=1000).contains(&limit);
    is_valid.then_some(limit).ok_or(Problem::QueryInvalid("limit must be 1 to 1000"))
}

/// The problem of a cursor that this service did not make.
pub const CURSOR_INVALID: Problem =
    Problem::QueryInvalid("after must be the member next of the page before");
