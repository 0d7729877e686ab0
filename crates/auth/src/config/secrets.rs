//! The keys and secrets among the settings.

use super::table::{
    EDGE_AUTH_KEY, EDGE_AUTH_KEY_PREVIOUS, INTROSPECTION_CLIENTS, MASTER_KEY, MASTER_KEY_PREVIOUS,
    RECORD_ENCRYPTION_KEY, RECORD_ENCRYPTION_KEY_PREVIOUS,
};
use crate::accounts::{ClientsError, IntrospectionClients};
use portcullis_core::{EdgeAuthKey, EdgeAuthKeys, Seal};
use portcullis_server::settings::{Setting, SettingsReader};

/// Returns the key that seals the signing keys, or `None` if it is missing or invalid, which is an
/// error.
pub(super) fn master_key(reader: &mut SettingsReader<'_>) -> Option<Seal> {
    seal(reader, &MASTER_KEY, &MASTER_KEY_PREVIOUS)
}

/// Returns the key that encrypts records, if it is set.
pub(super) fn record_encryption(reader: &mut SettingsReader<'_>) -> Option<Seal> {
    seal(reader, &RECORD_ENCRYPTION_KEY, &RECORD_ENCRYPTION_KEY_PREVIOUS)
}

/// Returns the keys that authenticate the edge, if they are set.
pub(super) fn edge_auth_keys(reader: &mut SettingsReader<'_>) -> Option<EdgeAuthKeys> {
    let (current, previous) = pair(reader, &EDGE_AUTH_KEY, &EDGE_AUTH_KEY_PREVIOUS);
    let previous = previous.as_deref().and_then(EdgeAuthKey::parse);
    Some(EdgeAuthKeys { current: EdgeAuthKey::parse(&current?)?, previous })
}

/// Returns the clients that may introspect tokens.
pub(super) fn introspection_clients(reader: &mut SettingsReader<'_>) -> IntrospectionClients {
    let clients = reader.secret(&INTROSPECTION_CLIENTS).unwrap_or_default();
    IntrospectionClients::parse(&clients).unwrap_or_else(|error| {
        let problem = match error {
            ClientsError::Malformed => "must be name=secret, comma-separated, no name twice",
            ClientsError::SecretShort => {
                "a secret is shorter than 32 characters; give a longer one"
            }
        };
        reader.add_error(&INTROSPECTION_CLIENTS, problem);
        IntrospectionClients::default()
    })
}

fn seal(reader: &mut SettingsReader<'_>, current: &Setting, previous: &Setting) -> Option<Seal> {
    let (key, previous_key) = pair(reader, current, previous);
    let key = key?;
    let seal = Seal::new(&key, previous_key.as_deref());
    if seal.is_none() {
        let name = reader.place(current).name().to_owned();
        reader.add_error(previous, format!("has the same name as {name}; rename one of the keys"));
    }
    seal
}

/// Returns a key and the one before it. The latter must not be alone.
fn pair(
    reader: &mut SettingsReader<'_>,
    current: &Setting,
    previous: &Setting,
) -> (Option<String>, Option<String>) {
    let keys = (reader.secret(current), reader.secret(previous));
    if reader.is_set(previous) && !reader.is_set(current) {
        let variable = current.variable;
        reader.add_error(previous, format!("needs {variable} as well; give both, or neither"));
    }
    keys
}
