//! Absolute URLs, from settings and issuers' documents.

/// An absolute `http` or `https` URL without query, fragment and trailing slash. The name of a
/// binding may come before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Parses a URL. Returns `None` if `text` is not one, or has a query.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = is_url(text) && !text.contains('?');
        plain.then(|| Self(text.trim_end_matches('/').to_owned()))
    }

    /// Parses a URL, or one that is reached by a binding.
    pub(crate) fn parse_or_binding(text: &str) -> Option<Self> {
        let text = url_or_binding(text)?;
        let plain = !text.contains('?');
        plain.then(|| Self(text.trim_end_matches('/').to_owned()))
    }

    /// Returns the URL of `target`, which begins with a slash, below this one.
    pub fn join(&self, target: &str) -> String {
        format!("{}{target}", self.0)
    }

    /// Returns whether the URL ends with its host and port.
    pub(crate) fn has_no_path(&self) -> bool {
        self.0.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'))
    }

    /// Returns the URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether `text` is an absolute `http` or `https` URL with a host, without user or
/// fragment.
pub(crate) fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    let plain = text.bytes().all(|b| b.is_ascii_graphic());
    // In a path, `@` is a letter like others.
    !host.is_empty() && !host.contains('@') && plain && !text.contains(['#', '\\', '"'])
}

/// Returns a URL as it is, and one of a binding in its long form. Returns `None` if `text` is
/// neither.
pub(crate) fn url_or_binding(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix(BINDING) else {
        return is_url(text).then(|| text.to_owned());
    };
    let end = rest.find(['/', ' ']).unwrap_or(rest.len());
    let (name, rest) = rest.split_at_checked(end)?;
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let url = match rest.strip_prefix(' ') {
        Some(url) => url.to_owned(),
        None => format!("https://{}.binding{rest}", name.to_ascii_lowercase().replace('_', "-")),
    };
    (named && is_url(&url)).then(|| format!("{BINDING}{name} {url}"))
}

/// Returns the name of the binding that a URL is reached by.
pub(crate) fn binding(url: &str) -> Option<&str> {
    url.strip_prefix(BINDING)?.split(' ').next()
}

const BINDING: &str = "binding:";

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn binding_stands_before_a_url() {
        fn check(text: &str, expect: Option<&str>) {
            assert_eq!(url_or_binding(text).as_deref(), expect, "{text}");
        }
        check("https://a.example/x", Some("https://a.example/x"));
        check("https://a.example/x@y", Some("https://a.example/x@y"));
        for user in
            ["https://u@a.example", "https://u:p@a.example/", "https://a.example@b.example/x"]
        {
            check(user, None);
        }
        check("binding:API", Some("binding:API https://api.binding"));
        check("binding:MY_API/v1", Some("binding:MY_API https://my-api.binding/v1"));
        check("binding:A https://a.example/x", Some("binding:A https://a.example/x"));
        for wrong in [
            "binding:",
            "binding:/x",
            "binding:a-b",
            "binding:A a.example",
            "binding:A  http://a",
            "a",
        ] {
            check(wrong, None);
        }
        let base = BaseUrl::parse_or_binding("binding:API/v1/").unwrap();
        assert_eq!(base.join("/x?y"), "binding:API https://api.binding/v1/x?y");
        assert_eq!(binding(base.as_str()), Some("API"));
        assert_eq!(binding("https://a.example"), None);
        assert_eq!(BaseUrl::parse_or_binding("binding:API/v1?x"), None);
        assert_eq!(BaseUrl::parse("binding:API"), None);
    }
}
