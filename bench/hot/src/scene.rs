//! Core's functions that each request runs, with the data of a typical request.

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{
    AuthenticatedRequest, Check, Destination, Permit, Policy, RequestHead, StoreResult, TokenHash,
    TokenRecord, TokenRequirement, UnixSeconds, UnverifiedToken, VerifiedToken,
};
use redis_rest::{decode_replies, encode_pipeline};
use serde_json::json;
use std::hint::black_box;
use std::rc::Rc;

/// A typical request, with the store's response to it.
pub struct Scene {
    policy: &'static Policy,
    head: String,
    token: String,
    verified: Rc<VerifiedToken>,
    sealed: String,
    record_key: String,
    replies: String,
}

/// A function to measure.
pub type Work = fn(&Scene);

/// All measured functions by name. bench/instructions.txt and docs/performance.md use these names.
pub const HOT: [(&str, Work); 7] = [
    ("read_head", Scene::read_head),
    ("route_and_hash", Scene::route_and_hash),
    ("read_token", Scene::read_token),
    ("ask", Scene::ask),
    ("open_record", Scene::open_record),
    ("judge", Scene::judge),
    ("edit_fields", Scene::edit_fields),
];

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const REQUEST_ID: &str = "0af76519-16cd-43dd-8448-eb211c80319c";

impl Scene {
    /// Creates the scene: a strict route with a rate limit, and a registered token.
    pub fn new() -> Result<Self> {
        let policy: &'static Policy = Box::leak(Box::new(policy()?));
        let header = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"bench"}"#;
        let claims = json!({
            "iss": ISSUER, "aud": ISSUER, "sub": "user-000001", "sid": "0123456789abcdef0123456789abcdef",
            "client_id": "web", "scope": "api:read api:write", "exp": NOW.0 + 900, "iat": NOW.0, "jti": "0123456789abcdef",
        });
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signature = URL_SAFE_NO_PAD.encode([7; 64]);
        let token = format!("{}.{}.{signature}", part(header), part(&claims.to_string()));
        let record = TokenRecord {
            sub: "user-000001".to_owned(),
            sid: Some("0123456789abcdef0123456789abcdef".to_owned()),
            client_id: Some("web".to_owned()),
            scope: "api:read api:write".to_owned(),
            exp: Some(NOW.0 + 900),
            ..TokenRecord::default()
        };
        let record_key = policy.keys.token(&TokenHash::of(&token));
        let sealed = record.encode(&record_key, policy.seal.as_ref(), [1; 12]);
        let replies = json!([
            { "result": [null, null, null, null, null, null, null, sealed] }, { "result": [1, 9999, 0, 6, 0, 0] },
        ])
        .to_string();
        let head = format!("{HEAD}{token}");
        let verified = {
            let head = RequestHead::parse(&head).context("no head")?;
            let check = check(policy, &head)?;
            match check.unverified_token(NOW).map_err(|denial| anyhow!("{denial}"))? {
                UnverifiedToken::Jwt(jwt) => check.accept_signature(jwt, true),
                UnverifiedToken::Opaque(_) | UnverifiedToken::ApiKey(_) => {
                    return Err(anyhow!("not a JWT"));
                }
            }
        };
        let verified = verified.map_err(|denial| anyhow!("{denial}"))?;
        Ok(Self { policy, head, token, verified, sealed, record_key, replies })
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead::parse(&self.head).unwrap_or_else(|| RequestHead::new("GET", "", Vec::new()))
    }

    fn authenticated(&self, check: &Check<'_, 'static>) -> Option<AuthenticatedRequest<'static>> {
        check.authenticate(Rc::clone(&self.verified), None::<TokenRequirement>, NOW).ok()
    }

    fn decided(&self, head: &RequestHead<'_>) -> Option<Permit<'static>> {
        let check = check(self.policy, head).ok()?;
        let authenticated = self.authenticated(&check)?;
        let replies = decode_replies(&self.replies, 2).ok()?;
        let results = replies.into_iter().map(StoreResult::Reply).collect();
        let mut results = check.divide(&authenticated, results);
        check.open_record(&authenticated, &mut results);
        check.limit_decisions(&authenticated, &results);
        check.decide(&authenticated, &results).ok()
    }

    fn read_head(&self) {
        black_box(self.head());
    }

    fn route_and_hash(&self) {
        let _ = black_box(check(self.policy, &self.head()));
    }

    fn read_token(&self) {
        let head = self.head();
        let _ =
            black_box(check(self.policy, &head).map(|check| check.unverified_token(NOW).is_ok()));
    }

    fn ask(&self) {
        let head = self.head();
        let pipeline = check(self.policy, &head).ok().and_then(|check| {
            let authenticated = self.authenticated(&check)?;
            Some(encode_pipeline(&check.commands(&authenticated)))
        });
        black_box(pipeline.is_some_and(|text| text.len() > self.token.len() / 4));
    }

    fn open_record(&self) {
        black_box(TokenRecord::decode(&self.sealed, &self.record_key, self.policy.seal.as_ref()));
    }

    fn judge(&self) {
        black_box(self.decided(&self.head()).is_some());
    }

    fn edit_fields(&self) {
        let head = self.head();
        let edits =
            self.decided(&head).map(|permit| permit.header_edits(&head, REQUEST_ID).set.len());
        black_box(edits);
    }
}

fn check<'h>(policy: &'static Policy, head: &RequestHead<'h>) -> Result<Check<'h, 'static>> {
    let destination = policy.destination(head).map_err(|refusal| anyhow!("{refusal}"))?;
    match destination {
        Destination::Route(route) => {
            Check::new(head, route, policy).map_err(|denial| anyhow!("{denial}"))
        }
        Destination::Edge(_) => Err(anyhow!("answered by the edge")),
    }
}

fn policy() -> Result<Policy> {
    let limit = json!({ "quota": 10_000, "window_seconds": 60, "by": "subject" });
    let document = json!({
        "upstream": { "url": "https://api.internal.example" },
        "auth": { "url": "https://auth.internal.example" },
        "store": { "url": "https://store.example" },
        "issuers": [{
            "issuer": ISSUER, "audience": ISSUER, "algorithms": ["EdDSA"], "jwks_url": "https://auth.example/jwks.json",
        }],
        "routes": [
            { "name": "login", "path": "/auth/login", "access": "auth" },
            { "name": "auth", "path": "/auth/*", "access": "auth" },
            { "name": "public", "path": "/public/*", "access": "public" },
            { "name": "admin", "path": "/api/admin/*", "access": "protected", "scopes": ["admin"] },
            { "name": "api", "path": "/api/*", "access": "protected", "limit": limit },
        ],
    });
    let secret = |name: &str| match name {
        "STORE_TOKEN" => Some("store-token".to_owned()),
        "RECORD_ENCRYPTION_KEY" => Some(format!("a:{}=", "A".repeat(43))),
        _ => None,
    };
    Policy::parse(&document.to_string(), secret).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!("{}", errors.join("; "))
    })
}

const ISSUER: &str = "https://api.example";

/// The head of a browser's request behind Cloudflare, up to its token.
const HEAD: &str = "GET\nhttps://api.example/api/things?page=2\n\
    accept\napplication/json\naccept-encoding\ngzip, br\naccept-language\nen-GB,en;q=0.9\n\
    cf-connecting-ip\n203.0.113.7\ncf-ipcountry\nCH\ncf-ray\n9a1b2c3d4e5f6789-ZRH\ncf-visitor\n{\"scheme\":\"https\"}\n\
    host\napi.example\nuser-agent\nMozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\n\
    x-forwarded-for\n203.0.113.7\nx-forwarded-proto\nhttps\nauthorization\nBearer ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scene_ends_with_a_permit() {
        let scene = Scene::new().unwrap();
        let head = scene.head();
        let permit = scene.decided(&head).unwrap();
        assert!(permit.header_edits(&head, REQUEST_ID).set.len() > 5);
        let record =
            TokenRecord::decode(&scene.sealed, &scene.record_key, scene.policy.seal.as_ref());
        assert_eq!(record.unwrap().sub, "user-000001");
        HOT.iter().for_each(|(_, function)| function(&scene));
    }
}
