//! The syntax of names that HTTP and OAuth define.

/// Returns whether `text` is a token of RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Returns whether `text` is a method in capitals, as HTTP's own methods are.
pub(crate) fn is_method(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}

/// Returns whether `text` is a scope-token of RFC 6749 section 3.3.
pub(crate) fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// Returns whether `text` is a cookie name of letters, digits, `-`, `_` and `.`.
pub(crate) fn is_cookie_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Returns whether `text` may be the prefix of API keys: 3 to 32 lower-case letters, digits and
/// `_`, with a letter first and `_` last.
pub(crate) fn is_api_key_prefix(text: &str) -> bool {
    (3..=32).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.ends_with('_')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Returns whether `text` is one host with an optional port (RFC 9112 section 3.2). Two `Host`
/// fields arrive joined by a comma, and so are rejected.
pub(crate) fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

/// Returns whether `text` is an origin as browsers send it: scheme and host in lower case, no path.
pub(crate) fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    !scheme.is_empty()
        && scheme.bytes().all(plain)
        && !host.is_empty()
        && host.bytes().all(|b| plain(b) || b"[]:_".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn origin_is_a_scheme_and_a_host_without_path() {
        for good in ["https://a.example", "http://127.0.0.1:8080", "http://[::1]:80", "app://x"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in ["*", "null", "a.example", "https://", "https://A.example", "https://a/", ""] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn host_is_one_name_with_an_optional_port() {
        for good in ["a.example", "127.0.0.1:8787", "[::1]:80", "xn--p1ai", "a_b"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "a.example, b.example", "a@b", "a b", "a\0", "a%2e", "a\"b", "\u{e9}"] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
