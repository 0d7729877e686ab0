//! Custom claims: what operators add to the tokens of a user or a client.

use serde_json::{Map, Value};

/// Custom claims within their bounds, by their names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CustomClaims(Map<String, Value>);

/// The reason why claims are refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimsError {
    /// A standard defines the name, or this service does.
    Reserved,
    /// A name is empty or too long, or there are too many claims, or they are too large or too
    /// deep.
    OutOfBounds,
}

impl ClaimsError {
    /// Returns what is wrong, and the bounds.
    pub fn description(self) -> &'static str {
        match self {
            Self::Reserved => "the name of a claim is reserved; choose another one",
            Self::OutOfBounds => {
                "the claims are out of bounds: at most 16, names of 1 to 64 visible characters, \
                 4096 bytes of JSON in all, nested at most 4 deep"
            }
        }
    }
}

impl CustomClaims {
    /// Decodes the column of a table. A text that is not an object counts as no claims.
    pub fn decode(text: Option<&str>) -> Self {
        let members = text.and_then(|text| serde_json::from_str(text).ok());
        Self(members.unwrap_or_default())
    }

    /// Encodes the claims for the column of a table; `None` if there are none.
    pub fn encode(&self) -> Option<String> {
        let text = || serde_json::to_string(&self.0).ok();
        if self.0.is_empty() { None } else { text() }
    }

    /// Returns the claims with each member of `patch` set, or removed if it is `null`.
    pub fn with(&self, patch: &Map<String, Value>) -> Result<Self, ClaimsError> {
        let mut claims = self.0.clone();
        for (name, value) in patch {
            if RESERVED.contains(&name.as_str()) {
                return Err(ClaimsError::Reserved);
            }
            match value {
                Value::Null => drop(claims.remove(name)),
                value => drop(claims.insert(name.clone(), value.clone())),
            }
        }
        let is_name = |name: &str| {
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic())
        };
        let fits = claims.len() <= CLAIMS_MAX
            && claims.keys().all(|name| is_name(name))
            && claims.values().all(|value| is_within(value, DEPTH_MAX))
            && serde_json::to_string(&claims).is_ok_and(|text| text.len() <= BYTES_MAX);
        if fits { Ok(Self(claims)) } else { Err(ClaimsError::OutOfBounds) }
    }

    /// Returns the claims after a patch. `None` removes all.
    pub fn patched(&self, patch: Option<&Map<String, Value>>) -> Result<Self, ClaimsError> {
        patch.map_or_else(|| Ok(Self::default()), |patch| self.with(patch))
    }

    /// Returns the claims by their names.
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Returns whether there is a claim of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Returns whether a value nests at most `depth` arrays and objects.
fn is_within(value: &Value, depth: usize) -> bool {
    let inner = |mut values: Box<dyn Iterator<Item = &Value> + '_>| match depth.checked_sub(1) {
        Some(left) => values.all(|value| is_within(value, left)),
        None => false,
    };
    match value {
        Value::Array(values) => inner(Box::new(values.iter())),
        Value::Object(members) => inner(Box::new(members.values())),
        _ => true,
    }
}

const CLAIMS_MAX: usize = 16;
const BYTES_MAX: usize = 4096;
const DEPTH_MAX: usize = 4;

/// The names of RFC 7519, 7662, 7800, 8417, 8693, 9068 and OpenID Connect Core, and this service's
/// own: other programs read their meaning into them.
const RESERVED: [&str; 37] = [
    "acr",
    "act",
    "active",
    "amr",
    "at_hash",
    "aud",
    "auth_time",
    "azp",
    "c_hash",
    "client_id",
    "cnf",
    "events",
    "exp",
    "ext",
    "iat",
    "iss",
    "jti",
    "key",
    "may_act",
    "metadata",
    "nbf",
    "nonce",
    "others",
    "read_as",
    "s_hash",
    "scope",
    "scp",
    "sid",
    "sub",
    "sub_id",
    "toe",
    "token_type",
    "token_use",
    "txn",
    "typ",
    "username",
    "v",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(patch: &Value) -> Result<CustomClaims, ClaimsError> {
        CustomClaims::default().with(patch.as_object().unwrap())
    }

    #[test]
    fn claims_are_set_and_removed_by_name() {
        let claims = with(&json!({ "plan": "pro", "org": { "id": 7 } })).unwrap();
        let patch = json!({ "plan": null, "beta": true, "none": null });
        let claims = claims.with(patch.as_object().unwrap()).unwrap();
        assert_eq!(
            Value::Object(claims.members().clone()),
            json!({ "org": { "id": 7 }, "beta": true })
        );
        assert_eq!(CustomClaims::decode(claims.encode().as_deref()), claims);
        assert_eq!(CustomClaims::default().encode(), None);
    }

    #[test]
    fn reserved_names_are_refused_even_to_remove_them() {
        for name in RESERVED {
            for value in [json!("x"), json!(null)] {
                assert_eq!(with(&json!({ name: value })), Err(ClaimsError::Reserved), "{name}");
            }
        }
        assert!(RESERVED.is_sorted());
        assert!(with(&json!({ "roles": ["a"], "groups": ["b"], "tenant": "c" })).is_ok());
    }

    #[test]
    fn claims_out_of_bounds_are_refused() {
        let many = |count: usize| -> Value {
            (0..count).map(|number| (format!("c{number}"), json!(1))).collect::<Map<_, _>>().into()
        };
        let nested = |depth: usize| {
            let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            json!({ "c": serde_json::from_str::<Value>(&text).unwrap() })
        };
        // The rest of the object takes 8 bytes.
        let long = |bytes: usize| json!({ "c": "x".repeat(bytes - 8) });
        for good in [many(16), nested(4), long(4096), json!({ "x".repeat(64): 1 })] {
            assert!(with(&good).is_ok());
        }
        for bad in [
            many(17),
            nested(5),
            long(4097),
            json!({ "x".repeat(65): 1 }),
            json!({ "": 1 }),
            json!({ "a b": 1 }),
            json!({ "é": 1 }),
            json!({ "a\u{0}": 1 }),
        ] {
            assert_eq!(with(&bad), Err(ClaimsError::OutOfBounds));
        }
    }
}
