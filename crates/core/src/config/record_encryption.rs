//! The secrets `RECORD_ENCRYPTION_KEY` and `RECORD_ENCRYPTION_KEY_PREVIOUS`.

use super::error::ConfigErrorKind;
use super::settings::SettingsReader;
use crate::store::seal::Seal;

/// Reads the keys that the store's records are encrypted with, `name:key` each, the key 32 bytes in
/// base64. Returns `None` if there is none, or if one is malformed, which is an error. So are a
/// previous key without a current one, and two keys of one name.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Option<Seal> {
    let (current, previous) =
        (settings.optional_secret(CURRENT), settings.optional_secret(PREVIOUS));
    let Some(current) = current else {
        if previous.is_some() {
            settings.add_error(CURRENT, ConfigErrorKind::Missing);
        }
        return None;
    };
    let mut valid = true;
    for (name, text) in [(CURRENT, Some(&current)), (PREVIOUS, previous.as_ref())] {
        if text.is_some_and(|text| !Seal::is_key(text)) {
            settings.add_error(name, ConfigErrorKind::NotARecordEncryptionKey);
            valid = false;
        }
    }
    if !valid {
        return None;
    }
    let seal = Seal::new(&current, previous.as_deref());
    if seal.is_none() {
        settings.add_error(PREVIOUS, ConfigErrorKind::Duplicate);
    }
    seal
}

const CURRENT: &str = "RECORD_ENCRYPTION_KEY";
const PREVIOUS: &str = "RECORD_ENCRYPTION_KEY_PREVIOUS";
