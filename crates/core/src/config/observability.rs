//! `[logging]` and `[metrics]`.

use super::error::ConfigErrorKind;
use super::settings::SettingsReader;
use crate::policy::observability::{LogPolicy, LogSubject, Observability};

/// Reads both sections.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Observability {
    let has_scripts = settings.has_scripts();
    let mut section = settings.section("logging");
    let log = section.one_of("requests", &LogPolicy::NAMES).unwrap_or(LogPolicy::All);
    let log_subject = section.one_of("subject", &LogSubject::NAMES).unwrap_or_default();
    let server_timing = section.flag("server_timing");
    section.finish();
    let mut section = settings.section("metrics");
    let metrics_seconds = section.number("interval_seconds", 0, 3_600).unwrap_or_default();
    if metrics_seconds > 0 && !has_scripts {
        section.add_error("interval_seconds", ConfigErrorKind::NotWithMemcached);
    }
    section.finish();
    Observability { log, log_subject, server_timing, metrics_seconds }
}
