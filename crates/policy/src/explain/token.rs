//! Tokens of requests that are explained: made of claims, or opaque.

use super::assume::{Assumption, Assumptions};
use crate::command::Host;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{
    AudienceClaim, Introspection, Issuer, Outage, Policy, Refusal, TokenRecord, TokenType,
    UnixSeconds, api_key,
};
use serde_json::{Map, Value, json};

/// Reads a file of claims.
pub(super) fn claims(path: &str, host: &Host<'_>) -> Result<Map<String, Value>, String> {
    let text = (host.read)(path).map_err(|error| format!("can't read {path}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))
}

/// Returns a JWT with these claims, and with `iss`, `aud`, `sub`, `iat` and `exp` where they are
/// missing, and what else its issuer requires of its tokens' issuer, audience and header. Its
/// signature is none; `explain` assumes that it is good.
pub(super) fn made_of(
    mut claims: Map<String, Value>,
    policy: &Policy,
    now_seconds: u64,
) -> Result<String, String> {
    let named = claims.get("iss").and_then(Value::as_str);
    if claims.contains_key("key") {
        let prefixes = policy.issuers.iter().flat_map(|issuer| &issuer.api_key_prefixes);
        let prefix = prefixes.last().ok_or("no issuer of the policy has api_key_prefixes")?;
        return Ok(api_key::compose(prefix, [0; 32]));
    }
    let signs =
        |issuer: &&Issuer| issuer.keys.is_some() && named.is_none_or(|name| issuer.accepts(name));
    let issuer = policy.issuers.iter().find(signs).or(policy.issuers.first());
    let issuer = issuer.ok_or("the policy has no issuer")?;
    for (name, value) in
        [("sub", json!("someone")), ("iat", json!(now_seconds)), ("exp", json!(now_seconds + 300))]
    {
        claims.entry(name).or_insert(value);
    }
    name_issuer(&mut claims, issuer);
    name_audience(&mut claims, issuer);
    let algorithm = issuer.algorithms.first().map_or("EdDSA", |algorithm| algorithm.name());
    let typ = if issuer.token_type == TokenType::AtJwt { "at+jwt" } else { "JWT" };
    let mut header = json!({ "alg": algorithm, "typ": typ, "kid": "assumed" });
    if let Some(header) = header.as_object_mut() {
        let required = issuer.header.required.iter().map(|place| (place, json!("assumed")));
        let values = issuer.header.values.iter();
        let values = values.filter_map(|(place, of)| Some((place, of.first()?.clone())));
        for (place, value) in required.chain(values) {
            // The place of a member within another is left out.
            header.insert(place.strip_prefix('/').unwrap_or(place).to_owned(), value);
        }
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    Ok(format!("{}.{}.AAAA", part(&header), part(&Value::Object(claims))))
}

/// Adds the issuer, and its tenant, if there is none.
fn name_issuer(claims: &mut Map<String, Value>, issuer: &Issuer) {
    if claims.contains_key("iss") {
        return;
    }
    let mut name = issuer.issuer.clone();
    if let Some(tenants) = &issuer.tenants {
        let tenant = tenants.first().map_or("someone", String::as_str);
        let tid = claims.entry("tid").or_insert_with(|| json!(tenant));
        name = name.replace("{tenant}", tid.as_str().unwrap_or_default());
    }
    claims.insert("iss".to_owned(), json!(name));
}

/// Adds what says that the token is for this API, and for the resources that accept the issuer's
/// tokens, where all of it is missing.
fn name_audience(claims: &mut Map<String, Value>, issuer: &Issuer) {
    if let Some(party) = issuer.authorized_parties.first() {
        claims.entry("azp").or_insert_with(|| json!(party));
    }
    let resources = issuer.resources.iter().filter_map(|(_, names)| names.first());
    let all: Vec<_> = resources.chain(issuer.audiences.first()).collect();
    let claim = match issuer.audience_claim {
        _ if !issuer.resources.is_empty() => {
            claims.entry("aud").or_insert_with(|| json!(all));
            return;
        }
        AudienceClaim::Aud => "aud",
        AudienceClaim::ClientId => "client_id",
        AudienceClaim::Azp => "azp",
        AudienceClaim::Iss => return,
    };
    if let Some(audience) = issuer.audiences.first().filter(|_| !claims.contains_key("aud")) {
        claims.entry(claim).or_insert_with(|| json!(audience));
    }
}

/// Returns the record of an API key with these claims; `None` if they can't be those of one.
pub(super) fn key_record(
    claims: &Map<String, Value>,
    issuer: &Issuer,
    assumptions: &mut Assumptions,
) -> Option<TokenRecord> {
    assumptions.note("the key is genuine, and its record is as given");
    let mut record = Map::new();
    let mut others = claims.clone();
    let defaults = [
        ("sub", Some(json!("someone"))),
        ("aud", issuer.audiences.first().map(|audience| json!(audience))),
        ("key", Some(json!({}))),
    ];
    let names = ["sub", "aud", "key", "client_id", "scope", "exp", "jti", "iat"];
    for name in names {
        let default = defaults.iter().find(|(own, _)| *own == name);
        let value = others.remove(name).or_else(|| default.and_then(|(_, value)| value.clone()));
        record.extend(value.map(|value| (name.to_owned(), value)));
    }
    record.insert("others".to_owned(), Value::Object(others));
    TokenRecord::decode(&Value::Object(record).to_string(), "", None)
}

/// Returns what the store or the issuer says of an opaque token: these claims.
pub(super) fn record(
    claims: &Map<String, Value>,
    issuer: &Issuer,
    policy: &Policy,
    now_seconds: u64,
    assumptions: &mut Assumptions,
) -> Result<TokenRecord, Refusal> {
    if assumptions.holds(&Assumption::AuthDown) {
        return Err(Outage::IntrospectionUnreachable.into());
    }
    assumptions.note(&format!("{} answers that the token is active", issuer.issuer));
    let mut response = claims.clone();
    response.entry("active").or_insert(json!(true));
    response.entry("sub").or_insert(json!("someone"));
    let text = Value::Object(response).to_string();
    Introspection::read(issuer, &policy.other_claims, 200, &text, UnixSeconds(now_seconds))
}
