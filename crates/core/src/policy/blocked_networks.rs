//! The list of blocked networks, which the auth service writes to the store for the edges.

use super::ip_rules::{Network, number};
use crate::json;
use crate::time::UnixSeconds;
use serde_json::Value;
use std::net::IpAddr;

/// Networks whose requests are refused, each until a time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BlockedNetworks {
    /// Sorted by address; of two networks with the same address, the larger one first.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    network: Network,
    until: UnixSeconds,
    /// The place of the smallest network before it that includes it.
    outer: Option<usize>,
}

impl BlockedNetworks {
    /// Parses the list in the store: version 1, and for each network the Unix time until which it
    /// is blocked. Returns `None` if it is malformed, of another version, or has more than 1,000
    /// networks.
    pub fn parse(text: &str) -> Option<Self> {
        let mut list = json::object(text.as_bytes())?;
        if list.get("v").and_then(Value::as_u64) != Some(1) {
            return None;
        }
        let Some(Value::Array(networks)) = list.remove("networks") else {
            return None;
        };
        if networks.len() > NETWORKS_MAX {
            return None;
        }
        // The list is sorted already, or nearly. The library's sort would add 2 KB to the Worker.
        let mut entries: Vec<Entry> = Vec::with_capacity(networks.len());
        for network in networks {
            let (entry, key) =
                (entry(network)?, |own: &Entry| (own.network.address, own.network.mask));
            let place = entries.partition_point(|own| key(own) <= key(&entry));
            entries.insert(place, entry);
        }
        // Of two networks, one includes the other, or they share no address. So those that include
        // an entry are on a stack.
        let mut outer: Vec<(usize, Network)> = Vec::new();
        for (place, entry) in entries.iter_mut().enumerate() {
            let address = entry.network.address;
            while outer.pop_if(|(_, network)| !network.includes(address)).is_some() {}
            entry.outer = outer.last().map(|(place, _)| *place);
            outer.push((place, entry.network));
        }
        Some(Self { entries })
    }

    /// Returns whether no network is blocked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns whether an address is blocked at a time.
    pub fn contain(&self, address: IpAddr, now: UnixSeconds) -> bool {
        let address = number(address);
        let after = self.entries.partition_point(|entry| entry.network.address <= address);
        // Each network that includes the address is this entry, or includes this entry.
        let mut place = after.checked_sub(1);
        while let Some(entry) = place.and_then(|place| self.entries.get(place)) {
            if entry.network.includes(address) && now < entry.until {
                return true;
            }
            place = entry.outer;
        }
        false
    }
}

fn entry(value: Value) -> Option<Entry> {
    let Value::Array(parts) = value else {
        return None;
    };
    let Ok([Value::String(network), until]) = <[Value; 2]>::try_from(parts) else {
        return None;
    };
    let until = UnixSeconds(until.as_u64()?);
    Some(Entry { network: Network::try_from(network).ok()?, until, outer: None })
}

/// The auth service writes no more. They fit into the largest reply of the store.
const NETWORKS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn list(networks: &str) -> BlockedNetworks {
        BlockedNetworks::parse(&format!(r#"{{"v":1,"networks":[{networks}]}}"#)).unwrap()
    }

    fn is_blocked(list: &BlockedNetworks, address: &str, now: u64) -> bool {
        list.contain(address.parse().unwrap(), UnixSeconds(now))
    }

    #[test]
    fn network_is_blocked_until_its_time() {
        let list = list(r#"["192.0.2.0/24",20],["192.0.2.128/25",40],["2001:db8::/32",30]"#);
        for (address, until) in [
            ("192.0.2.1", 20),
            ("192.0.2.127", 20),
            ("192.0.2.128", 40),
            ("192.0.2.255", 40),
            ("::ffff:192.0.2.200", 40),
            ("2001:db8:1::1", 30),
            ("192.0.3.0", 0),
            ("192.0.1.255", 0),
            ("2001:db9::", 0),
            ("::", 0),
        ] {
            for now in [0, 19, 20, 29, 30, 39, 40] {
                assert_eq!(is_blocked(&list, address, now), now < until, "{address} at {now}");
            }
        }
    }

    #[test]
    fn outer_network_counts_after_an_inner_one_has_ended() {
        let list = list(
            r#"["10.1.2.3",5],["10.0.0.0/8",50],["10.1.0.0/16",9],["10.1.0.0/16",7],["10.2.0.0/16",1]"#,
        );
        assert!(is_blocked(&list, "10.1.2.3", 49));
        assert!(is_blocked(&list, "10.3.0.0", 49));
        assert!(!is_blocked(&list, "10.1.2.3", 50));
        assert!(!is_blocked(&list, "11.0.0.0", 0));
    }

    /// Compares the search with a look at each entry, for networks that include each other in all
    /// ways.
    #[test]
    fn search_finds_what_a_look_at_each_network_finds() {
        let mut state = 7_u32;
        let mut draw = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        for _ in 0..200 {
            let drawn: Vec<(String, u64)> = (0..draw(40))
                .map(|_| {
                    let bits = 24 + draw(9);
                    let host = draw(256) & (u32::MAX << (32 - bits));
                    (format!("192.0.2.{host}/{bits}"), draw(4).into())
                })
                .collect();
            let texts: Vec<String> =
                drawn.iter().map(|(text, until)| format!("[\"{text}\",{until}]")).collect();
            let list = list(&texts.join(","));
            for last in 0..=255_u8 {
                let address = IpAddr::from([192, 0, 2, last]);
                let expect = drawn.iter().any(|(text, until)| {
                    let network = Network::try_from(text.clone()).unwrap();
                    2 < *until && network.includes(number(address))
                });
                assert_eq!(list.contain(address, UnixSeconds(2)), expect, "{drawn:?} {address}");
            }
        }
    }

    #[test]
    fn malformed_list_is_refused() {
        for text in [
            "",
            "[]",
            r#"{"networks":[]}"#,
            r#"{"v":2,"networks":[]}"#,
            r#"{"v":1}"#,
            r#"{"v":1,"networks":{}}"#,
            r#"{"v":1,"networks":["192.0.2.1"]}"#,
            r#"{"v":1,"networks":[["192.0.2.1"]]}"#,
            r#"{"v":1,"networks":[["192.0.2.1",1,2]]}"#,
            r#"{"v":1,"networks":[["192.0.2.1",-1]]}"#,
            r#"{"v":1,"networks":[["192.0.2.1","1"]]}"#,
            r#"{"v":1,"networks":[["192.0.2.1/24",1]]}"#,
            r#"{"v":1,"networks":[[1,1]]}"#,
            r#"{"v":1,"v":1,"networks":[]}"#,
        ] {
            assert_eq!(BlockedNetworks::parse(text), None, "{text}");
        }
        assert!(BlockedNetworks::parse(r#"{"v":1,"more":1,"networks":[]}"#).unwrap().is_empty());
        let of = |count: usize| {
            let one = "[\"192.0.2.1\",1]";
            format!(r#"{{"v":1,"networks":[{}]}}"#, vec![one; count].join(","))
        };
        assert!(BlockedNetworks::parse(&of(NETWORKS_MAX)).is_some());
        assert!(BlockedNetworks::parse(&of(NETWORKS_MAX + 1)).is_none());
    }
}
