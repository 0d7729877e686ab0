//! `KEYS_FRESH_SECONDS`, `KEYS_STALE_SECONDS_MAX` and `KEYS_COOL_DOWN_SECONDS`.

use super::settings::SettingsReader;
use crate::policy::key_sets::KeySetPolicy;

/// Reads the settings.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> KeySetPolicy {
    KeySetPolicy {
        fresh_seconds: settings.number("KEYS_FRESH_SECONDS", 600, 1, 86_400),
        stale_seconds_max: settings.number("KEYS_STALE_SECONDS_MAX", 86_400, 0, 604_800),
        cool_down_seconds: settings.number("KEYS_COOL_DOWN_SECONDS", 30, 1, 3_600),
    }
}
