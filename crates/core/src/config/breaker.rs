//! `BREAKER_FAILURES` and `BREAKER_PAUSE_MS_MAX`.

use super::settings::SettingsReader;
use crate::breaker::BreakerPolicy;

/// Reads the settings.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> BreakerPolicy {
    BreakerPolicy {
        failures: settings.number("BREAKER_FAILURES", 5, 0, 1_000),
        pause_ms_max: settings.number("BREAKER_PAUSE_MS_MAX", 30_000, 1, 300_000),
    }
}
