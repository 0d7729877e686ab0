//! Whence a request comes: which field says so, and which addresses are refused or not limited.

use crate::refusal::Denial;
use crate::policy::{ConfigErrorKind, ObjectReader};
use std::net::IpAddr;

/// Lists of addresses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Addresses {
    /// Refused.
    pub deny: Vec<Network>,
    /// If there are any, all others are refused.
    pub allow: Vec<Network>,
    /// Not counted by limits.
    pub unlimited: Vec<Network>,
}

impl Addresses {
    /// `ADDRESSES`, or the `addresses` of a route; each entry that is no network is a fault of its own.
    pub(crate) fn read(mut given: ObjectReader<'_, '_>) -> Self {
        let mut list = |member: &str| {
            let texts = given.texts(member).unwrap_or_default();
            let networks = texts.into_iter().enumerate().filter_map(|(place, text)| {
                let network = Network::try_from(text);
                if let Err(words) = &network {
                    given.report(
                        &format!("{member}[{place}]"),
                        ConfigErrorKind::Shape(words.clone()),
                    );
                }
                network.ok()
            });
            networks.collect()
        };
        Self { deny: list("deny"), allow: list("allow"), unlimited: list("unlimited") }
    }
}

/// An address with how many of its bits count: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: u128,
    mask: u128,
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fault = || format!("{text} is not an address or a network such as 192.0.2.0/24");
        let (address, bits) =
            text.split_once('/').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits.map_or(Ok(most), str::parse).map_err(|_| fault())?;
        if bits > most {
            return Err(fault());
        }
        let host_bits = most - bits;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        let address = number(address);
        if address & !mask != 0 {
            return Err(format!("{text} has bits set beyond its /{bits}"));
        }
        Ok(Self { address, mask })
    }
}

impl Network {
    fn holds(self, address: IpAddr) -> bool {
        number(address) & self.mask == self.address
    }
}

/// IPv4 addresses as IPv6 maps them, so that a client is the same by either.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl Addresses {
    /// Whether a request from this address may come in. Where there is a list, nobody states no address.
    pub(crate) fn judge(&self, address: Option<IpAddr>) -> Result<(), Denial> {
        let on = |list: &[Network]| {
            address.is_some_and(|address| list.iter().any(|network| network.holds(address)))
        };
        let nobody = address.is_none() && !self.deny.is_empty();
        if nobody || on(&self.deny) || !(self.allow.is_empty() || on(&self.allow)) {
            return Err(Denial::AddressRefused);
        }
        Ok(())
    }

    /// Whether limits count requests from this address.
    pub(crate) fn limits(&self, address: Option<IpAddr>) -> bool {
        !address.is_some_and(|address| self.unlimited.iter().any(|network| network.holds(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn network(text: &str) -> Result<Network, String> {
        Network::try_from(text.to_owned())
    }

    #[test]
    fn networks_hold_their_addresses() {
        fn check(text: &str, address: &str, expect: bool) {
            let holds = network(text).unwrap().holds(address.parse().unwrap());
            assert_eq!(holds, expect, "{text} {address}");
        }
        check("192.0.2.0/24", "192.0.2.255", true);
        check("192.0.2.0/24", "192.0.3.0", false);
        check("192.0.2.0/24", "::ffff:192.0.2.7", true);
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("::/0", "2001:db9::1", true);
        for text in ["192.0.2.0/33", "192.0.2.1/24", "2001:db8::/129", "x", "", "1.2.3.4/", "/8"] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_are_judged() {
        let list = |text: &str| vec![network(text).unwrap()];
        let here = "192.0.2.1".parse().ok();
        let refused = Err(Denial::AddressRefused);
        let deny = Addresses { deny: list("192.0.2.0/24"), ..Addresses::default() };
        assert_eq!(deny.judge(here), refused);
        assert_eq!(deny.judge(None), refused, "who is nobody could be anybody");
        let allow = Addresses { allow: list("192.0.2.0/24"), ..Addresses::default() };
        assert_eq!(allow.judge(here), Ok(()));
        assert_eq!(allow.judge("192.0.3.1".parse().ok()), refused);
        assert_eq!(allow.judge(None), refused);
        let both = Addresses { deny: list("192.0.2.1"), ..allow };
        assert_eq!(both.judge(here), refused, "deny is stronger");
        let unlimited = Addresses { unlimited: list("192.0.2.1"), ..Addresses::default() };
        assert!(!unlimited.limits(here) && unlimited.limits(None));
    }
}
