//! `[logging]`, `[metrics]`, `[usage]` and `[health]`, and the secret `METRICS_TOKEN`.

use super::error::ConfigErrorKind;
use super::object::{Number, ObjectReader};
use super::settings::SettingsReader;
use crate::policy::observability::{LogPolicy, LogSubject, Observability};
use crate::policy::operator::OperatorEndpoints;
use crate::secret::Secret;

/// Reads the sections and the endpoints for operators. Counters and usage are exported every 1 to
/// 3,600 s, or never (0). A memcached, which has neither hashes nor lists, allows only 0.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> (Observability, OperatorEndpoints) {
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
    let refusals = section.optional_flag("refusals").unwrap_or(true);
    section.record_default("refusals", || true.into());
    let metrics_path = path(&mut section);
    if metrics_path.is_some() && metrics_seconds == 0 {
        let kind = ConfigErrorKind::NotThere("without metrics.interval_seconds");
        section.add_error("path", kind);
    }
    section.finish();
    let mut section = settings.section("health");
    let health_path = path(&mut section);
    section.finish();
    if health_path.is_some() && health_path == metrics_path {
        settings.add_error("metrics.path", ConfigErrorKind::Duplicate);
    }
    let metrics = metrics_path.and_then(|path| Some((path, token(settings)?)));
    let mut section = settings.section("usage");
    let usage_seconds = section.number_or_default(&USAGE_INTERVAL);
    if usage_seconds > 0 && !has_scripts {
        section.add_error("flush_seconds", ConfigErrorKind::NotWithMemcached);
    }
    section.finish();
    let observability =
        Observability { log, log_subject, server_timing, metrics_seconds, refusals, usage_seconds };
    (observability, OperatorEndpoints { health_path, metrics })
}

/// Reads the path of an endpoint, which requests have exactly.
fn path(section: &mut ObjectReader<'_, '_>) -> Option<String> {
    let path = section.text("path")?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let is_path = (2..=PATH_LENGTH_MAX).contains(&path.len())
        && path.starts_with('/')
        && path.bytes().all(is_plain)
        && !path.contains("//")
        && !path.contains("/.");
    if !is_path {
        section.add_error("path", ConfigErrorKind::NotAPath);
    }
    Some(path)
}

/// Reads the token of the metrics, which comes in a header field.
fn token(settings: &mut SettingsReader<'_>) -> Option<Secret> {
    let token = settings.secret(TOKEN)?.trim().to_owned();
    if token.len() < TOKEN_BYTES_MIN || !token.bytes().all(|b| b.is_ascii_graphic()) {
        settings.add_error(TOKEN, ConfigErrorKind::NotASecret);
    }
    Some(Secret::new(token))
}

const TOKEN: &str = "METRICS_TOKEN";
const TOKEN_BYTES_MIN: usize = 16;
const PATH_LENGTH_MAX: usize = 128;

const METRICS_INTERVAL: Number =
    Number { name: "interval_seconds", min: 0, max: 3_600, default: 0 };
const USAGE_INTERVAL: Number = Number { name: "flush_seconds", min: 0, max: 3_600, default: 0 };
