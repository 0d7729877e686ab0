//! The caller of a limit whose quota or credits are changed, and its counted key.

use super::target::issuer_of;
use super::terms::check_text;
use crate::db::LimitCaller;
use crate::problem::Problem;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{LimitBy, StoreKeys, address_group, limit_key_text};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// One part of a counted key. The parts have the order of `by` in the edge's policy.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CallerPart {
    pub part: String,
    pub value: String,
}

impl CallerPart {
    /// Parses `part=value`, the form of commands and queries.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (part, value) = text
            .split_once('=')
            .ok_or_else(|| format!("{text} has no =; give a part and its value: subject=alice"))?;
        Ok(Self { part: part.to_owned(), value: value.to_owned() })
    }
}

/// Returns the caller of `limit` that has these parts. Without an issuer, it is this service.
pub fn limit_caller(
    limit: &str,
    parts: Vec<CallerPart>,
    issuer: Option<String>,
    own_issuer: &str,
) -> Result<LimitCaller, Problem> {
    let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !(1..=64).contains(&limit.len()) || !limit.bytes().all(is_name_byte) {
        return Err(Problem::AdjustmentInvalid(
            "the limit is invalid; give its name as the edge's policy has it",
        ));
    }
    if !(1..=PARTS_MAX).contains(&parts.len()) {
        return Err(Problem::AdjustmentInvalid(
            "by has no part, or more than 8; give the parts of the limit's by, in its order",
        ));
    }
    let issuer = issuer_of(issuer, own_issuer)?;
    let (mut counted, mut known): (Vec<(LimitBy, String)>, Vec<CallerPart>) = Default::default();
    for CallerPart { part, value } in parts {
        let by = LimitBy::parse(&part).ok_or(Problem::AdjustmentInvalid(UNKNOWN_PART))?;
        if counted.iter().any(|(other, _)| *other == by) {
            return Err(Problem::AdjustmentInvalid("a part of by is there twice; name it once"));
        }
        check_text(&value, VALUE_BYTES_MAX, VALUE)?;
        let value = match by {
            LimitBy::Address => {
                let address = value.parse();
                let problem = "the address of by is invalid; give one such as 192.0.2.1";
                address_group(Some(address.map_err(|_| Problem::AdjustmentInvalid(problem))?))
            }
            LimitBy::Country => value.to_ascii_uppercase(),
            _ => value,
        };
        known.push(CallerPart { part, value: value.clone() });
        counted.push((by, value));
    }
    let parts: Vec<(LimitBy, &str)> =
        counted.iter().map(|(by, value)| (by.clone(), value.as_str())).collect();
    let hash = StoreKeys::limit_hash(limit, &limit_key_text(&issuer, &parts));
    Ok(LimitCaller {
        limit: limit.to_owned(),
        issuer,
        parts: json!(known).to_string(),
        hash: URL_SAFE_NO_PAD.encode(hash),
    })
}

const UNKNOWN_PART: &str = "a part of by is unknown; give parts as the limit's by has them: \
                            address, subject, client, session, key, country, asn, route, \
                            claim:NAME or header:NAME";
const VALUE: &str = "a value of by is invalid; give at most 1024 bytes without control characters";
const VALUE_BYTES_MAX: usize = 1024;
const PARTS_MAX: usize = 8;
