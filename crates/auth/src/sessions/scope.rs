//! Scopes.

use crate::problem::Problem;

/// Returns the requested scope, which must be part of the session's scope. Without a request,
/// returns the whole scope.
pub fn narrow_scope(session_scope: &str, requested: Option<&str>) -> Result<String, Problem> {
    let Some(requested) = requested else { return Ok(session_scope.to_owned()) };
    let mut names: Vec<&str> = Vec::new();
    for name in requested.split(' ').filter(|name| !name.is_empty()) {
        if !session_scope.split(' ').any(|own| own == name) {
            return Err(Problem::ScopeInvalid);
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { Ok(session_scope.to_owned()) } else { Ok(names.join(" ")) }
}
