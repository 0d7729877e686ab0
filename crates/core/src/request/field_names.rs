//! Names of header fields that have a meaning to HTTP, to proxies or to the edge.

/// The prefix of the identity fields' names, unless the policy names them otherwise.
pub(crate) const IDENTITY_PREFIX: &str = "portcullis-";

/// Fields that concern only one connection (RFC 9110 section 7.6.1, and older proxies' fields).
pub(crate) const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields, without their `x-`, that a client could forge. Proxies state the client's address or
/// user in them, or servers read another path, method or scheme from them than the checked one.
/// WSGI servers serve another path by `script-name` and `path-info`, CGI programs send their own
/// requests through `proxy`, and Rack sends another file by the last two.
pub(crate) const SPOOFABLE: [&str; 25] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-ip",
    "cluster-client-ip",
    "fastly-client-ip",
    "forwarded",
    "http-method",
    "http-method-override",
    "method-override",
    "original-host",
    "original-uri",
    "original-url",
    "path-info",
    "proxy",
    "real-ip",
    REMOTE_USER,
    "request-id",
    "rewrite-url",
    "scheme",
    "script-name",
    "true-client-ip",
    "url-scheme",
    "accel-mapping",
    "sendfile-type",
];

/// A field in which many upstreams expect the user, so that the policy may name it.
const REMOTE_USER: &str = "remote-user";

/// Returns whether the policy may use this name for one of the edge's fields. Names that HTTP, a
/// proxy or the edge already uses are not available.
pub(crate) fn is_available(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let bare = name.strip_prefix("x-").unwrap_or(name);
    (1..=64).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !HOP_BY_HOP.contains(&name)
        && (!SPOOFABLE.contains(&bare) || bare == REMOTE_USER)
        && !["accept", "access-", "content-", "forwarded-", "if-", "sec-", "trace"]
            .iter()
            .any(|taken| bare.starts_with(taken))
        && !STANDARD.contains(&name)
}

/// Fields of requests and responses that have a standard meaning.
const STANDARD: [&str; 20] = [
    "age",
    "allow",
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "expect",
    "from",
    "host",
    "link",
    "location",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "set-cookie",
    "user-agent",
    "vary",
    "via",
];
