//! What a key may do: reads and validates it.

use super::merge::merge;
use crate::db::KeySpec;
use crate::problem::Problem;
use crate::was::Was;
use portcullis_core::{Network, UnixSeconds};
use serde_json::{Map, Value};

/// The members of a request that creates or changes a key.
pub struct SpecPatch {
    members: Map<String, Value>,
    /// The life of the key in seconds, in place of `expires_at`.
    expires_in: Option<u64>,
    /// The values that the change was made from.
    pub was: Was,
}

impl SpecPatch {
    /// Takes the members of a request's body.
    pub fn new(mut members: Map<String, Value>) -> Result<Self, Problem> {
        let expires_in = match members.remove("expires_in") {
            None | Some(Value::Null) => None,
            Some(_) if members.contains_key("expires_at") => {
                return Err(Problem::MemberInvalid("give expires_at or expires_in, not both"));
            }
            Some(value) => Some(value.as_u64().ok_or(EXPIRY_INVALID)?),
        };
        let was = members.remove("was").map(serde_json::from_value).transpose();
        let was = was.map_err(|_| Problem::MemberInvalid("was must be an object"))?;
        Ok(Self { members, expires_in, was: was.unwrap_or_default() })
    }
}

/// Applies a patch to a specification, and validates the result. `owned` is the owner's scope.
pub fn revised(
    old: Option<&KeySpec>,
    patch: SpecPatch,
    owned: &str,
    now: UnixSeconds,
) -> Result<KeySpec, Problem> {
    let document = old.map(serde_json::to_value).transpose().map_err(|_| Problem::Internal)?;
    let mut document = match document {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    };
    merge(&mut document, patch.members);
    if let Some(seconds) = patch.expires_in {
        document.insert("expires_at".to_owned(), Value::from(now.0.saturating_add(seconds)));
    }
    document.entry("name").or_insert_with(|| Value::from(""));
    let spec: KeySpec =
        serde_json::from_value(Value::Object(document)).map_err(|_| Problem::RequestMalformed)?;
    validated(spec, old, owned, now)
}

/// Checks a specification against all bounds. Rejects a scope that the owner does not have, unless
/// the key had it before.
fn validated(
    mut spec: KeySpec,
    old: Option<&KeySpec>,
    owned: &str,
    now: UnixSeconds,
) -> Result<KeySpec, Problem> {
    let is_text =
        |text: &str, max| (1..=max).contains(&text.len()) && !text.contains(char::is_control);
    check(is_text(&spec.name, 200), "name must have 1 to 200 bytes, without control characters")?;
    let plan = spec.plan.as_deref();
    check(
        plan.is_none_or(|plan| is_text(plan, 64)),
        "plan must have 1 to 64 bytes, without control characters",
    )?;
    spec.scope = normalized_scope(&spec.scope)?;
    let had = old.map_or("", |old| old.scope.as_str());
    let mut names = spec.scope.split(' ').filter(|name| !name.is_empty());
    if !names.all(|name| has_name(owned, name) || has_name(had, name)) {
        return Err(Problem::ScopeInvalid);
    }
    check(spec.quotas.len() <= 16, "quotas must have at most 16 members")?;
    let is_quota = |(limit, quota): (&String, &u32)| {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let is_limit = (1..=64).contains(&limit.len()) && limit.bytes().all(is_name);
        is_limit && (1..=QUOTA_MAX).contains(quota)
    };
    check(
        spec.quotas.iter().all(is_quota),
        "quotas must give limits, by their names, 1 to 1000000 requests each",
    )?;
    check(spec.networks.len() <= 32, "networks must have at most 32 items")?;
    check(
        spec.networks.iter().all(|network| Network::try_from(network.clone()).is_ok()),
        "networks must be addresses or networks such as 192.0.2.0/24, without bits beyond the \
         prefix",
    )?;
    let metadata = Value::Object(spec.metadata.clone());
    check(metadata.to_string().len() <= 2048, "metadata must have at most 2048 bytes as JSON")?;
    check(depth(&metadata) <= 4, "metadata must nest at most 4 deep")?;
    if spec.expires_at != old.and_then(|old| old.expires_at)
        && let Some(at) = spec.expires_at
        && !(now.0 + 1..=now.plus(LIFE_SECONDS_MAX).0).contains(&at)
    {
        return Err(EXPIRY_INVALID);
    }
    Ok(spec)
}

fn check(is_valid: bool, problem: &'static str) -> Result<(), Problem> {
    is_valid.then_some(()).ok_or(Problem::MemberInvalid(problem))
}

/// Returns a scope with one space between its names, and each name once.
fn normalized_scope(scope: &str) -> Result<String, Problem> {
    let is_name =
        |name: &str| name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    let mut names: Vec<&str> = Vec::new();
    for name in scope.split(' ').filter(|name| !name.is_empty()) {
        if !is_name(name) {
            return Err(Problem::ScopeInvalid);
        }
        if !names.contains(&name) {
            names.push(name);
        }
        check(names.len() <= 64, SCOPE_LONG)?;
    }
    let scope = names.join(" ");
    check(scope.len() <= 2048, SCOPE_LONG)?;
    Ok(scope)
}

/// Returns whether a scope contains a name.
pub(super) fn has_name(scope: &str, name: &str) -> bool {
    scope.split(' ').any(|own| own == name)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

const EXPIRY_INVALID: Problem = Problem::MemberInvalid(
    "expires_at must be a time within the next 10 years, in Unix seconds; expires_in, the seconds \
     until then",
);
const SCOPE_LONG: &str = "scope must have at most 64 names and 2048 bytes";
const LIFE_SECONDS_MAX: u64 = 10 * 365 * 86_400;
/// The largest quota of a limit.
const QUOTA_MAX: u32 = 1_000_000;
