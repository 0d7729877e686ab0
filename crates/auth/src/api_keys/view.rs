//! Keys, as their managers see them.

use crate::db::KeyState;
use portcullis_core::UnixSeconds;
use serde_json::{Value, json};

/// Returns a key without its secrets.
pub fn key_view(state: &KeyState, now: UnixSeconds) -> Value {
    let (key, spec) = (&state.key, &state.key.spec);
    json!({
        "id": key.id,
        "name": spec.name,
        "prefix": key.display_prefix,
        "owner": key.owner.to_string(),
        "scope": spec.scope,
        "plan": spec.plan,
        "quotas": spec.quotas,
        "networks": spec.networks,
        "metadata": spec.metadata,
        "created_at": key.created_at,
        "expires_at": spec.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
        "previous_until": state.previous_until(now.0),
    })
}
