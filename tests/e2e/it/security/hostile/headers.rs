//! Attacks in the JOSE header.

use super::target::{ALGORITHM, KEY, MALFORMED, TYPE, on_target};
use crate::support::issuer::{TRUSTED, claims, header};
use serde_json::json;

#[tokio::test]
async fn malformed_jose_headers_are_rejected() {
    on_target(|target| {
        let good = header(json!({})).to_string();
        let body = claims(json!({})).to_string();
        // Each member replaces that of the valid header.
        let own_key = json!({ "kty": "OKP", "crv": "Ed25519", "x": TRUSTED.x() });
        let pbes2 = json!({ "alg": "PBES2-HS256+A128KW", "p2c": 2_147_483_647, "enc": "A128GCM" });
        for (reference, changes, expect) in [
            ("RFC 8725 3.1", json!({ "alg": "none" }), ALGORITHM),
            ("CVE-2015-2951", json!({ "alg": "None" }), ALGORITHM),
            ("CVE-2020-28042", json!({ "alg": "NONE" }), ALGORITHM),
            ("CVE-2018-1000531", json!({ "alg": "nOnE" }), ALGORITHM),
            ("CVE-2022-23540", json!({ "alg": "" }), ALGORITHM),
            ("RFC 7515 4.1.1", json!({ "alg": null }), MALFORMED),
            ("RFC 7515 4.1.1", json!({ "alg": 0 }), MALFORMED),
            ("RFC 7515 4.1.1", json!({ "alg": ["EdDSA"] }), MALFORMED),
            ("RFC 7515 4.1.1", json!({ "alg": { "name": "EdDSA" } }), MALFORMED),
            ("RFC 7515 4.1.1", json!({ "alg": true }), MALFORMED),
            ("CVE-2016-10555", json!({ "alg": "HS256" }), ALGORITHM),
            ("CVE-2016-5431", json!({ "alg": "HS384" }), ALGORITHM),
            ("CVE-2015-9235", json!({ "alg": "HS512" }), ALGORITHM),
            ("CVE-2024-54150", json!({ "alg": "RS256" }), ALGORITHM),
            ("CVE-2024-33663", json!({ "alg": "ES256" }), ALGORITHM),
            ("CVE-2024-37568", json!({ "alg": "ES256K" }), ALGORITHM),
            ("RFC 9864 2.2", json!({ "alg": "Ed25519" }), ALGORITHM),
            ("RFC 9864 2.2", json!({ "alg": "Ed448" }), ALGORITHM),
            ("RFC 7515 4.1.1", json!({ "alg": "eddsa" }), ALGORITHM),
            ("RFC 7515 4.1.1", json!({ "alg": "EdDSA " }), ALGORITHM),
            ("RFC 7515 4.1.1", json!({ "alg": "EdDSA\u{0}" }), ALGORITHM),
            ("RFC 7516", json!({ "alg": "dir", "enc": "A256GCM" }), MALFORMED),
            ("CVE-2015-6254", json!({ "alg": "RSA1_5", "enc": "A128GCM" }), MALFORMED),
            ("CVE-2022-36083", pbes2, MALFORMED),
            ("CVE-2024-28176", json!({ "zip": "DEF" }), MALFORMED),
            ("CVE-2017-16007", json!({ "epk": { "kty": "EC" } }), MALFORMED),
            ("CVE-2018-0114", json!({ "jwk": own_key }), MALFORMED),
            ("RFC 8725 3.10", json!({ "jku": "http://127.0.0.1:1/jwks" }), MALFORMED),
            ("RFC 8725 3.10", json!({ "x5u": "http://127.0.0.1:1/cert" }), MALFORMED),
            ("RFC 7515 4.1.6", json!({ "x5c": ["AAAA"] }), MALFORMED),
            ("RFC 8725 3.10", json!({ "kid": "../../../../dev/null" }), KEY),
            ("RFC 8725 3.10", json!({ "kid": "' UNION SELECT 'x';--" }), KEY),
            ("CVE-2017-17405", json!({ "kid": "|/bin/true" }), KEY),
            ("RFC 8725 3.10", json!({ "kid": "http://127.0.0.1:1/key" }), KEY),
            ("CVE-2022-21680", json!({ "kid": "__proto__" }), KEY),
            ("RFC 7515 4.1.4", json!({ "kid": "" }), KEY),
            ("RFC 7515 4.1.4", json!({ "kid": "K1" }), KEY),
            ("RFC 7515 4.1.4", json!({ "kid": "k1 " }), KEY),
            ("RFC 7515 4.1.4", json!({ "kid": "k1\u{0}" }), KEY),
            ("RFC 7515 4.1.4", json!({ "kid": "\u{ff4b}1" }), KEY),
            ("RFC 7515 4.1.4", json!({ "kid": 1 }), MALFORMED),
            ("RFC 7515 4.1.4", json!({ "kid": ["k1"] }), MALFORMED),
            ("RFC 7515 4.1.4", json!({ "kid": "k".repeat(257) }), MALFORMED),
            ("CVE-2025-59420", json!({ "crit": ["cnf"], "cnf": {} }), MALFORMED),
            ("RFC 7515 4.1.11", json!({ "crit": ["exp"] }), MALFORMED),
            ("RFC 7515 4.1.11", json!({ "crit": [] }), MALFORMED),
            ("RFC 7515 4.1.11", json!({ "crit": "exp" }), MALFORMED),
            ("RFC 7515 4.1.11", json!({ "crit": ["alg"] }), MALFORMED),
            ("RFC 7797 6", json!({ "crit": ["b64"], "b64": false }), MALFORMED),
            ("RFC 7797 7", json!({ "b64": false }), MALFORMED),
            ("RFC 7797 7", json!({ "b64": true }), MALFORMED),
            ("RFC 7797 7", json!({ "b64": "false" }), MALFORMED),
            ("RFC 8725 3.11", json!({ "typ": "JWT" }), TYPE),
            ("RFC 9068 4", json!({ "typ": null }), TYPE),
            ("RFC 8725 3.12", json!({ "typ": "logout+jwt" }), TYPE),
            ("RFC 9449 4.2", json!({ "typ": "dpop+jwt" }), TYPE),
            ("RFC 8417 2.3", json!({ "typ": "secevent+jwt" }), TYPE),
            ("RFC 9701 5", json!({ "typ": "token-introspection+jwt" }), TYPE),
            ("RFC 8725 3.11", json!({ "typ": "at+jwt " }), TYPE),
            ("RFC 8725 3.11", json!({ "typ": "x/at+jwt" }), TYPE),
            ("RFC 8725 3.11", json!({ "typ": "application/application/at+jwt" }), TYPE),
            ("RFC 7515 4.1.9", json!({ "typ": ["at+jwt"] }), MALFORMED),
            ("RFC 7515 4.1.9", json!({ "typ": 1 }), MALFORMED),
        ] {
            let header = header(changes);
            target.refuses(reference, &TRUSTED.sign_text(&header.to_string(), &body), expect);
        }
        // The whole header has another form.
        let member = |more: &str| good.replacen('{', &format!("{{{more},"), 1);
        let deep = format!("\"x\":{}{}", "[".repeat(100), "]".repeat(100));
        for (reference, header, expect) in [
            ("RFC 7515 5.2", String::new(), MALFORMED),
            ("RFC 7515 5.2", "{}".into(), MALFORMED),
            ("RFC 7515 5.2", "null".into(), MALFORMED),
            ("RFC 7515 5.2", "[\"EdDSA\"]".into(), MALFORMED),
            ("RFC 7515 5.2", "\"EdDSA\"".into(), MALFORMED),
            ("RFC 7515 4", member("\"alg\":\"none\""), MALFORMED),
            ("RFC 7515 4", member("\"\\u0061lg\":\"none\""), MALFORMED),
            ("RFC 7515 4", member("\"kid\":\"k2\""), MALFORMED),
            ("RFC 8725 2.4", member("\"x\":{\"y\":1,\"y\":2}"), MALFORMED),
            ("RFC 8259 8.1", format!("\u{feff}{good}"), MALFORMED),
            ("RFC 8259 2", format!("{good}{good}"), MALFORMED),
            ("RFC 8259 2", format!("{good}\0"), MALFORMED),
            ("RFC 8259 2", good.replace(',', ",,"), MALFORMED),
            ("RFC 8259 2", good.replace('}', ",}"), MALFORMED),
            ("RFC 8259 2", good.replace('"', "'"), MALFORMED),
            ("RFC 8259 2", format!("/**/{good}"), MALFORMED),
            ("RFC 8259 7", member("\"x\":\"\\ud800\""), MALFORMED),
            ("CVE-2021-27568", member(&deep), MALFORMED),
            ("CVE-2020-15084", good.replace("EdDSA", "\\u0045dDSA\\u0020"), ALGORITHM),
        ] {
            target.refuses(reference, &TRUSTED.sign_text(&header, &body), expect);
        }
        assert!(target.tried >= 80, "{}", target.tried);
    })
    .await
    .unwrap();
}
