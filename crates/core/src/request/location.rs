//! What the platform states of the client's connection: its country and its network.

/// The place of a client, as Cloudflare derives it from the connection. No header states it, so
/// that no client chooses it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Location {
    country: Option<Country>,
    asn: Option<u32>,
}

/// A country: two capitals (ISO 3166-1 alpha-2), or `T1`, which Cloudflare gives to Tor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Country([u8; 2]);

impl Location {
    /// Creates the location of two lines: a country and the number of an autonomous system. A line
    /// that is empty or malformed stands for what is unknown, and so does the country `XX`.
    pub fn parse(text: &str) -> Self {
        let (country, asn) = text.split_once('\n').unwrap_or((text, ""));
        let country = Country::parse(country).filter(|country| country.as_str() != UNKNOWN);
        Self { country, asn: asn.parse().ok().filter(|asn| *asn > 0) }
    }

    /// Returns the country, if it is known.
    pub fn country(&self) -> Option<Country> {
        self.country
    }

    /// Returns the number of the autonomous system, if it is known.
    pub fn asn(&self) -> Option<u32> {
        self.asn
    }
}

impl Country {
    /// Parses a country. Returns `None` if it is not two capitals or `T1`.
    pub fn parse(text: &str) -> Option<Self> {
        let code: [u8; 2] = text.as_bytes().try_into().ok()?;
        (code.iter().all(u8::is_ascii_uppercase) || text == TOR).then_some(Self(code))
    }

    /// Returns the two characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

const TOR: &str = "T1";
const UNKNOWN: &str = "XX";

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn location_is_known_if_it_is_well_formed() {
        fn check(text: &str, country: Option<&str>, asn: Option<u32>) {
            let location = Location::parse(text);
            let found = location.country();
            assert_eq!(found.as_ref().map(Country::as_str), country, "{text:?}");
            assert_eq!(location.asn(), asn, "{text:?}");
        }
        check("DE\n3320", Some("DE"), Some(3320));
        check("T1\n", Some("T1"), None);
        check("\n4294967295", None, Some(u32::MAX));
        check("XX\n0", None, None);
        check("de\n-1", None, None);
        check("DEU\n4294967296", None, None);
        check("", None, None);
        check("T2\nAS1", None, None);
    }
}
