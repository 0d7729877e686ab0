//! Attacks in the claims.

use super::target::{MALFORMED, MISSING, on_target};
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header, now};
use serde_json::json;

#[tokio::test]
async fn malformed_claims_are_rejected() {
    on_target(|target| {
        let header = header(json!({})).to_string();
        let good = claims(json!({})).to_string();
        let (expired, early) = ("401 token_expired", "401 token_not_yet_valid");
        let (audience, issuer) = ("401 audience_mismatch", "401 issuer_unknown");
        for (reference, changes, expect) in [
            ("RFC 9068 2.2", json!({ "exp": null }), MISSING),
            ("RFC 7519 4.1.4", json!({ "exp": now() - 31 }), expired),
            ("RFC 7519 4.1.4", json!({ "exp": 0 }), expired),
            ("RFC 7519 2", json!({ "exp": "9999999999" }), MALFORMED),
            ("RFC 7519 2", json!({ "exp": -1 }), MALFORMED),
            ("CVE-2021-41106", json!({ "exp": true }), MALFORMED),
            ("RFC 7519 2", json!({ "exp": [9_999_999_999_u64] }), MALFORMED),
            ("RFC 7519 2", json!({ "exp": 1e19 }), MALFORMED),
            ("RFC 7519 2", json!({ "exp": u64::MAX }), MALFORMED),
            ("RFC 7519 4.1.5", json!({ "nbf": now() + 60 }), early),
            ("RFC 7519 4.1.5", json!({ "nbf": "0" }), MALFORMED),
            ("RFC 7519 4.1.5", json!({ "nbf": -1 }), MALFORMED),
            ("RFC 7519 4.1.6", json!({ "iat": now() + 60 }), early),
            ("RFC 7519 4.1.6", json!({ "iat": "yesterday" }), MALFORMED),
            ("RFC 7519 4.1.6", json!({ "iat": {} }), MALFORMED),
            ("RFC 9068 4", json!({ "aud": null }), MISSING),
            ("RFC 7519 4.1.3", json!({ "aud": "https://other.example" }), audience),
            ("RFC 7519 4.1.3", json!({ "aud": [] }), audience),
            ("CVE-2020-26160", json!({ "aud": [""] }), audience),
            ("CVE-2024-51744", json!({ "aud": "" }), audience),
            ("RFC 7519 4.1.3", json!({ "aud": "https://api.example.evil.example" }), audience),
            ("RFC 7519 4.1.3", json!({ "aud": "https://api.exampl" }), audience),
            ("RFC 7519 4.1.3", json!({ "aud": "HTTPS://API.EXAMPLE" }), audience),
            ("RFC 7519 4.1.3", json!({ "aud": "https://api.example/" }), audience),
            ("CVE-2022-29217", json!({ "aud": "x https://api.example" }), audience),
            ("RFC 7519 4.1.3", json!({ "aud": 1 }), MALFORMED),
            ("RFC 7519 4.1.3", json!({ "aud": { "https://api.example": 1 } }), MALFORMED),
            ("RFC 7519 4.1.3", json!({ "aud": [AUDIENCE, 1] }), MALFORMED),
            ("RFC 7519 4.1.3", json!({ "aud": [[AUDIENCE]] }), MALFORMED),
            ("RFC 9068 4", json!({ "iss": null }), MISSING),
            ("CVE-2025-30144", json!({ "iss": [ISSUER, "https://evil.example"] }), MALFORMED),
            ("CVE-2024-53861", json!({ "iss": "https://issuer.exampl" }), issuer),
            ("RFC 9068 4", json!({ "iss": "https://issuer.example/" }), issuer),
            ("RFC 9068 4", json!({ "iss": "HTTPS://issuer.example" }), issuer),
            ("RFC 9068 4", json!({ "iss": "https://issuer.example.evil.example" }), issuer),
            ("RFC 9068 4", json!({ "iss": "" }), issuer),
            ("RFC 7519 4.1.2", json!({ "sub": null }), MISSING),
            ("RFC 7519 4.1.2", json!({ "sub": 7 }), MALFORMED),
            ("RFC 7519 4.1.2", json!({ "sub": ["alice", "admin"] }), MALFORMED),
            ("RFC 7519 4.1.2", json!({ "sub": { "admin": true } }), MALFORMED),
            ("RFC 9449 6.1", json!({ "cnf": { "jkt": "x" } }), "401 token_type_refused"),
            ("RFC 8705 3.1", json!({ "cnf": { "x5t#S256": "x" } }), "401 token_type_refused"),
            ("RFC 7519 4.1.7", json!({ "jti": 7 }), MALFORMED),
            ("RFC 9068 2.2.1", json!({ "sid": ["s"] }), MALFORMED),
            ("RFC 8693 4.3", json!({ "client_id": {} }), MALFORMED),
            ("RFC 8693 4.2", json!({ "scope": 7 }), MALFORMED),
            ("RFC 8693 4.2", json!({ "scope": ["api:read", 7] }), MALFORMED),
            ("RFC 8693 4.2", json!({ "scope": { "admin": true } }), MALFORMED),
        ] {
            let claims = claims(changes);
            target.refuses(reference, &TRUSTED.sign_text(&header, &claims.to_string()), expect);
        }
        let member = |more: &str| good.replacen('{', &format!("{{{more},"), 1);
        let nested = TRUSTED.sign_text(&header, &good);
        for (reference, claims) in [
            ("RFC 7519 4", member("\"exp\":9999999999")),
            ("RFC 7519 4", member("\"\\u0065xp\":9999999999")),
            ("RFC 7519 4", member("\"sub\":\"admin\"")),
            ("RFC 7519 4", member("\"aud\":\"https://api.example\"")),
            ("RFC 7519 4", member("\"other\":1,\"other\":2")),
            ("RFC 8725 2.4", member("\"x\":[{\"y\":1,\"y\":1}]")),
            ("RFC 7519 7.2", nested.clone()),
            ("RFC 7519 5.2", format!("\"{nested}\"")),
            ("RFC 7519 7.2", format!("[{good}]")),
            ("RFC 7519 7.2", String::new()),
            ("RFC 7519 7.2", "null".to_owned()),
            ("RFC 7519 7.2", "true".to_owned()),
            ("RFC 8259 6", good.replace("\"exp\":", "\"exp\":1e999,\"e\":")),
            ("RFC 8259 6", good.replace("\"exp\":", "\"exp\":0x7fffffff,\"e\":")),
            ("RFC 8259 6", good.replace("\"exp\":", "\"exp\":+9999999999,\"e\":")),
            ("RFC 8259 6", good.replace("\"exp\":", "\"exp\":NaN,\"e\":")),
            ("RFC 8259 6", good.replace("\"exp\":", "\"exp\":Infinity,\"e\":")),
            ("RFC 8259 6", good.replace("\"exp\":", "\"exp\":09999999999,\"e\":")),
            (
                "CVE-2021-27568",
                member(&format!(
                    "\"x\":{}{}",
                    "{\"a\":".repeat(99),
                    "1".to_owned() + &"}".repeat(99)
                )),
            ),
            ("RFC 8259 2", format!("{good}}}")),
        ] {
            target.refuses(reference, &TRUSTED.sign_text(&header, &claims), MALFORMED);
        }
        assert!(target.tried >= 60, "{}", target.tried);
    })
    .await
    .unwrap();
}
