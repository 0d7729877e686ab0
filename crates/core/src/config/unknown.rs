//! Variables that mean nothing, but seem to.

use super::error::ConfigErrorKind;
use super::settings::SettingsReader;

/// Adds an error for each of `names` that the policy does not use and that seems to mean a secret
/// or variable that it may. The whole policy must have been read before.
pub(super) fn check(settings: &mut SettingsReader<'_>, names: &[String]) {
    let used = settings.variables.clone();
    // The policy may name any variable, so that the nearest name does not suggest a misspelling.
    for name in names.iter().filter(|name| !used.contains(name)) {
        if let Some(own) = setting_names::misspelt(name, &OWN, &NAMESPACES) {
            settings.add_error(name, ConfigErrorKind::UnknownName(own.to_owned()));
        }
    }
}

/// The variables and secrets with a meaning of their own.
const OWN: [&str; 7] = [
    "ASSERTION_KEY",
    "EDGE_AUTH_KEY",
    "METRICS_TOKEN",
    "PORTCULLIS_ENV",
    "RECORD_ENCRYPTION_KEY",
    "RECORD_ENCRYPTION_KEY_PREVIOUS",
    "STORE_TOKEN",
];

/// How names begin that are hardly a user's own.
const NAMESPACES: [&str; 2] = ["PORTCULLIS_", "RECORD_ENCRYPTION_"];
