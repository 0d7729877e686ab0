//! The secret `EDGE_AUTH_KEY`.

use super::error::ConfigErrorKind;
use super::settings::SettingsReader;
use crate::edge_auth::EdgeAuthKey;

/// Reads the key that authenticates the edge to the auth service, 32 bytes in base64. Returns
/// `None` if it is missing, or malformed, which is an error.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Option<EdgeAuthKey> {
    let text = settings.optional_secret(NAME)?;
    let key = EdgeAuthKey::parse(&text);
    if key.is_none() {
        settings.add_error(NAME, ConfigErrorKind::NotAnEdgeAuthKey);
    }
    key
}

const NAME: &str = "EDGE_AUTH_KEY";
