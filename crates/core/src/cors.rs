//! Cross-origin requests (the Fetch standard, section 3.3): which pages may read an answer. A preflight has
//! no token by design, so the edge answers it itself, from the policy.

use crate::policy::{ConfigErrorKind, ObjectReader};
use crate::request::syntax::{is_method, is_origin, is_token};
use crate::request::head::RequestHead;

/// Which pages may call, and what they may send and read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cors {
    /// Origins as browsers send them, or `*` alone.
    pub origins: Vec<String>,
    /// Methods that pages may use.
    pub methods: Vec<String>,
    /// Header fields that pages may send.
    pub headers: Vec<String>,
    /// Header fields of the answer that pages may read.
    pub expose: Vec<String>,
    /// Whether cookies travel along.
    pub credentials: bool,
    /// For how long a browser may remember the answer to a preflight.
    pub max_age_seconds: u32,
}

/// Header fields, by name and value.
pub type Fields = Vec<(&'static str, String)>;

impl Cors {
    /// `CORS`, or the `cors` of a route.
    pub(crate) fn read(mut given: ObjectReader<'_, '_>) -> Self {
        given.need(&["origins"]);
        let origins = given.texts("origins");
        if origins.as_ref().is_some_and(Vec::is_empty) {
            given.report("origins", ConfigErrorKind::Empty);
        }
        let cors = Self {
            origins: origins.unwrap_or_default(),
            methods: given.texts("methods").unwrap_or_else(|| owned(&METHODS)),
            headers: given.texts("headers").unwrap_or_else(|| owned(&HEADERS)),
            expose: given.texts("expose").unwrap_or_else(|| owned(&EXPOSE)),
            credentials: given.flag("credentials"),
            max_age_seconds: given.number("max_age_seconds", 0, 86_400).unwrap_or(MAX_AGE_SECONDS),
        };
        if cors.origins != ["*"] && !cors.origins.iter().all(|origin| is_origin(origin)) {
            given.report("origins", ConfigErrorKind::NotAnOrigin);
        }
        if !cors.methods.iter().all(|method| is_method(method)) {
            given.report("methods", ConfigErrorKind::NotAMethod);
        }
        for (list, names) in [("headers", &cors.headers), ("expose", &cors.expose)] {
            if !names.iter().all(|name| is_token(name) && name != "*") {
                given.report(list, ConfigErrorKind::NotAField);
            }
        }
        if cors.credentials && cors.is_for_all() {
            given.report("credentials", ConfigErrorKind::CredentialsForAll);
        }
        cors
    }

    /// Whether `origin` itself is named; `*` names nobody.
    pub(crate) fn names(&self, origin: &str) -> bool {
        origin != "*" && self.origins.iter().any(|named| named == origin)
    }

    pub(crate) fn is_for_all(&self) -> bool {
        self.origins.iter().any(|named| named == "*")
    }

    /// The fields of an answer to `head`.
    pub fn fields(&self, head: &RequestHead<'_>) -> Fields {
        let mut fields = self.permission(head);
        if fields.iter().any(|(name, _)| *name == ALLOW_ORIGIN) && !self.expose.is_empty() {
            fields.push(("access-control-expose-headers", self.expose.join(", ")));
        }
        fields
    }

    /// The fields of the answer to a preflight.
    pub(crate) fn preflight(&self, head: &RequestHead<'_>) -> Fields {
        let mut fields = self.permission(head);
        if fields.iter().any(|(name, _)| *name == ALLOW_ORIGIN) {
            fields.push(("access-control-allow-methods", self.methods.join(", ")));
            fields.push(("access-control-allow-headers", self.headers.join(", ")));
            fields.push(("access-control-max-age", self.max_age_seconds.to_string()));
        }
        fields
    }

    /// Who may read. Where that depends on who asks, caches are told so, also when nobody asks.
    fn permission(&self, head: &RequestHead<'_>) -> Fields {
        if self.is_for_all() {
            return vec![(ALLOW_ORIGIN, "*".to_owned())];
        }
        let mut fields = vec![("vary", "Origin".to_owned())];
        if let Some(origin) = head.header("origin").filter(|origin| self.names(origin)) {
            fields.push((ALLOW_ORIGIN, origin.to_owned()));
            if self.credentials {
                fields.push(("access-control-allow-credentials", "true".to_owned()));
            }
        }
        fields
    }

    #[cfg(test)]
    pub(crate) fn of(origins: &[&str]) -> Self {
        Self {
            origins: owned(origins),
            methods: owned(&METHODS),
            headers: owned(&HEADERS),
            expose: owned(&EXPOSE),
            credentials: false,
            max_age_seconds: MAX_AGE_SECONDS,
        }
    }
}

/// The method that a preflight asks for; none if the request is no preflight.
pub(crate) fn asked_method<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    let asks = head.method() == "OPTIONS" && head.header("origin").is_some();
    head.header("access-control-request-method").filter(|_| asks)
}

const ALLOW_ORIGIN: &str = "access-control-allow-origin";

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const HEADERS: [&str; 2] = ["Authorization", "Content-Type"];
const EXPOSE: [&str; 3] = ["WWW-Authenticate", "Retry-After", "X-Request-Id"];
const MAX_AGE_SECONDS: u32 = 600;

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn shown(fields: Fields) -> String {
        let lines: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        lines.join("\n")
    }

    #[test]
    fn a_named_origin_may_read() {
        let mut cors = Cors::of(&["https://app.example"]);
        let check = |cors: &Cors, origin: Option<&str>, expect: &str| {
            let headers = origin.map(|origin| ("origin", origin)).into_iter().collect();
            let head = RequestHead::new("GET", "https://a.example/", headers);
            assert_eq!(shown(cors.fields(&head)), expect, "{origin:?}");
        };
        let exposed = "access-control-expose-headers: WWW-Authenticate, Retry-After, X-Request-Id";
        let allowed = "vary: Origin\naccess-control-allow-origin: https://app.example";
        check(&cors, Some("https://app.example"), &format!("{allowed}\n{exposed}"));
        for other in ["https://app.example.evil.example", "http://app.example", "null", "*", ""] {
            check(&cors, Some(other), "vary: Origin");
        }
        check(&cors, None, "vary: Origin");
        cors.credentials = true;
        let credentials = "access-control-allow-credentials: true";
        check(&cors, Some("https://app.example"), &format!("{allowed}\n{credentials}\n{exposed}"));
        let all = format!("access-control-allow-origin: *\n{exposed}");
        check(&Cors::of(&["*"]), Some("https://x.example"), &all);
        check(&Cors::of(&["*"]), None, &all);
    }

    #[test]
    fn a_preflight_is_told_what_it_may() {
        let head = |method, headers| RequestHead::new(method, "https://a.example/", headers);
        let cors = Cors::of(&["https://app.example"]);
        let asks = vec![
            ("origin", "https://app.example"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization"),
        ];
        let preflight = head("OPTIONS", asks.clone());
        assert_eq!(asked_method(&preflight), Some("PUT"));
        assert_eq!(asked_method(&head("GET", asks.clone())), None);
        assert_eq!(asked_method(&head("OPTIONS", asks[..1].to_vec())), None);
        assert_eq!(asked_method(&head("OPTIONS", asks[1..].to_vec())), None);
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
