//! The challenge of a refusal: the field `WWW-Authenticate`.

use super::well_known::metadata_url;
use crate::policy::Policy;
use crate::policy::route::Route;
use crate::refusal::status::Challenge;
use crate::refusal::{Denial, Refusal};

impl Policy {
    /// Returns the challenge of a refusal on a route (RFC 6750 section 3). It names the route's
    /// scope, the login that it requires (RFC 9470 section 3), and the URL of the API's metadata
    /// (RFC 9728 section 5.1). Returns `None` if the refusal is not about a token.
    pub fn challenge(&self, refusal: Refusal, route: Option<&Route>) -> Option<String> {
        let (status, _, challenge) = refusal.status_and_challenge();
        let mut parameters = match challenge {
            Challenge::Bare => Vec::new(),
            Challenge::Error(error) => {
                vec![("error", error.to_owned()), ("error_description", refusal.to_string())]
            }
            Challenge::None => return None,
        };
        // A malformed request (400) says nothing about the token.
        if let Some(route) = route.filter(|_| status != 400) {
            let is_login =
                matches!(refusal, Refusal::Denied(Denial::InsufficientUserAuthentication(_)));
            if is_login && !route.acr_values.is_empty() {
                parameters.push(("acr_values", route.acr_values.join(" ")));
            }
            if let Some(seconds) = route.max_age_seconds.filter(|_| is_login) {
                parameters.push(("max_age", seconds.to_string()));
            }
            let scope = route.challenge_scope();
            if !scope.is_empty() {
                parameters.push(("scope", scope));
            }
        }
        if let Some(resource) = self.resource_url(route) {
            parameters.push(("resource_metadata", metadata_url(resource)));
        }
        let mut text = "Bearer".to_owned();
        for (at, (name, value)) in parameters.iter().enumerate() {
            for part in [if at == 0 { " " } else { ", " }, name, "=\""] {
                text.push_str(part);
            }
            text.extend(value.chars().map(|c| if is_quotable(c) { c } else { '\'' }));
            text.push('"');
        }
        Some(text)
    }
}

/// Returns whether a character may stand in a quoted parameter as it is (RFC 6750 section 3).
fn is_quotable(c: char) -> bool {
    matches!(c, ' '..='~') && c != '"' && c != '\\'
}

#[cfg(test)]
mod tests;
