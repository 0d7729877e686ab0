//! `ADDRESSES`, and the `addresses` of a route.

use super::error::ConfigErrorKind;
use super::object::ObjectReader;
use super::settings::SettingsReader;
use crate::policy::addresses::{Addresses, Network};

/// Reads the setting. Returns empty lists if it is missing.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Addresses {
    settings.object("ADDRESSES").map(read_object).unwrap_or_default()
}

/// Reads an object of lists. Each malformed network is an error of its own.
pub(super) fn read_object(mut object: ObjectReader<'_, '_>) -> Addresses {
    let [deny, allow, unlimited] =
        ["deny", "allow", "unlimited"].map(|member| networks(&mut object, member));
    object.finish();
    Addresses { deny, allow, unlimited }
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
