//! Incorrect clocks.

use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, get_with};
use crate::support::issuer::{TRUSTED, claims, header, issuer_at, now, serve};
use crate::support::stack::stop;
use serde_json::json;

/// A token from a clock that is an hour off is rejected with a code that says so.
#[tokio::test]
async fn token_from_a_clock_an_hour_off_is_rejected_by_name() {
    let vars = json!({ "issuers": [issuer_at(&serve(TRUSTED.jwks()))] });
    let edge = start_edge(vars).await;
    let call = async |offset: i64| {
        let issued = now().checked_add_signed(offset).unwrap();
        let claims = claims(json!({ "iat": issued, "exp": issued + 900 }));
        get_with(&edge.edge("/api/x"), &TRUSTED.sign(&header(json!({})), &claims)).await
    };
    assert_eq!(call(0).await.status(), 200);
    assert_refused(call(3600).await, 401, "token_not_yet_valid").await;
    assert_refused(call(-3600).await, 401, "token_expired").await;
    stop(edge).await;
}
