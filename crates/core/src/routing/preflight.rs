//! The header fields of cross-origin responses. Preflights never have a token, so the edge answers
//! them itself.

use crate::policy::cors::Cors;
use crate::request::head::RequestHead;

/// Header fields, by name and value.
pub type Fields = Vec<(&'static str, String)>;

/// Returns the method that a preflight announces; `None` if the request is not a preflight.
pub(crate) fn requested_method<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    let preflight = head.method() == "OPTIONS" && head.header("origin").is_some();
    head.header("access-control-request-method").filter(|_| preflight)
}

impl Cors {
    /// Returns the fields of a response to `head`.
    pub fn fields(&self, head: &RequestHead<'_>) -> Fields {
        let mut fields = self.permission(head);
        if fields.iter().any(|(name, _)| *name == ALLOW_ORIGIN) && !self.expose.is_empty() {
            fields.push(("access-control-expose-headers", self.expose.join(", ")));
        }
        fields
    }

    /// Returns the fields of the response to a preflight.
    pub(crate) fn preflight(&self, head: &RequestHead<'_>) -> Fields {
        let mut fields = self.permission(head);
        if fields.iter().any(|(name, _)| *name == ALLOW_ORIGIN) {
            fields.push(("access-control-allow-methods", self.methods.join(", ")));
            fields.push(("access-control-allow-headers", self.headers.join(", ")));
            fields.push(("access-control-max-age", self.max_age_seconds.to_string()));
        }
        fields
    }

    /// Returns the fields that permit reading. If they depend on the origin, `Vary` tells caches
    /// so, even for a request without an origin.
    fn permission(&self, head: &RequestHead<'_>) -> Fields {
        if self.allows_all() {
            return vec![(ALLOW_ORIGIN, "*".to_owned())];
        }
        let mut fields = vec![("vary", "Origin".to_owned())];
        if let Some(origin) = head.header("origin").filter(|origin| self.lists(origin)) {
            fields.push((ALLOW_ORIGIN, origin.to_owned()));
            if self.credentials {
                fields.push(("access-control-allow-credentials", "true".to_owned()));
            }
        }
        fields
    }
}

const ALLOW_ORIGIN: &str = "access-control-allow-origin";

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn cors(origin: &str) -> Cors {
        Cors { origins: vec![origin.to_owned()], ..Cors::default() }
    }

    fn shown(fields: Fields) -> String {
        let lines: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        lines.join("\n")
    }

    #[test]
    fn response_permits_reading_to_listed_origins_only() {
        let mut listed = cors("https://app.example");
        let check = |cors: &Cors, origin: Option<&str>, expect: &str| {
            let headers = origin.map(|origin| ("origin", origin)).into_iter().collect();
            let head = RequestHead::new("GET", "https://a.example/", headers);
            assert_eq!(shown(cors.fields(&head)), expect, "{origin:?}");
        };
        let exposed = "access-control-expose-headers: WWW-Authenticate, Retry-After, X-Request-Id";
        let allowed = "vary: Origin\naccess-control-allow-origin: https://app.example";
        check(&listed, Some("https://app.example"), &format!("{allowed}\n{exposed}"));
        for other in ["https://app.example.evil.example", "http://app.example", "null", "*", ""] {
            check(&listed, Some(other), "vary: Origin");
        }
        check(&listed, None, "vary: Origin");
        listed.credentials = true;
        let credentials = "access-control-allow-credentials: true";
        let expect = format!("{allowed}\n{credentials}\n{exposed}");
        check(&listed, Some("https://app.example"), &expect);
        let all = format!("access-control-allow-origin: *\n{exposed}");
        check(&cors("*"), Some("https://x.example"), &all);
        check(&cors("*"), None, &all);
    }

    #[test]
    fn preflight_response_lists_methods_and_headers() {
        let head = |method, headers| RequestHead::new(method, "https://a.example/", headers);
        let cors = cors("https://app.example");
        let fields = vec![
            ("origin", "https://app.example"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization"),
        ];
        let preflight = head("OPTIONS", fields.clone());
        assert_eq!(requested_method(&preflight), Some("PUT"));
        assert_eq!(requested_method(&head("GET", fields.clone())), None);
        assert_eq!(requested_method(&head("OPTIONS", fields[..1].to_vec())), None);
        assert_eq!(requested_method(&head("OPTIONS", fields[1..].to_vec())), None);
        assert_eq!(
            shown(cors.preflight(&preflight)),
            "vary: Origin\n\
             access-control-allow-origin: https://app.example\n\
             access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE\n\
             access-control-allow-headers: Authorization, Content-Type\n\
             access-control-max-age: 600"
        );
        let foreign = head("OPTIONS", vec![("origin", "https://evil.example")]);
        assert_eq!(shown(cors.preflight(&foreign)), "vary: Origin");
    }
}
