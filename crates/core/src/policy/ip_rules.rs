//! Address rules: which client addresses are refused, and which are exempt from limits.

use crate::refusal::Denial;
use crate::request::location::{Country, Location};
use std::net::IpAddr;

/// Lists of networks, and of where they are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IpRules {
    /// Refused networks.
    pub deny: Vec<Network>,
    /// If not empty, all other networks are refused.
    pub allow: Vec<Network>,
    /// Networks whose requests limits do not count.
    pub unlimited: Vec<Network>,
    /// The countries of the clients.
    pub countries: Choice<Country>,
    /// The autonomous systems of the clients.
    pub asns: Choice<u32>,
}

/// Values that are refused, and values besides which all others are refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice<T> {
    /// Refused values.
    pub deny: Vec<T>,
    /// If not empty, all other values are refused.
    pub allow: Vec<T>,
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Self { deny: Vec::new(), allow: Vec::new() }
    }
}

impl<T: PartialEq> Choice<T> {
    /// Returns whether there are no values, so that every value is accepted, known or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.deny.is_empty() && self.allow.is_empty()
    }

    /// Returns whether a value is accepted. If there are values, an unknown one is not.
    fn accepts(&self, value: Option<T>) -> bool {
        let Some(value) = value else {
            return self.is_empty();
        };
        !self.deny.contains(&value) && (self.allow.is_empty() || self.allow.contains(&value))
    }
}

/// An address with a prefix length: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    pub(super) address: u128,
    pub(super) mask: u128,
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let malformed = || format!("{text} is not an address or a network such as 192.0.2.0/24");
        let (address, bits) =
            text.split_once('/').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits.map_or(Ok(bits_max), str::parse).map_err(|_| malformed())?;
        if bits > bits_max {
            return Err(malformed());
        }
        let host_bits = bits_max - bits;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        let address = number(address);
        if address & !mask != 0 {
            return Err(format!("{text} has bits set beyond its /{bits}"));
        }
        Ok(Self { address, mask })
    }
}

impl Network {
    /// Returns whether the network has this address.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        self.includes(number(address))
    }

    /// Returns whether an address, as a [`number`], is of the network.
    pub(super) fn includes(self, address: u128) -> bool {
        address & self.mask == self.address
    }
}

/// Maps IPv4 addresses to IPv6, so that a client has one number in either notation.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl IpRules {
    /// Rejects a request from a denied address, or from an address that a non-empty `allow` lacks.
    /// If `deny` or `allow` is not empty, also rejects a request without a known address. The same
    /// holds for its country and its autonomous system.
    pub(crate) fn check(&self, address: Option<IpAddr>, location: Location) -> Result<(), Denial> {
        let on = |list: &[Network]| {
            address.is_some_and(|address| list.iter().any(|network| network.contains(address)))
        };
        let unknown = address.is_none() && !self.deny.is_empty();
        if unknown || on(&self.deny) || !(self.allow.is_empty() || on(&self.allow)) {
            return Err(Denial::AddressRefused);
        }
        if !self.countries.accepts(location.country()) || !self.asns.accepts(location.asn()) {
            return Err(Denial::AddressRefused);
        }
        Ok(())
    }

    /// Returns whether the rules need the client's location.
    pub(crate) fn needs_location(&self) -> bool {
        !self.countries.is_empty() || !self.asns.is_empty()
    }

    /// Returns whether limits count requests from this address.
    pub(crate) fn is_limited(&self, address: Option<IpAddr>) -> bool {
        let listed = |address| self.unlimited.iter().any(|network| network.contains(address));
        !address.is_some_and(listed)
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
    fn network_contains_the_addresses_of_its_prefix() {
        fn check(text: &str, address: &str, expect: bool) {
            let contains = network(text).unwrap().contains(address.parse().unwrap());
            assert_eq!(contains, expect, "{text} {address}");
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
    fn address_is_refused_by_deny_and_by_a_missing_allow() {
        let list = |text: &str| vec![network(text).unwrap()];
        let here = "192.0.2.1".parse().ok();
        let refused = Err(Denial::AddressRefused);
        let nowhere = Location::default();
        let deny = IpRules { deny: list("192.0.2.0/24"), ..IpRules::default() };
        assert_eq!(deny.check(here, nowhere), refused);
        assert_eq!(deny.check(None, nowhere), refused, "an unknown address could be a denied one");
        let allow = IpRules { allow: list("192.0.2.0/24"), ..IpRules::default() };
        assert_eq!(allow.check(here, nowhere), Ok(()));
        assert_eq!(allow.check("192.0.3.1".parse().ok(), nowhere), refused);
        assert_eq!(allow.check(None, nowhere), refused);
        let both = IpRules { deny: list("192.0.2.1"), ..allow };
        assert_eq!(both.check(here, nowhere), refused, "deny is stronger");
        let unlimited = IpRules { unlimited: list("192.0.2.1"), ..IpRules::default() };
        assert!(!unlimited.is_limited(here) && unlimited.is_limited(None));
    }

    #[test]
    fn location_is_refused_by_deny_and_by_a_missing_allow() {
        fn check(rules: &IpRules, expect: [bool; 4]) {
            let locations = ["DE\n3320", "FR\n3215", "T1\n3320", ""];
            let accepts = |text| rules.check(None, Location::parse(text)).is_ok();
            assert_eq!(locations.map(accepts), expect, "{rules:?}");
            assert!(rules.needs_location());
        }
        let countries = |list: &[&str]| list.iter().filter_map(|own| Country::parse(own)).collect();
        let choice = |deny: &[&str], allow: &[&str]| IpRules {
            countries: Choice { deny: countries(deny), allow: countries(allow) },
            ..IpRules::default()
        };
        check(&choice(&["FR"], &[]), [true, false, true, false]);
        check(&choice(&["T1"], &[]), [true, true, false, false]);
        check(&choice(&[], &["DE", "FR"]), [true, true, false, false]);
        check(&choice(&["DE"], &["DE", "FR"]), [false, true, false, false]);
        let asns = Choice { deny: vec![3215], allow: Vec::new() };
        check(&IpRules { asns, ..IpRules::default() }, [true, false, true, false]);
        let asns = Choice { deny: Vec::new(), allow: vec![3320] };
        check(&IpRules { asns, ..choice(&["T1"], &[]) }, [true, false, false, false]);
        assert!(!IpRules::default().needs_location());
        assert_eq!(IpRules::default().check(None, Location::default()), Ok(()));
    }
}
