//! Tokens of requests that are explained: made of claims, or opaque.

use super::assume::{Assumption, Assumptions};
use crate::command::Host;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Issuer, Outage, Policy, Refusal, TokenRecord, TokenType};
use serde_json::{Map, Value, json};

/// Reads a file of claims.
pub(super) fn claims(path: &str, host: &Host<'_>) -> Result<Map<String, Value>, String> {
    let text = (host.read)(path).map_err(|error| format!("can't read {path}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))
}

/// Returns a JWT with these claims, and with `iss`, `aud`, `sub`, `iat` and `exp` where they are
/// missing. Its signature is none; `explain` assumes that it is good.
pub(super) fn made_of(
    mut claims: Map<String, Value>,
    policy: &Policy,
    now_seconds: u64,
) -> Result<String, String> {
    let named = claims.get("iss").and_then(Value::as_str);
    let signs =
        |issuer: &&Issuer| issuer.keys.is_some() && named.is_none_or(|name| issuer.issuer == name);
    let issuer = policy.issuers.iter().find(signs).or(policy.issuers.first());
    let issuer = issuer.ok_or("the policy has no issuer")?;
    for (name, value) in [
        ("iss", json!(issuer.issuer)),
        ("aud", audiences(issuer)),
        ("sub", json!("someone")),
        ("iat", json!(now_seconds)),
        ("exp", json!(now_seconds + 300)),
    ] {
        claims.entry(name).or_insert(value);
    }
    let algorithm = issuer.algorithms.first().map_or("EdDSA", |algorithm| algorithm.name());
    let typ = if issuer.token_type == TokenType::AtJwt { "at+jwt" } else { "JWT" };
    let header = json!({ "alg": algorithm, "typ": typ, "kid": "assumed" });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    Ok(format!("{}.{}.AAAA", part(&header), part(&Value::Object(claims))))
}

/// Returns the issuer's audience, or a list with those of the resources that accept its tokens.
fn audiences(issuer: &Issuer) -> Value {
    match issuer.resources.as_slice() {
        [] => json!(issuer.audience),
        resources => {
            let names = resources.iter().filter_map(|(_, names)| names.first());
            json!(names.chain([&issuer.audience]).collect::<Vec<_>>())
        }
    }
}

/// Returns what the store or the issuer says of an opaque token: these claims.
pub(super) fn record(
    claims: &Map<String, Value>,
    issuer: &str,
    now_seconds: u64,
    assumptions: &mut Assumptions,
) -> Result<TokenRecord, Refusal> {
    if assumptions.holds(&Assumption::AuthDown) {
        return Err(Outage::IntrospectionUnreachable.into());
    }
    assumptions.note(&format!("{issuer} answers that the token is active"));
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| claims.get(name).and_then(Value::as_u64);
    let own = ["aud", "client_id", "exp", "iat", "iss", "jti", "scope", "sid", "sub"];
    let others = claims.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    Ok(TokenRecord {
        sub: text("sub").unwrap_or_else(|| "someone".to_owned()),
        sid: text("sid"),
        client_id: text("client_id"),
        scope: text("scope").unwrap_or_default(),
        exp: number("exp"),
        aud: None,
        iss: Some(issuer.to_owned()),
        jti: text("jti"),
        iat: number("iat"),
        asked_at: Some(now_seconds),
        read_as: None,
        audiences: None,
        others: others.map(|(name, value)| (name.clone(), value.clone())).collect(),
    })
}
