//! Adjustments as responses and commands show them.

use crate::db::{Block, BlockKind, CreditBalance, LimitCaller, QuotaOverride};
use serde_json::{Map, Value, json};

/// Returns a block as JSON. Its target has the name that requests have for it.
pub fn shown_block(block: &Block) -> Value {
    let target = &block.target;
    let kind = match target.kind {
        BlockKind::Network => BlockKind::Address,
        kind => kind,
    };
    let mut shown = Map::new();
    shown.insert(kind.name().to_owned(), json!(target.name));
    if !target.issuer.is_empty() {
        shown.insert("issuer".to_owned(), json!(target.issuer));
    }
    for (name, value) in [
        ("reason", json!(block.reason)),
        ("until", json!(block.ends_at)),
        ("created_at", json!(block.created_at)),
        ("changed_at", json!(block.changed_at)),
        ("actor", json!(block.actor)),
    ] {
        shown.insert(name.to_owned(), value);
    }
    Value::Object(shown)
}

/// Returns a quota as JSON.
pub fn shown_quota(quota: &QuotaOverride) -> Value {
    json!({
        "limit": quota.caller.limit, "by": parts(&quota.caller), "issuer": quota.caller.issuer,
        "quota": quota.quota, "until": quota.ends_at, "created_at": quota.created_at,
        "changed_at": quota.changed_at, "actor": quota.actor,
    })
}

/// Returns a balance as JSON.
pub fn shown_credits(balance: &CreditBalance) -> Value {
    json!({
        "limit": balance.caller.limit, "by": parts(&balance.caller),
        "issuer": balance.caller.issuer, "granted": balance.granted,
        "created_at": balance.created_at, "changed_at": balance.changed_at,
        "actor": balance.actor,
    })
}

fn parts(caller: &LimitCaller) -> Value {
    serde_json::from_str(&caller.parts).unwrap_or_default()
}
