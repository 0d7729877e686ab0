//! What the texts of settings must be.

/// Returns whether a text is the URL of a database that the program can use.
pub(super) fn is_database_url(text: &str) -> bool {
    ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme))
}

/// Returns whether the URL of a database is one of SQLite that names no file.
pub(super) fn is_in_memory(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("sqlite:") else { return false };
    let (file, options) = rest.split_once('?').unwrap_or((rest, ""));
    let file = file.trim_start_matches("//");
    file.is_empty() || file == ":memory:" || options.split('&').any(|own| own == "mode=memory")
}

pub(super) fn is_store_url(text: &str) -> bool {
    is_url(text) || memcached::Address::parse(text).is_some()
}

pub(super) fn is_issuer(text: &str) -> bool {
    is_url(text) && !text.ends_with('/')
}

pub(super) fn is_origin(text: &str) -> bool {
    // Browsers send the host in lower case, and no port that is the scheme's own.
    let has_own_port = match text.starts_with("https:") {
        true => text.ends_with(":443"),
        false => text.ends_with(":80"),
    };
    let is_as_sent = !has_own_port && !text.contains(|c: char| c == '@' || c.is_uppercase());
    is_url(text) && origin_of(text) == text && is_as_sent
}

pub(super) fn is_key_prefix(text: &str) -> bool {
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(is_safe)
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' '])
    })
}

/// Returns scheme, host and port of a URL.
pub(super) fn origin_of(url: &str) -> String {
    let host = url.split_once("://").map_or(0, |(scheme, _)| scheme.len() + 3);
    let rest = url.get(host..).unwrap_or_default();
    let end = rest.find('/').map_or(url.len(), |place| host + place);
    url.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_send_them() {
        for good in [
            "https://console.example",
            "https://console.example:8443",
            "https://console.example:80",
            "http://127.0.0.1:8790",
            "http://console.example:443",
            "http://[::1]:8790",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "https://Console.example",
            "HTTPS://console.example",
            "https://console.example:443",
            "http://console.example:80",
            "https://user@console.example",
            "https://console.example/",
            "console.example",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
