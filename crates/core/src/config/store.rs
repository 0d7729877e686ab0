//! `[store]`, and the secret `STORE_TOKEN`.

use super::error::ConfigErrorKind;
use super::object::Number;
use super::record::TextFormat;
use super::settings::{SettingsReader, is_safe_name};
use crate::secret::Secret;
use crate::store::address::StoreAddress;
use crate::store::keys::StoreKeys;

/// What the section says.
pub(super) struct StoreSection {
    /// `None` if it is missing or malformed.
    pub(super) address: Option<StoreAddress>,
    /// With the prefix of all keys, 1 to 64 letters, digits, `-` and `_`.
    pub(super) keys: StoreKeys,
    /// For one request to the store, 1 to 60,000 ms.
    pub(super) timeout_ms: u32,
}

/// Reads the section. Upstash's REST API, and the redis gateway that speaks it, need a token of
/// visible ASCII; a memcached needs none.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> StoreSection {
    let has_scripts = settings.has_scripts();
    let mut section = settings.section("store");
    section.require(&["url"]);
    let timeout_ms = section.number_or_default(&TIMEOUT);
    section.record_format("key_prefix", TextFormat::Name);
    let key_prefix = section.text_or("key_prefix", StoreKeys::PREFIX);
    if !is_safe_name(&key_prefix) {
        section.add_error("key_prefix", ConfigErrorKind::UnsafeName);
    }
    let keys = StoreKeys::new(&key_prefix);
    section.record_format("url", TextFormat::StoreUrl);
    if !has_scripts {
        let address = section.text("url").and_then(|url| memcached::Address::parse(&url));
        if address.is_none() {
            section.add_error("url", ConfigErrorKind::NotAMemcached);
        }
        section.finish();
        let address = address.map(StoreAddress::Memcached);
        return StoreSection { address, keys, timeout_ms };
    }
    let url = section.url("url");
    section.finish();
    let address = token(settings).zip(url).map(|(token, url)| StoreAddress::Rest { url, token });
    StoreSection { address, keys, timeout_ms }
}

/// Reads the token of the store's REST API.
fn token(settings: &mut SettingsReader<'_>) -> Option<Secret> {
    // A secret from a file ends with a line break.
    let token = settings.secret(TOKEN).map(|token| token.trim().to_owned());
    if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
        settings.add_error(TOKEN, ConfigErrorKind::NotAToken);
    }
    token.map(Secret::new)
}

const TOKEN: &str = "STORE_TOKEN";
const TIMEOUT: Number = Number { name: "timeout_ms", min: 1, max: 60_000, default: 250 };
