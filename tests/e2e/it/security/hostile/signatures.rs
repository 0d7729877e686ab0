//! Attacks in the signature, the serialization and the place of a token.

use super::target::{ALGORITHM, MALFORMED, SIGNATURE, on_target};
use crate::support::issuer::{Issuer, TRUSTED, claims, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

/// The order of Ed25519's group, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[tokio::test]
async fn malformed_signatures_and_serializations_are_rejected() {
    on_target(|target| {
        let (header, body) = (header(json!({})), claims(json!({})));
        let good = TRUSTED.sign(&header, &body);
        let (input, signature) = good.rsplit_once('.').unwrap();
        let (head, payload) = input.split_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // A lax verifier takes S + L for S (RFC 8032 section 8.4).
        let mut malleable = bytes.clone();
        let mut carry = 0;
        for (place, order) in ORDER.iter().enumerate() {
            let sum = u16::from(malleable[32 + place]) + u16::from(*order) + carry;
            malleable[32 + place] = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        let mut flipped = bytes.clone();
        flipped[0] ^= 1;
        let mut identity = vec![0; 64];
        identity[0] = 1;
        let admin = encode(claims(json!({ "sub": "mallory" })).to_string().as_bytes());
        let other_head = encode(br#"{"alg":"EdDSA","kid":"k1","typ":"at+jwt","x":1}"#);
        let by_other = Issuer::new().sign(&header, &body);
        let payload_only = encode(
            &[TRUSTED.sign_input(payload).rsplit_once('.').unwrap().1].concat().into_bytes(),
        );
        let last = signature.chars().last().unwrap();
        let stray = char::from(u8::try_from(u32::from(last)).unwrap() + 1);
        for (reference, token, expect) in [
            ("RFC 8725 2.1", format!("{input}."), SIGNATURE),
            ("CVE-2022-21449", format!("{input}.{}", encode(&[0; 64])), SIGNATURE),
            ("CVE-2020-36843", format!("{input}.{}", encode(&malleable)), SIGNATURE),
            ("RFC 8032 8.9", format!("{input}.{}", encode(&identity)), SIGNATURE),
            ("RFC 8032 5.1.7", format!("{input}.{}", encode(&flipped)), SIGNATURE),
            ("RFC 8032 5.1.7", format!("{input}.{}", encode(&[0xff; 64])), SIGNATURE),
            ("RFC 8032 5.1.7", format!("{input}.{}", encode(&bytes[..63])), SIGNATURE),
            ("RFC 8032 5.1.7", format!("{input}.{}", encode(&bytes[..32])), SIGNATURE),
            (
                "RFC 8032 5.1.7",
                format!("{input}.{}", encode(&[&bytes[..], &[0]].concat())),
                SIGNATURE,
            ),
            (
                "RFC 8032 5.1.7",
                format!("{input}.{}", encode(&[&bytes[32..], &bytes[..32]].concat())),
                SIGNATURE,
            ),
            ("RFC 7515 5.2", by_other, SIGNATURE),
            ("RFC 7515 5.2", format!("{head}.{admin}.{signature}"), SIGNATURE),
            ("RFC 7515 5.2", format!("{other_head}.{payload}.{signature}"), SIGNATURE),
            ("RFC 7515 5.1", format!("{input}.{payload_only}"), SIGNATURE),
            ("RFC 7515 2", format!("{good}="), MALFORMED),
            ("RFC 7515 2", format!("{good}=="), MALFORMED),
            ("RFC 7515 2", format!("{head}=.{payload}.{signature}"), "400 credential_malformed"),
            ("RFC 4648 3.5", format!("{input}.{}{stray}", &signature[..85]), MALFORMED),
            (
                "RFC 7515 2",
                format!("{input}.{}", signature.replace('_', "/").replace('-', "+") + "+"),
                MALFORMED,
            ),
            ("RFC 7515 3.1", format!("{good}.{signature}"), MALFORMED),
            ("RFC 7515 3.1", format!("{good}."), MALFORMED),
            ("RFC 7515 3.1", format!(".{good}"), MALFORMED),
            ("RFC 7515 3.1", input.to_owned(), MALFORMED),
            ("RFC 7515 3.1", head.to_owned(), MALFORMED),
            ("RFC 7515 3.1", "..".into(), MALFORMED),
            ("RFC 7515 3.1", ".".into(), MALFORMED),
            ("RFC 7515 3.1", format!("{head}..{signature}"), MALFORMED),
            ("RFC 7515 3.1", format!(".{payload}.{signature}"), MALFORMED),
            (
                "RFC 7516 3.1",
                format!("{head}.{payload}.{signature}.{signature}.{signature}"),
                MALFORMED,
            ),
            ("RFC 7515 3.1", format!("{good}.."), MALFORMED),
            ("RFC 7519 6.1", format!("{}.{payload}.", encode(br#"{"alg":"none"}"#)), ALGORITHM),
            ("RFC 7519 6.1", format!("{}.{payload}", encode(br#"{"alg":"none"}"#)), MALFORMED),
            ("RFC 7797 5.2", format!("{head}.$.02.{signature}"), "400 credential_malformed"),
            (
                "RFC 7515 7.2",
                json!({ "protected": head, "payload": payload, "signature": signature })
                    .to_string(),
                "400 credential_malformed",
            ),
            ("RFC 3986 2.1", good.replace('.', "%2e"), "400 credential_malformed"),
            ("RFC 6750 2.1", format!("{good} "), "200"),
            ("RFC 6750 2.1", format!("{good},{good}"), "400 credential_malformed"),
            ("RFC 6750 2.1", format!("\"{good}\""), "400 credential_malformed"),
            (
                "RFC 6750 2.1",
                format!("{head} . {payload} . {signature}"),
                "400 credential_malformed",
            ),
            ("RFC 6750 2.1", format!("{good}\u{e9}"), "400 credential_malformed"),
            ("RFC 9110 5.4", "a".repeat(8193), "400 credential_malformed"),
            (
                "RFC 9110 5.4",
                format!("{}.{}.{}", "a".repeat(2700), "b".repeat(2700), "c".repeat(2700)),
                MALFORMED,
            ),
        ] {
            if expect == "200" {
                assert_eq!(target.verdict_on(&token), "200", "{reference}");
                assert_eq!(target.upstream.take().len(), 1, "{reference}");
            } else {
                target.refuses(reference, &token, expect);
            }
        }

        // The places of a credential (RFC 6750 section 2, RFC 9700 section 4.3.2).
        let field = |name: &str, value: &str| format!("{name}: {value}\r\n");
        let bearer = format!("Bearer {good}");
        let (missing, two) = ("401 token_missing", "400 credential_malformed");
        for (reference, path, fields, expect) in [
            ("RFC 9110 11.6.2", "/api/x", String::new(), missing),
            ("RFC 9110 11.4", "/api/x", field("authorization", "Basic dTpw"), missing),
            ("RFC 9110 11.4", "/api/x", field("authorization", &format!("Token {good}")), missing),
            ("RFC 9110 11.4", "/api/x", field("authorization", &format!("JWT {good}")), missing),
            ("RFC 9449 7.1", "/api/x", field("authorization", &format!("DPoP {good}")), missing),
            ("RFC 9110 11.4", "/api/x", field("authorization", &good), missing),
            ("RFC 9110 11.4", "/api/x", field("authorization", "Bearer"), two),
            ("RFC 9110 11.4", "/api/x", field("authorization", &format!("Bearer:{good}")), missing),
            (
                "RFC 9110 11.4",
                "/api/x",
                field("authorization", &format!("Bearer\t{good}")),
                missing,
            ),
            (
                "RFC 9110 11.4",
                "/api/x",
                field("authorization", &format!("Bearer Bearer {good}")),
                two,
            ),
            (
                "RFC 9110 5.3",
                "/api/x",
                field("authorization", &bearer) + &field("authorization", &bearer),
                two,
            ),
            (
                "RFC 9110 5.3",
                "/api/x",
                field("authorization", "Basic dTpw") + &field("Authorization", &bearer),
                missing,
            ),
            (
                "RFC 9110 5.3",
                "/api/x",
                field("authorization", &bearer) + &field("Authorization", ""),
                two,
            ),
            ("RFC 9110 11.7.2", "/api/x", field("proxy-authorization", &bearer), missing),
            ("RFC 9110 5.1", "/api/x", field("x-authorization", &bearer), missing),
            ("RFC 9110 5.1", "/api/x", field("http_authorization", &bearer), missing),
            (
                "RFC 6265 5.4",
                "/api/x",
                field("cookie", &format!("token={good}; authorization={good}")),
                missing,
            ),
            ("RFC 9700 4.3.2", &format!("/api/x?access_token={good}"), String::new(), missing),
            (
                "RFC 9110 9.1",
                "/api/x?_method=OPTIONS",
                field("x-http-method-override", "OPTIONS"),
                missing,
            ),
            (
                "Fetch 3.3.2",
                "/api/x",
                field("origin", "https://a.example")
                    + &field("access-control-request-method", "GET"),
                missing,
            ),
        ] {
            assert_eq!(target.verdict(path, fields.as_bytes()), expect, "{reference}: {fields}");
            assert_eq!(target.upstream.take(), [""; 0], "{reference}: {fields}");
        }
        assert!(target.tried >= 60, "{}", target.tried);
    })
    .await
    .unwrap();
}
