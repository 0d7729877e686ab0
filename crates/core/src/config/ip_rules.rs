//! `[ip_rules]`, and the `ip_rules` of a route.

use super::error::ConfigErrorKind;
use super::object::ObjectReader;
use super::settings::SettingsReader;
use crate::policy::ip_rules::{IpRules, Network};

/// Reads the section. Returns empty lists if it is missing.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> IpRules {
    settings.optional_section("ip_rules").map(read_object).unwrap_or_default()
}

/// Reads a table of lists of addresses and networks (`192.0.2.0/24`, RFC 4632 and RFC 4291). Each
/// malformed one is an error of its own.
pub(super) fn read_object(mut object: ObjectReader<'_, '_>) -> IpRules {
    let [deny, allow, unlimited] =
        ["deny", "allow", "unlimited"].map(|member| networks(&mut object, member));
    object.finish();
    IpRules { deny, allow, unlimited }
}

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
