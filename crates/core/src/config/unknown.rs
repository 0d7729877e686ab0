//! Variables that are no settings, but seem to mean one.

use super::error::ConfigErrorKind;
use super::settings::SettingsReader;

/// Adds an error for each of `names` that no one has read and that seems to mean a setting. All
/// settings must have been read before.
pub(super) fn check(settings: &mut SettingsReader<'_>, names: &[String]) {
    let read = settings.read.take();
    let known: Vec<&str> = read.iter().map(String::as_str).collect();
    for name in names {
        // Issuers name variables of their own, which are the user's.
        if settings.variables.contains(name) {
            continue;
        }
        if let Some(setting) = setting_names::misspelt(name, &known, &NAMESPACES) {
            settings.add_error(name, ConfigErrorKind::UnknownName(setting.to_owned()));
        }
    }
}

/// How settings begin, and hardly any variable of a user's.
const NAMESPACES: [&str; 8] = [
    "BREAKER",
    "INTROSPECTIONS_",
    "INTROSPECTION_DEADLINE",
    "KEYS_",
    "PORTCULLIS_",
    "RECORD_ENCRYPTION_",
    "REFRESH_REPLAY",
    "REVOCATION_",
];
