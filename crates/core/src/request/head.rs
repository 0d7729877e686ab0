//! A request's method, target and header fields, as the host passes them.

use super::location::Location;

/// The head of a request. Field names are lower-case, as in HTTP/2 and the Fetch standard. Several
/// fields with the same name are joined by `", "`.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    method: &'a str,
    url: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    location: Location,
}

impl<'a> RequestHead<'a> {
    /// Creates a head from its parts. `url` is absolute.
    pub fn new(method: &'a str, url: &'a str, headers: Vec<(&'a str, &'a str)>) -> Self {
        Self { method, url, headers, location: Location::default() }
    }

    /// Parses lines: method, URL, then names and values in turn. No part can contain a line break
    /// in HTTP, so nothing is escaped. Returns `None` if the URL or the value of a name is missing.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut lines = text.split('\n');
        let (method, url) = (lines.next()?, lines.next()?);
        let mut headers = Vec::with_capacity(24);
        while let Some(name) = lines.next() {
            headers.push((name, lines.next()?));
        }
        Some(Self::new(method, url, headers))
    }

    /// Sets the client's location, as the platform states it. By default it is unknown.
    pub fn set_location(&mut self, location: Location) {
        self.location = location;
    }

    /// Returns the client's location.
    pub fn location(&self) -> Location {
        self.location
    }

    /// Returns the method, as sent.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// Returns all header fields, in the host's order.
    pub fn headers(&self) -> &[(&'a str, &'a str)] {
        &self.headers
    }

    /// Returns the value of the field `name`, which is in lower case, or `None` if there is none.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    /// Returns whether the fields announce a body (RFC 9112 section 6).
    pub fn announces_body(&self) -> bool {
        self.header("transfer-encoding").is_some()
            || self.header("content-length").is_some_and(|length| length.trim() != "0")
    }

    /// Returns the path without query and fragment, or `/` if the URL has none.
    pub fn path(&self) -> &'a str {
        let target = self.target();
        match until(target, b"?#") {
            Some("") => "/",
            Some(path) => path,
            None => target,
        }
    }

    /// Returns the path and the query, as an upstream receives them.
    pub fn target(&self) -> &'a str {
        let rest = self.after_scheme();
        until(rest, b"/?#").and_then(|host| rest.get(host.len()..)).unwrap_or("/")
    }

    /// Returns the host, with its port if there is one.
    pub fn host(&self) -> &'a str {
        let rest = self.after_scheme();
        until(rest, b"/?#").unwrap_or(rest)
    }

    /// Returns `http` or `https`.
    pub fn scheme(&self) -> &'a str {
        if self.url.starts_with("http://") { "http" } else { "https" }
    }

    fn after_scheme(&self) -> &'a str {
        self.url.split_once("://").map_or(self.url, |(_, rest)| rest)
    }
}

/// Returns what is before the first of these ASCII characters; `None` if there is none of them.
/// Bytes are compared, because each request asks several times.
fn until<'a>(text: &'a str, ends: &[u8]) -> Option<&'a str> {
    text.get(..text.bytes().position(|byte| ends.contains(&byte))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn url_is_split_into_host_path_and_target() {
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
    fn head_is_parsed_from_lines() {
        let head = RequestHead::parse(
            "POST\nhttps://a.example/x\naccept\n*/*\ncf-connecting-ip\n2001:db8::1",
        )
        .unwrap();
        assert_eq!(head.method(), "POST");
        assert_eq!(head.header("accept"), Some("*/*"));
        assert_eq!(head.header("absent"), None);
        for incomplete in ["POST", "POST\nhttps://a.example/x\naccept"] {
            assert!(RequestHead::parse(incomplete).is_none(), "{incomplete}");
        }
    }
}
