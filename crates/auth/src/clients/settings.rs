//! The settings of a client, and their changes.

use super::jwks::check_jwks;
use crate::custom_claims::CustomClaims;
use crate::random::random_id;
use crate::scope::normal_scope;
use crate::token::ACCESS_TOKEN_SECONDS_MAX;
use crate::was::Was;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

/// A client that gets access tokens for itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OAuthClient {
    /// The `client_id`, and the `sub` of its tokens.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// The widest scope of its tokens.
    pub scope: String,
    /// The life of its tokens; `None` for that of all access tokens.
    pub token_seconds: Option<u64>,
    /// The claim `plan` of its tokens.
    pub plan: Option<String>,
    pub claims: CustomClaims,
    pub auth_method: AuthMethod,
    /// The public keys by which it signs assertions.
    pub jwks: Option<String>,
    pub created_at: u64,
    pub disabled_at: Option<u64>,
    /// The last time up to which its tokens are revoked.
    pub tokens_revoked_at: Option<u64>,
}

/// How a client authenticates at the token endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthMethod {
    /// `client_secret_basic` or `client_secret_post`.
    ClientSecret,
    /// RFC 7523.
    PrivateKeyJwt,
}

impl AuthMethod {
    /// Returns the name in the database and in responses.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientSecret => "client_secret",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }

    /// Returns the method of a name in the database.
    pub fn named(name: &str) -> Self {
        if name == Self::PrivateKeyJwt.name() { Self::PrivateKeyJwt } else { Self::ClientSecret }
    }
}

impl OAuthClient {
    /// Returns the claims that its tokens have beyond the standard ones.
    pub fn token_claims(&self) -> Map<String, Value> {
        let mut claims = self.claims.members().clone();
        if let Some(plan) = &self.plan {
            claims.insert(PLAN.to_owned(), plan.as_str().into());
        }
        claims
    }

    /// Returns the client as endpoints and commands show it.
    pub fn shown(&self) -> Value {
        let jwks = self.jwks.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        json!({
            "client_id": self.id,
            "name": self.name,
            "scope": self.scope,
            "token_seconds": self.token_seconds,
            "plan": self.plan,
            "claims": self.claims.members(),
            "auth_method": self.auth_method.name(),
            "jwks": jwks,
            "disabled": self.disabled_at.is_some(),
            "created_at": self.created_at,
        })
    }
}

/// Returns the id of a new client. Its prefix keeps it apart from the ids of users.
pub fn new_client_id() -> String {
    format!("{ID_PREFIX}{}", random_id())
}

/// Returns whether a text has the form of a client's id. Others belong to no client.
pub fn is_client_id(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    text.strip_prefix(ID_PREFIX).is_some_and(|id| id.len() == 22 && id.bytes().all(is_allowed))
}

/// A change of a client's settings: a merge patch (RFC 7396). A new client is a change of one
/// without settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientEdit {
    /// `null` is read as the empty name, which no client may have.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub name: Option<String>,
    /// `null` removes all.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub scope: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub token_seconds: Option<Option<u64>>,
    #[serde(default, deserialize_with = "nullable")]
    pub plan: Option<Option<String>>,
    /// Changes claims by their names. `null` removes all.
    #[serde(default, deserialize_with = "nullable")]
    pub claims: Option<Option<Map<String, Value>>>,
    #[serde(default, deserialize_with = "nullable")]
    pub jwks: Option<Option<Map<String, Value>>>,
    #[serde(default, deserialize_with = "not_null")]
    pub disabled: Option<bool>,
    /// Whether the tokens that were issued before are revoked.
    #[serde(default)]
    pub now: bool,
    /// The values that the change was made from.
    #[serde(default)]
    pub was: Was,
}

impl ClientEdit {
    /// Returns the changed client.
    ///
    /// # Errors
    ///
    /// What is wrong with a setting, and how it should be.
    pub fn apply(&self, mut client: OAuthClient, now: u64) -> Result<OAuthClient, &'static str> {
        if let Some(name) = &self.name {
            let is_name =
                (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
            if !is_name {
                return Err("name must have 1 to 200 bytes, without control characters");
            }
            client.name.clone_from(name);
        }
        if let Some(scope) = &self.scope {
            client.scope = normal_scope(scope)?;
        }
        if let Some(seconds) = self.token_seconds {
            let bounds = 1..=ACCESS_TOKEN_SECONDS_MAX;
            if seconds.is_some_and(|seconds| !bounds.contains(&seconds)) {
                return Err("token_seconds must be 1 to 86400");
            }
            client.token_seconds = seconds;
        }
        if let Some(plan) = &self.plan {
            let is_plan = |plan: &String| {
                (1..=PLAN_BYTES_MAX).contains(&plan.len()) && !plan.contains(char::is_control)
            };
            if plan.as_ref().is_some_and(|plan| !is_plan(plan)) {
                return Err("plan must have 1 to 64 bytes, without control characters");
            }
            client.plan.clone_from(plan);
        }
        if let Some(claims) = &self.claims {
            let patched = client.claims.patched(claims.as_ref());
            client.claims = patched.map_err(|error| error.description())?;
            if client.claims.has(PLAN) {
                return Err("the claim plan of a client is its member plan; set that");
            }
        }
        match (&self.jwks, client.auth_method) {
            (Some(Some(jwks)), AuthMethod::PrivateKeyJwt) => client.jwks = Some(check_jwks(jwks)?),
            (Some(Some(_)), AuthMethod::ClientSecret) => {
                return Err("the client authenticates by a secret; create another one with jwks");
            }
            (Some(None), AuthMethod::PrivateKeyJwt) => {
                return Err("jwks can't be removed; replace it, or create a client with a secret");
            }
            (Some(None), AuthMethod::ClientSecret) | (None, _) => {}
        }
        match self.disabled {
            Some(true) => client.disabled_at = client.disabled_at.or(Some(now)),
            Some(false) => client.disabled_at = None,
            None => {}
        }
        Ok(client)
    }

    /// Returns a new client with these settings.
    ///
    /// # Errors
    ///
    /// What is wrong with a setting, and how it should be.
    pub fn create(&self, id: String, now: u64) -> Result<OAuthClient, &'static str> {
        if self.name.is_none() {
            return Err("name is missing; give 1 to 200 bytes");
        }
        let auth_method = match self.jwks {
            Some(Some(_)) => AuthMethod::PrivateKeyJwt,
            Some(None) | None => AuthMethod::ClientSecret,
        };
        let empty = OAuthClient {
            id,
            name: String::new(),
            scope: String::new(),
            token_seconds: None,
            plan: None,
            claims: CustomClaims::default(),
            auth_method,
            jwks: None,
            created_at: now,
            disabled_at: None,
            tokens_revoked_at: None,
        };
        self.apply(empty, now)
    }
}

/// Reads a member that may be `null`: `Some(None)`.
pub fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Reads a text. `null` is the empty one, as if the member was removed.
pub fn null_as_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
}

/// Reads a member that can't be removed by `null`.
fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

const ID_PREFIX: &str = "pcc_";
const PLAN: &str = "plan";
const PLAN_BYTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(patch: &Value) -> ClientEdit {
        serde_json::from_value(patch.clone()).unwrap()
    }

    fn create(settings: &Value) -> Result<OAuthClient, &'static str> {
        edit(settings).create("c".into(), 1000)
    }

    #[test]
    fn settings_are_set_kept_and_removed() {
        let new = json!({ "name": "batch", "scope": "b  a b", "token_seconds": 60, "plan": "pro",
            "claims": { "org": 1 } });
        let client = create(&new).unwrap();
        assert_eq!(client.scope, "b a");
        assert_eq!(Value::Object(client.token_claims()), json!({ "org": 1, "plan": "pro" }));
        let patch = json!({ "token_seconds": null, "plan": null, "claims": { "org": null } });
        let changed = edit(&patch).apply(client.clone(), 2000).unwrap();
        assert_eq!((changed.token_seconds, &changed.plan), (None, &None));
        assert!(changed.token_claims().is_empty() && changed.name == "batch");
        let cleared = edit(&json!({ "claims": null })).apply(client.clone(), 2000).unwrap();
        assert_eq!(Value::Object(cleared.token_claims()), json!({ "plan": "pro" }));
        assert_eq!(edit(&json!({})).apply(client.clone(), 2000), Ok(client.clone()));
        let removed = edit(&json!({ "scope": null, "jwks": null })).apply(client.clone(), 2000);
        assert_eq!(removed, Ok(OAuthClient { scope: String::new(), ..client.clone() }));
        let disabled = edit(&json!({ "disabled": true })).apply(client, 2000).unwrap();
        assert_eq!(disabled.disabled_at, Some(2000));
        let again = edit(&json!({ "disabled": true })).apply(disabled.clone(), 3000).unwrap();
        assert_eq!(again, disabled);
        assert_eq!(
            edit(&json!({ "disabled": false })).apply(again, 3000).unwrap().disabled_at,
            None
        );
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        for bad in [
            json!({}),
            json!({ "name": "" }),
            json!({ "name": "x".repeat(201) }),
            json!({ "name": "a\u{0}" }),
            json!({ "name": null }),
            json!({ "name": "a", "scope": "a\"b" }),
            json!({ "name": "a", "scope": "x".repeat(1025) }),
            json!({ "name": "a", "token_seconds": 0 }),
            json!({ "name": "a", "token_seconds": 86_401 }),
            json!({ "name": "a", "plan": "" }),
            json!({ "name": "a", "plan": "x".repeat(65) }),
            json!({ "name": "a", "claims": { "sub": "x" } }),
            json!({ "name": "a", "claims": { "plan": "x" } }),
            json!({ "name": "a", "jwks": {} }),
        ] {
            assert!(create(&bad).is_err(), "{bad}");
        }
        for wrong in [
            json!({ "nam": "a" }),
            json!({ "name": 1 }),
            json!({ "token_seconds": -1 }),
            json!({ "disabled": null }),
            json!({ "now": null }),
        ] {
            assert!(serde_json::from_value::<ClientEdit>(wrong.clone()).is_err(), "{wrong}");
        }
        let by_secret = create(&json!({ "name": "a" })).unwrap();
        assert!(edit(&json!({ "jwks": { "keys": [] } })).apply(by_secret.clone(), 1).is_err());
        assert!(edit(&json!({ "name": null })).apply(by_secret.clone(), 1).is_err());
        let by_keys = OAuthClient { auth_method: AuthMethod::PrivateKeyJwt, ..by_secret };
        assert!(edit(&json!({ "jwks": null })).apply(by_keys, 1).is_err());
    }
}
