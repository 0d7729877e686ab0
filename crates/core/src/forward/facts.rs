//! What a permit says of its request, for a program that answers it.

use super::permit::Permit;
use serde_json::{Map, Value};

impl Permit<'_> {
    /// Returns the facts as a JSON object: `route`, and for a caller with a token `issuer`,
    /// `subject`, `scopes`, `clientId`, `session`, `expiresAt` (Unix seconds) and `claims`, as far
    /// as the token has them. `claims` has the claims that the policy uses. `degraded` says what
    /// was decided without the store. `would_refuse` is the code of a refusal that the route does
    /// not enforce; it becomes `wouldRefuse`.
    pub fn facts(&self, would_refuse: Option<&str>) -> Value {
        let mut facts = Map::new();
        facts.insert("route".to_owned(), self.route.name.as_str().into());
        if let Some(verified) = &self.verified {
            let claims = verified.claims();
            let scopes: Vec<&str> =
                claims.scope.split(' ').filter(|scope| !scope.is_empty()).collect();
            let members: [(&str, Option<Value>); 7] = [
                ("issuer", Some(claims.iss.as_str().into())),
                ("subject", claims.subject().map(Into::into)),
                ("scopes", Some(scopes.into())),
                ("clientId", claims.client_id.as_deref().map(Into::into)),
                ("session", claims.sid.as_deref().map(Into::into)),
                ("expiresAt", claims.exp.map(|exp| exp.0.into())),
                ("claims", Some(Value::Object(claims.others.clone()))),
            ];
            for (name, value) in members {
                if let Some(value) = value {
                    facts.insert(name.to_owned(), value);
                }
            }
        }
        if let Some(degraded) = self.degraded.text() {
            facts.insert("degraded".to_owned(), degraded.into());
        }
        if let Some(code) = would_refuse {
            facts.insert("wouldRefuse".to_owned(), code.into());
        }
        Value::Object(facts)
    }
}
