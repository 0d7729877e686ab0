//! Requests to the endpoints that the edge serves operators itself.

use crate::policy::Policy;
use crate::refusal::Denial;
use crate::request::head::RequestHead;

/// A request to an endpoint for operators.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OperatorRequest {
    /// How the edge is.
    Health,
    /// The counters of all edges.
    Metrics,
}

impl Policy {
    /// Returns which endpoint for operators a request is for; `None` if it is for none of them.
    ///
    /// # Errors
    ///
    /// [`Denial::MetricsTokenInvalid`] for one without the token that the endpoint needs.
    pub fn operator_request(
        &self,
        head: &RequestHead<'_>,
    ) -> Result<Option<OperatorRequest>, Denial> {
        if !matches!(head.method(), "GET" | "HEAD") {
            return Ok(None);
        }
        let own = &self.operator_endpoints;
        if own.health_path.as_deref() == Some(head.path()) {
            return Ok(Some(OperatorRequest::Health));
        }
        let Some((_, token)) = own.metrics.as_ref().filter(|(path, _)| path == head.path()) else {
            return Ok(None);
        };
        let field = head.header("authorization").unwrap_or_default();
        let (scheme, presented) = field.split_once(' ').unwrap_or_default();
        if scheme.eq_ignore_ascii_case("bearer") && token.equals(presented.trim_matches(' ')) {
            return Ok(Some(OperatorRequest::Metrics));
        }
        Err(Denial::MetricsTokenInvalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::{error_names, policy, policy_with};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const TOKEN: &str = "0123456789abcdef";
    const SECTIONS: [(&str, &str); 4] = [
        ("health.path", "/healthz"),
        ("metrics.path", "/metrics"),
        ("metrics.interval_seconds", "10"),
        ("METRICS_TOKEN", TOKEN),
    ];

    #[test]
    fn operators_endpoints_are_off_by_default_and_exact() {
        let with = policy_with(&SECTIONS);
        let get = |policy: &Policy, method: &str, path: &str, field: &str| {
            let url = format!("https://a.example{path}");
            let fields = vec![("authorization", field)];
            policy.operator_request(&RequestHead::new(method, &url, fields))
        };
        let health = Ok(Some(OperatorRequest::Health));
        assert_eq!(get(&with, "GET", "/healthz", ""), health);
        assert_eq!(get(&with, "HEAD", "/healthz?x", ""), health);
        let others =
            [("POST", "/healthz"), ("GET", "/healthz/"), ("GET", "/Healthz"), ("GET", "/")];
        for (method, path) in others {
            assert_eq!(get(&with, method, path, ""), Ok(None), "{method} {path}");
        }
        for path in ["/healthz", "/metrics"] {
            assert_eq!(get(&policy(), "GET", path, ""), Ok(None), "{path}");
        }
        let good = format!("bearer  {TOKEN} ");
        assert_eq!(get(&with, "GET", "/metrics", &good), Ok(Some(OperatorRequest::Metrics)));
        let longer = format!("Bearer {TOKEN}0");
        for wrong in ["", "Bearer", "Bearer ", TOKEN, "Bearer 0123456789abcdeF", &longer] {
            let refused = get(&with, "GET", "/metrics", wrong);
            assert_eq!(refused, Err(Denial::MetricsTokenInvalid), "{wrong}");
        }
        let basic = format!("Basic {TOKEN}");
        assert!(get(&with, "HEAD", "/metrics", &basic).is_err());
    }

    #[test]
    fn path_must_be_plain_and_the_token_long() {
        let errors =
            |changes: &[(&str, &str)]| error_names(&[changes, &SECTIONS, changes].concat());
        assert!(errors(&[]).is_empty());
        let long = format!("/{}", "a".repeat(128));
        for path in
            ["", "/", "healthz", "/a b", "/a//b", "/a/../b", "/.well-known/x", "/a?b", "/*", &long]
        {
            assert_eq!(errors(&[("health.path", path)]), ["health.path"], "{path}");
            assert_eq!(errors(&[("metrics.path", path)]), ["metrics.path"], "{path}");
        }
        assert_eq!(errors(&[("metrics.path", "/healthz")]), ["metrics.path"]);
        assert_eq!(errors(&[("metrics.interval_seconds", "0")]), ["metrics.path"]);
        assert_eq!(errors(&[("METRICS_TOKEN", "0123456789abcde")]), ["METRICS_TOKEN"]);
        assert_eq!(errors(&[("METRICS_TOKEN", "0123456789 abcdef")]), ["METRICS_TOKEN"]);
        assert_eq!(errors(&[("METRICS_TOKEN", " ")]), ["METRICS_TOKEN"]);
    }
}
