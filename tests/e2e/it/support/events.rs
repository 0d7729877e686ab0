//! Events that the trusted issuer pushes, in each of the three formats.

use crate::support::http::field;
use crate::support::issuer::{ISSUER, TRUSTED, claims, header, now};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

/// The URL of the route, which is the audience of a global revocation.
pub const URL: &str = "https://api.example/events";
pub const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
pub const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type";
pub const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type";

/// A request with an event.
#[derive(Clone)]
pub struct Push {
    pub media_type: &'static str,
    pub body: String,
    pub bearer: Option<String>,
}

impl Push {
    pub fn logout(token: &str) -> Self {
        let media_type = "application/x-www-form-urlencoded";
        Self { media_type, body: format!("logout_token={token}"), bearer: None }
    }

    pub fn security_event(token: &str) -> Self {
        Self { media_type: "application/secevent+jwt", body: token.to_owned(), bearer: None }
    }

    pub fn global(token: &str, subject: &Value) -> Self {
        let body = json!({ "sub_id": subject }).to_string();
        Self { media_type: "application/json", body, bearer: Some(token.to_owned()) }
    }

    /// Returns the request that pushes it.
    pub fn request(&self, client: &Client, url: &str) -> RequestBuilder {
        let request = client.post(url).header("content-type", self.media_type);
        let request = match &self.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.body(self.body.clone())
    }

    /// Pushes it, and returns status and body of the response.
    pub async fn send(&self, client: &Client, url: &str) -> (u16, Value) {
        let answer = self.request(client, url).send().await.unwrap();
        let (status, retry_after) = (answer.status().as_u16(), field(&answer, "retry-after"));
        assert_eq!(status == 503, !retry_after.is_empty(), "{retry_after}");
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

/// Returns a name that no other test has.
pub fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

pub fn user(sub: &str) -> Value {
    json!({ "format": "iss_sub", "iss": ISSUER, "sub": sub })
}

/// Returns the header of an event of this `typ`, with changes.
pub fn event_header(typ: &str, changes: Value) -> Value {
    let mut all = json!({ "typ": typ });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    header(all)
}

/// Returns the claims of an event that was issued now, with changes.
pub fn event_claims(changes: Value) -> Value {
    let mut all = json!({ "aud": "edge", "jti": unique("event"), "exp": null, "sub": null, "sid": null,
        "client_id": null, "scope": null });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims(all)
}

pub fn logout(changes: Value) -> String {
    let mut all = json!({ "events": { LOGOUT: {} } });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    TRUSTED.sign(&event_header("logout+jwt", json!({})), &event_claims(all))
}

pub fn security_event(uri: &str, subject: &Value) -> String {
    let claims = event_claims(json!({ "sub_id": subject, "events": { uri: {} } }));
    TRUSTED.sign(&event_header("secevent+jwt", json!({})), &claims)
}

pub fn global() -> String {
    let claims = event_claims(json!({ "aud": URL, "sub": "caller", "exp": now() + 300 }));
    TRUSTED.sign(&event_header("global-token-revocation+jwt", json!({})), &claims)
}

/// Returns an access token of this subject for two hours.
pub fn access_for(sub: &str) -> String {
    let claims = claims(json!({
        "sub": sub, "sid": unique("s"), "jti": unique("token"), "exp": now() + 7200,
    }));
    TRUSTED.sign(&header(json!({})), &claims)
}

/// Returns an access token of this subject and session.
pub fn access(sub: &str, sid: &str) -> String {
    let claims = claims(json!({ "sub": sub, "sid": sid, "jti": unique("token") }));
    TRUSTED.sign(&header(json!({})), &claims)
}
