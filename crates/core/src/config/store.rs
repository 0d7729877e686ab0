//! `STORE_URL`, `STORE_TOKEN` and `KEY_PREFIX`.

use super::error::ConfigErrorKind;
use super::settings::{SettingsReader, is_safe_name};
use crate::secret::Secret;
use crate::store::address::StoreAddress;
use crate::store::keys::StoreKeys;

/// Reads the store's address. A memcached needs no token.
pub(super) fn address(settings: &mut SettingsReader<'_>) -> Option<StoreAddress> {
    if !settings.has_scripts() {
        let address = memcached::Address::parse(&settings.required("STORE_URL")?);
        if address.is_none() {
            settings.add_error("STORE_URL", ConfigErrorKind::NotAMemcached);
        }
        return address.map(StoreAddress::Memcached);
    }
    let (url, token) = (settings.url("STORE_URL"), settings.required("STORE_TOKEN"));
    // A secret from a file ends with a line break.
    let token = token.map(|token| token.trim().to_owned());
    if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
        settings.add_error("STORE_TOKEN", ConfigErrorKind::NotAToken);
    }
    Some(StoreAddress::Rest { url: url?, token: Secret::new(token?) })
}

/// Reads the prefix of the store's keys.
pub(super) fn keys(settings: &mut SettingsReader<'_>) -> StoreKeys {
    let prefix = settings.optional("KEY_PREFIX");
    let prefix = prefix.as_deref().unwrap_or(StoreKeys::PREFIX);
    if !is_safe_name(prefix) {
        settings.add_error("KEY_PREFIX", ConfigErrorKind::UnsafeName);
    }
    StoreKeys::new(prefix)
}
