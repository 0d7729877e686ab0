//! `[ip_rules]`, and the `ip_rules` of a route.

use super::error::ConfigErrorKind;
use super::object::ObjectReader;
use super::record::{MemberShape, TextFormat};
use super::settings::SettingsReader;
use crate::policy::ip_rules::{Choice, IpRules, Network};
use crate::request::location::Country;
use serde_json::Value;

/// Reads the section. Returns empty lists if it is missing.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> IpRules {
    settings.optional_section("ip_rules").map(read_object).unwrap_or_default()
}

/// Reads a table of lists of addresses and networks (`192.0.2.0/24`, RFC 4632 and RFC 4291), of
/// countries, and of autonomous systems. Each malformed entry is an error of its own.
pub(super) fn read_object(mut object: ObjectReader<'_, '_>) -> IpRules {
    let [deny, allow, unlimited] =
        ["deny", "allow", "unlimited"].map(|member| networks(&mut object, member));
    let [deny_countries, allow_countries] =
        ["deny_countries", "allow_countries"].map(|member| countries(&mut object, member));
    let [deny_asns, allow_asns] =
        ["deny_asns", "allow_asns"].map(|member| asns(&mut object, member));
    object.finish();
    let countries = Choice { deny: deny_countries, allow: allow_countries };
    let asns = Choice { deny: deny_asns, allow: allow_asns };
    IpRules { deny, allow, unlimited, countries, asns }
}

fn countries(object: &mut ObjectReader<'_, '_>, member: &str) -> Vec<Country> {
    let text = || MemberShape::Text(TextFormat::Nonempty);
    entries(object, member, text, |value| value.as_str().and_then(Country::parse), NOT_A_COUNTRY)
}

fn asns(object: &mut ObjectReader<'_, '_>, member: &str) -> Vec<u32> {
    let number = || MemberShape::Number { min: 1, max: u32::MAX };
    let asn = |value: &Value| value.as_u64()?.try_into().ok().filter(|asn| *asn > 0);
    entries(object, member, number, asn, NOT_AN_ASN)
}

/// Reads a list.
fn entries<T>(
    object: &mut ObjectReader<'_, '_>,
    member: &str,
    shape: fn() -> MemberShape,
    parse: impl Fn(&Value) -> Option<T>,
    expected: &'static str,
) -> Vec<T> {
    let values = match object.value(member, || MemberShape::List(Box::new(shape()))) {
        None => return Vec::new(),
        Some(Value::Array(values)) => values,
        Some(_) => {
            object.add_error(member, ConfigErrorKind::NotA("a list"));
            return Vec::new();
        }
    };
    let mut found = Vec::with_capacity(values.len());
    for (place, value) in values.iter().enumerate() {
        match parse(value) {
            Some(entry) => found.push(entry),
            None => {
                object.add_error(&format!("{member}[{place}]"), ConfigErrorKind::NotA(expected))
            }
        }
    }
    found
}

const NOT_A_COUNTRY: &str = "two capitals (ISO 3166-1 alpha-2), or T1 for Tor";
const NOT_AN_ASN: &str = "the number of an autonomous system, without AS";

fn networks(object: &mut ObjectReader<'_, '_>, member: &str) -> Vec<Network> {
    let texts = object.texts(member).unwrap_or_default();
    let networks = texts.into_iter().enumerate().filter_map(|(place, text)| {
        let network = Network::try_from(text);
        if let Err(error) = &network {
            let name = format!("{member}[{place}]");
            object.add_error(&name, ConfigErrorKind::Malformed(error.clone()));
        }
        network.ok()
    });
    networks.collect()
}
