//! The target of a block, as requests and commands name it.

use super::terms::check_text;
use crate::db::{BlockKind, BlockTarget};
use crate::problem::Problem;
use portcullis_core::address_group;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The target of a block: one of the four, and the issuer of the first three.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSelector {
    pub subject: Option<String>,
    pub client: Option<String>,
    pub key: Option<String>,
    pub address: Option<String>,
    pub issuer: Option<String>,
}

impl BlockSelector {
    /// Returns whether it names nothing.
    pub fn is_empty(&self) -> bool {
        let names = [&self.subject, &self.client, &self.key, &self.address, &self.issuer];
        names.iter().all(|name| name.is_none())
    }
}

/// Returns the target that a selector names. Without an issuer, it is this service.
pub fn block_target(selector: BlockSelector, own_issuer: &str) -> Result<BlockTarget, Problem> {
    let BlockSelector { subject, client, key, address, issuer } = selector;
    let (kind, name) = match (subject, client, key, address) {
        (Some(name), None, None, None) => (BlockKind::Subject, name),
        (None, Some(name), None, None) => (BlockKind::Client, name),
        (None, None, Some(name), None) => (BlockKind::Key, name),
        (None, None, None, Some(text)) => {
            if issuer.is_some() {
                return Err(Problem::AdjustmentInvalid("an address has no issuer; leave it out"));
            }
            return address_target(&text);
        }
        _ => {
            return Err(Problem::AdjustmentInvalid(
                "no target, or several; give one of subject, client, key and address",
            ));
        }
    };
    if name.is_empty() {
        return Err(Problem::AdjustmentInvalid(NAME));
    }
    check_text(&name, NAME_BYTES_MAX, NAME)?;
    Ok(BlockTarget { kind, issuer: issuer_of(issuer, own_issuer)?, name })
}

/// Returns the issuer that a request names, or this service.
pub(super) fn issuer_of(issuer: Option<String>, own_issuer: &str) -> Result<String, Problem> {
    let issuer = issuer.unwrap_or_else(|| own_issuer.to_owned());
    let problem = "the issuer is invalid; give 1 to 512 bytes without control characters";
    if issuer.is_empty() {
        return Err(Problem::AdjustmentInvalid(problem));
    }
    check_text(&issuer, ISSUER_BYTES_MAX, problem)?;
    Ok(issuer)
}

/// Returns the target of an address or a network. An IPv6 address stands for its /64, which is the
/// network of one subscriber. A network that has all of IPv4, also as mapped addresses, is refused.
fn address_target(text: &str) -> Result<BlockTarget, Problem> {
    let malformed = Problem::AdjustmentInvalid(
        "the address is invalid; give one such as 192.0.2.1, or a network such as 192.0.2.0/24",
    );
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| malformed)?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| malformed)?;
    let address = match (address.to_canonical(), bits) {
        (address, None) => address,
        // A network is read as it is written.
        (_, Some(_)) => address,
    };
    let one = |address| BlockTarget {
        kind: BlockKind::Address,
        issuer: String::new(),
        name: address_group(Some(address)),
    };
    let network =
        |text: String| BlockTarget { kind: BlockKind::Network, issuer: String::new(), name: text };
    match (address, bits) {
        (IpAddr::V4(_), None | Some(32)) => Ok(one(address)),
        (IpAddr::V4(own), Some(bits @ 8..32)) => {
            let first = Ipv4Addr::from_bits(own.to_bits() & (u32::MAX << (32 - bits)));
            match first == own {
                true => Ok(network(format!("{own}/{bits}"))),
                false => Err(Problem::AdjustmentInvalid(HOST_BITS)),
            }
        }
        (IpAddr::V6(own), bits) => {
            if own.segments().iter().take(4).all(|part| *part == 0) {
                return Err(Problem::AdjustmentInvalid(TOO_LARGE));
            }
            let bits = match bits {
                None => return Ok(one(address)),
                Some(bits @ 16..=64) => bits,
                Some(65..=128) => {
                    return Err(Problem::AdjustmentInvalid(
                        "the IPv6 network is smaller than a /64, which is one subscriber's; give \
                         an address for its /64",
                    ));
                }
                Some(_) => return Err(Problem::AdjustmentInvalid(TOO_LARGE)),
            };
            match Ipv6Addr::from_bits(own.to_bits() & (u128::MAX << (128 - bits))) == own {
                false => Err(Problem::AdjustmentInvalid(HOST_BITS)),
                true if bits == 64 => Ok(one(address)),
                true => Ok(network(format!("{own}/{bits}"))),
            }
        }
        (IpAddr::V4(_), Some(0..8)) => Err(Problem::AdjustmentInvalid(TOO_LARGE)),
        (IpAddr::V4(_), Some(_)) => Err(malformed),
    }
}

const NAME: &str = "the name is invalid; give 1 to 256 bytes without control characters";
const HOST_BITS: &str = "the network has bits set beyond its prefix; clear them";
const TOO_LARGE: &str = "the network is too large; give an IPv4 network of /8 to /32, or an IPv6 \
                         network of /16 to /64 outside ::/64";
const NAME_BYTES_MAX: usize = 256;
const ISSUER_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_one_address_a_network_or_an_error() {
        fn check(text: &str, expect: Result<(BlockKind, &str), &str>) {
            let target = address_target(text);
            let target = match &target {
                Ok(target) => Ok((target.kind, target.name.as_str())),
                Err(Problem::AdjustmentInvalid(text)) => Err(*text),
                Err(other) => panic!("{other:?}"),
            };
            match (target, expect) {
                (Err(text), Err(start)) => assert!(text.contains(start), "{text}"),
                (target, expect) => assert_eq!(target, expect, "{text}"),
            }
        }
        use BlockKind::{Address, Network};
        check("192.0.2.1", Ok((Address, "192.0.2.1")));
        check("192.0.2.1/32", Ok((Address, "192.0.2.1")));
        check("::ffff:192.0.2.1", Ok((Address, "192.0.2.1")));
        check("192.0.2.0/24", Ok((Network, "192.0.2.0/24")));
        check("10.0.0.0/8", Ok((Network, "10.0.0.0/8")));
        check("2001:db8:1:2:3:4:5:6", Ok((Address, "2001:db8:1:2::/64")));
        check("2001:db8:1:2::/64", Ok((Address, "2001:db8:1:2::/64")));
        check("2001:DB8::/32", Ok((Network, "2001:db8::/32")));
        check("2001:db8::1/32", Err("beyond its prefix"));
        check("192.0.2.1/24", Err("beyond its prefix"));
        check("2001:db8::/80", Err("smaller than a /64"));
        for text in ["0.0.0.0/0", "10.0.0.0/7", "::/0", "2001::/15", "::/64", "::1", "::/16"] {
            check(text, Err("too large"));
        }
        // All of IPv4, as mapped addresses.
        for text in ["::ffff:0:0/96", "::ffff:192.0.2.0/120"] {
            check(text, Err("too large"));
        }
        for text in
            ["", "x", "/8", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/-1", "1.2.3", "1.2.3.4 "]
        {
            check(text, Err("the address is invalid"));
        }
    }

    #[test]
    fn selector_names_one_target() {
        let subject = |name: &str| BlockSelector {
            subject: Some(name.to_owned()),
            ..BlockSelector::default()
        };
        let target = block_target(subject("alice"), "https://a.example").unwrap();
        assert_eq!(
            (target.kind, target.issuer.as_str()),
            (BlockKind::Subject, "https://a.example")
        );
        let other = BlockSelector { issuer: Some("https://b.example".into()), ..subject("alice") };
        let other = block_target(other, "https://a.example").unwrap();
        assert_ne!(target.id(), other.id());
        let address =
            BlockSelector { address: Some("192.0.2.1".into()), ..BlockSelector::default() };
        let mut with_issuer = address.clone();
        with_issuer.issuer = Some("x".into());
        let two = BlockSelector { client: Some("web".into()), ..subject("alice") };
        for bad in [
            BlockSelector::default(),
            with_issuer,
            two,
            subject(""),
            subject("a\nb"),
            subject("a\0b"),
            subject(&"a".repeat(257)),
        ] {
            assert!(block_target(bad.clone(), "https://a.example").is_err(), "{bad:?}");
        }
        assert!(block_target(address, "https://a.example").is_ok());
    }
}
