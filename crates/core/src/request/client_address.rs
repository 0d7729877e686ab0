//! The client's address: the header field that states it, and how limits group addresses.

use super::head::RequestHead;
use std::net::{IpAddr, SocketAddr};

/// Returns the client's address. Without trusted proxies it is the address that Cloudflare states,
/// which no client can forge. Otherwise it is the entry of `X-Forwarded-For` that the outermost
/// trusted proxy wrote, counted from the right. Returns `None` if the field is missing, malformed,
/// or has too few entries.
pub fn client_address(head: &RequestHead<'_>, trusted_proxy_hops: u32) -> Option<IpAddr> {
    match trusted_proxy_hops {
        0 => head.header("cf-connecting-ip")?.parse().ok(),
        hops => forwarded_address(head.header("x-forwarded-for")?, hops),
    }
}

/// Returns the entry of `X-Forwarded-For` that the outermost of `hops` trusted proxies wrote; with
/// 1 hop, the last entry. Returns `None` if it is malformed or there are fewer entries.
pub fn forwarded_address(field: &str, hops: u32) -> Option<IpAddr> {
    let skip = usize::try_from(hops).ok()?.checked_sub(1)?;
    parse(field.rsplit(',').nth(skip)?.trim())
}

/// Returns the group of the client's address, for the log.
pub fn client_group(head: &RequestHead<'_>, trusted_proxy_hops: u32) -> String {
    address_group(client_address(head, trusted_proxy_hops))
}

/// Parses an address as proxies write it: alone, or with a port.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches(['[', ']']).parse().ok();
    bare.or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))
}

/// Returns the key by which limits count an address: an IPv4 address, or an IPv6 /64, which is the
/// network of one subscriber. Requests without a known address share one key, so that omitting the
/// address does not evade the limit.
pub fn address_group(address: Option<IpAddr>) -> String {
    match address {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(address) => address.to_string(),
            None => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        },
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn client_address_is_the_outermost_trusted_proxys_entry() {
        let fields = vec![
            ("cf-connecting-ip", "192.0.2.1"),
            ("x-forwarded-for", "203.0.113.66, 192.0.2.7,198.51.100.1"),
        ];
        let head = RequestHead::new("GET", "https://a/", fields);
        let address = |depth| client_address(&head, depth).map(|address| address.to_string());
        assert_eq!(address(0).as_deref(), Some("192.0.2.1"));
        assert_eq!(address(1).as_deref(), Some("198.51.100.1"));
        assert_eq!(address(2).as_deref(), Some("192.0.2.7"));
        assert_eq!(address(4), None, "fewer entries than trusted proxies");
        for (written, expect) in [
            ("192.0.2.1:4711", Some("192.0.2.1")),
            ("[2001:db8::1]:4711", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("unknown", None),
            ("_hidden", None),
        ] {
            assert_eq!(parse(written).map(|address| address.to_string()).as_deref(), expect);
        }
    }

    #[test]
    fn address_group_is_an_ipv4_address_or_an_ipv6_prefix() {
        fn check(address: &str, expect: &str) {
            assert_eq!(address_group(address.parse().ok()), expect);
        }
        check("192.0.2.1", "192.0.2.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
        check("::ffff:192.0.2.1", "192.0.2.1");
        check("not an address", "unknown");
    }
}
