//! The secret `EDGE_AUTH_KEY`.

use super::error::ConfigErrorKind;
use super::settings::SettingsReader;
use crate::edge_auth::EdgeAuthKey;

/// Reads the key that authenticates the edge to the auth service. Returns `None` if there is none.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Option<EdgeAuthKey> {
    let text = settings.optional_secret(NAME)?;
    let key = EdgeAuthKey::parse(&text);
    if key.is_none() {
        settings.add_error(NAME, ConfigErrorKind::NotAnEdgeAuthKey);
    }
    key
}

const NAME: &str = "EDGE_AUTH_KEY";
