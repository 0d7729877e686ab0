//! The networks that connections are counted by.

use std::net::IpAddr;

/// The network of a peer: an IPv4 /24 or an IPv6 /64, as one client can have many addresses.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Network {
    prefix: u128,
    is_v6: bool,
    pub is_loopback: bool,
}

impl Network {
    /// Returns the network of an address.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let is_loopback = address.is_loopback();
        match address {
            IpAddr::V4(v4) => {
                Self { prefix: u128::from(v4.to_bits() >> 8), is_v6: false, is_loopback }
            }
            IpAddr::V6(v6) => Self { prefix: v6.to_bits() >> 64, is_v6: true, is_loopback },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_is_a_24_or_a_64() {
        let of = |address: &str| Network::of(address.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("192.0.2.255"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.9"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert!(of("127.0.0.1").is_loopback && of("::1").is_loopback);
    }
}
