//! Tests of API keys, on SQLite and on Postgres.

mod bounds;
mod introspection;
mod load;
mod owners;
mod races;
mod rules;
mod store;

use super::service::IssuedKey;
use crate::api_keys::{Manager, SpecPatch};
use crate::audit::ClientInfo;
use crate::db::User;
use crate::problem::Problem;
use crate::testing::TestService;
use crate::token::AccessClaims;
use portcullis_core::UnixSeconds;
use serde_json::{Map, Value, json};

/// Returns the members of a JSON object.
fn patch(value: Value) -> SpecPatch {
    let Value::Object(members) = value else { panic!("no object") };
    SpecPatch::new(members).unwrap()
}

/// Returns a user as the manager of the user's own keys.
fn user(user: &User, scope: &str) -> Manager {
    let claims = AccessClaims {
        iss: "https://a.example".into(),
        sub: user.id.clone(),
        aud: "api".into(),
        exp: 0,
        iat: 0,
        jti: "j".into(),
        sid: Some("s".into()),
        client_id: "portcullis".into(),
        scope: scope.into(),
        others: Map::new(),
    };
    let is_admin = scope.split(' ').any(|name| name == "keys:admin");
    Manager::of_token(&claims, &ClientInfo::default(), is_admin)
}

/// The scope of a user's session in these tests.
const SCOPE: &str = "read write keys:manage";

impl TestService {
    /// Creates a key with a name for a user, who is an administrator.
    async fn key(&self, owner: &User, terms: Value, now: UnixSeconds) -> IssuedKey {
        self.try_key(owner, terms, now).await.unwrap()
    }

    async fn try_key(
        &self,
        owner: &User,
        mut terms: Value,
        now: UnixSeconds,
    ) -> Result<IssuedKey, Problem> {
        let members = terms.as_object_mut().unwrap();
        members.entry("name").or_insert_with(|| json!("ci"));
        self.api_keys.create(&user(owner, "keys:admin"), None, patch(terms), now).await
    }

    async fn is_key_active(&self, secret: &str, now: UnixSeconds) -> bool {
        self.api_keys.introspect(secret, now).await.unwrap().is_some()
    }
}
