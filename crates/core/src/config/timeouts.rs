//! The `*_DEADLINE_MS`.

use super::settings::SettingsReader;
use crate::policy::timeouts::Timeouts;

/// Reads the settings.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Timeouts {
    Timeouts {
        store_ms: settings.number("STORE_DEADLINE_MS", 250, 1, 60_000),
        auth_ms: settings.number("AUTH_DEADLINE_MS", 5_000, 1, 60_000),
        upstream_ms: settings.number("UPSTREAM_DEADLINE_MS", 30_000, 1, 300_000),
        key_set_ms: settings.number("KEYS_DEADLINE_MS", 2_000, 1, 10_000),
        introspection_ms: settings.number("INTROSPECTION_DEADLINE_MS", 1_000, 1, 60_000),
    }
}
