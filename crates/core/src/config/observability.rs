//! `[logging]`, `[metrics]` and `[usage]`.

use super::error::ConfigErrorKind;
use super::object::Number;
use super::settings::SettingsReader;
use crate::policy::observability::{LogPolicy, LogSubject, Observability};

/// Reads the sections. Counters and usage are exported every 1 to 3,600 s, or never (0). A
/// memcached, which has neither hashes nor lists, allows only 0.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Observability {
    let has_scripts = settings.has_scripts();
    let mut section = settings.section("logging");
    let log = section.one_of_or("requests", &LogPolicy::NAMES, LogPolicy::All);
    let log_subject = section.one_of_or("subject", &LogSubject::NAMES, LogSubject::None);
    let server_timing = section.flag("server_timing");
    section.finish();
    let mut section = settings.section("metrics");
    let metrics_seconds = section.number_or_default(&METRICS_INTERVAL);
    if metrics_seconds > 0 && !has_scripts {
        section.add_error("interval_seconds", ConfigErrorKind::NotWithMemcached);
    }
    section.finish();
    let mut section = settings.section("usage");
    let usage_seconds = section.number_or_default(&USAGE_INTERVAL);
    if usage_seconds > 0 && !has_scripts {
        section.add_error("flush_seconds", ConfigErrorKind::NotWithMemcached);
    }
    section.finish();
    Observability { log, log_subject, server_timing, metrics_seconds, usage_seconds }
}

const METRICS_INTERVAL: Number =
    Number { name: "interval_seconds", min: 0, max: 3_600, default: 0 };
const USAGE_INTERVAL: Number = Number { name: "flush_seconds", min: 0, max: 3_600, default: 0 };
