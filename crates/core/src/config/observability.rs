//! `LOG`, `LOG_SUBJECT`, `SERVER_TIMING` and `METRICS_SECONDS`.

use super::error::ConfigErrorKind;
use super::settings::SettingsReader;
use crate::policy::observability::{LogPolicy, LogSubject, Observability};

/// Reads the settings.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Observability {
    let log = settings.one_of("LOG", &LogPolicy::NAMES).unwrap_or(LogPolicy::All);
    let log_subject = settings.one_of("LOG_SUBJECT", &LogSubject::NAMES).unwrap_or_default();
    let server_timing = settings.flag("SERVER_TIMING");
    let metrics_seconds = settings.number("METRICS_SECONDS", 0, 0, 3_600);
    if metrics_seconds > 0 && !settings.has_scripts() {
        settings.add_error("METRICS_SECONDS", ConfigErrorKind::NotWithMemcached);
    }
    Observability { log, log_subject, server_timing, metrics_seconds }
}
