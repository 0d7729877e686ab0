//! A request's head as the policy sees it, read from the flat text in which a host hands it over.

/// Method, target and header fields of a request. Names are lower-case, as HTTP/2 and the Fetch
/// standard have them; several fields of one name were joined by `", "`.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    method: &'a str,
    url: &'a str,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> RequestHead<'a> {
    /// A head of its parts. `url` is absolute.
    pub fn new(method: &'a str, url: &'a str, headers: Vec<(&'a str, &'a str)>) -> Self {
        Self { method, url, headers }
    }

    /// Reads lines: method, URL, then name and value in turn. Neither part can hold a line break in
    /// HTTP, so nothing is escaped.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut lines = text.split('\n');
        let (method, url) = (lines.next()?, lines.next()?);
        let mut headers = Vec::with_capacity(24);
        while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
            headers.push((name, value));
        }
        Some(Self { method, url, headers })
    }

    /// The request method, as sent.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// All header fields, in the order of the host.
    pub fn headers(&self) -> &[(&'a str, &'a str)] {
        &self.headers
    }

    /// The value of the field `name`, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    /// Whether a body is to come, as far as the fields say.
    pub fn announces_body(&self) -> bool {
        self.header("transfer-encoding").is_some()
            || self.header("content-length").is_some_and(|length| length.trim() != "0")
    }

    /// The path, without query and fragment; `/` if the URL has none.
    pub fn path(&self) -> &'a str {
        let target = self.target();
        let end = target.find(['?', '#']).unwrap_or(target.len());
        match target.get(..end) {
            Some("") | None => "/",
            Some(path) => path,
        }
    }

    /// The path and the query, as an upstream receives them.
    pub fn target(&self) -> &'a str {
        let rest = self.after_scheme();
        rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or("/")
    }

    /// The host, with its port where there is one.
    pub fn host(&self) -> &'a str {
        let rest = self.after_scheme();
        rest.find(['/', '?', '#']).and_then(|at| rest.get(..at)).unwrap_or(rest)
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'a str {
        if self.url.starts_with("http://") { "http" } else { "https" }
    }

    fn after_scheme(&self) -> &'a str {
        self.url.split_once("://").map_or(self.url, |(_, rest)| rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_url_is_taken_apart() {
        fn check(url: &str, host: &str, path: &str, target: &str) {
            let head = RequestHead::new("GET", url, vec![]);
            assert_eq!((head.host(), head.path(), head.target()), (host, path, target), "{url}");
        }
        check("https://a.example/x/y?q=1", "a.example", "/x/y", "/x/y?q=1");
        check("http://127.0.0.1:8787/", "127.0.0.1:8787", "/", "/");
        check("http://a.example", "a.example", "/", "/");
        check("http://a.example?x=/y", "a.example", "/", "?x=/y");
        check(
            "https://a.example/x?next=http://b.example/",
            "a.example",
            "/x",
            "/x?next=http://b.example/",
        );
    }

    #[test]
    fn a_flat_head_is_read() {
        let head = RequestHead::parse(
            "POST\nhttps://a.example/x\naccept\n*/*\ncf-connecting-ip\n2001:db8::1",
        )
        .unwrap();
        assert_eq!(head.method(), "POST");
        assert_eq!(head.header("accept"), Some("*/*"));
        assert_eq!(head.header("absent"), None);
        assert!(RequestHead::parse("POST").is_none());
    }
}
