//! Absolute URLs, from settings and issuers' documents.

/// An absolute `http` or `https` URL without query, fragment and trailing slash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Parses a URL. Returns `None` if `text` is not one, or has a query.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = is_url(text) && !text.contains('?');
        plain.then(|| Self(text.trim_end_matches('/').to_owned()))
    }

    /// Returns the URL of `target`, which begins with a slash, below this one.
    pub fn join(&self, target: &str) -> String {
        format!("{}{target}", self.0)
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
    !host.is_empty() && plain && !text.contains(['#', '@', '\\', '"'])
}
