//! Attacks over raw sockets against the running Worker, each with the standard or the CVE that it is from.
//! What matters is what the upstream sees: nothing that it should not, and nobody's word for who asks.

mod http;

use crate::issuer::{AUDIENCE, ISSUER, Issuer, TRUSTED, claims, edge, header, now};
use crate::provider::Provider;
use crate::stack::Stack;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A gate whose upstream writes down what it sees.
struct Gate {
    stack: Stack,
    upstream: Provider,
    tried: usize,
}

impl Gate {
    fn start() -> Self {
        let upstream = Provider::serving("{}");
        let stack = edge(json!({
            "ISSUERS": [
                { "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks() },
            ],
            "ROUTES": [
                { "name": "public", "path": "/public/*", "access": "public" },
                { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
            ],
            "UPSTREAM_URL": upstream.url(""),
        }));
        Self { stack, upstream, tried: 0 }
    }

    /// Sends bytes as they are and returns what comes back, until the other side is done.
    fn send(&mut self, request: &[u8]) -> String {
        self.tried += 1;
        let address = self.stack.edge("").trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        // The other side may end the connection before it has read all.
        let _ = stream.write_all(request);
        let (mut answer, mut chunk, begun) = (Vec::new(), [0; 16384], Instant::now());
        while begun.elapsed() < Duration::from_secs(5) {
            match stream.read(&mut chunk) {
                Ok(read) if read > 0 => answer.extend_from_slice(&chunk[..read]),
                Ok(_) | Err(_) => break,
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The status and the code of a refusal, or `200`.
    fn judge(&mut self, path: &str, authorization: &[u8]) -> String {
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: a.example\r\n").into_bytes();
        request.extend_from_slice(authorization);
        request.extend_from_slice(b"connection: close\r\n\r\n");
        let answer = self.send(&request);
        let status = answer.split(' ').nth(1).unwrap_or("closed").to_owned();
        let code = answer.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next());
        match code {
            Some(code) => format!("{status} {code}"),
            None => status,
        }
    }

    fn token(&mut self, token: &str) -> String {
        self.judge("/api/x", format!("authorization: Bearer {token}\r\n").as_bytes())
    }

    /// A token that must not pass, for a reason that its sender is told, and that the upstream never sees.
    #[track_caller]
    fn refuses(&mut self, reference: &str, token: &str, expect: &str) {
        let got = self.token(token);
        assert_eq!(got, expect, "{reference}: {token}");
        assert_eq!(self.upstream.take(), [""; 0], "{reference}");
    }

    /// Bytes that may be answered in any way, as long as nothing comes of them.
    #[track_caller]
    fn harmless(&mut self, reference: &str, request: &[u8]) {
        let answer = self.send(request);
        for seen in self.upstream.take() {
            let path = seen.split(' ').nth(1).unwrap_or_default().to_lowercase();
            let shown =
                || format!("{reference}: {}: {seen}: {answer}", String::from_utf8_lossy(request));
            let mut plain = path.clone();
            for _ in 0..3 {
                for (encoded, decoded) in
                    [("%2e", "."), ("%2f", "/"), ("%5c", "/"), ("%25", "%"), ("\\", "/")]
                {
                    plain = plain.replace(encoded, decoded);
                }
            }
            let path_only = plain.split(['?', '#']).next().unwrap_or_default();
            assert!(path.starts_with("/public/") || path == "/public", "{}", shown());
            assert!(!path_only.contains("..") && !path_only.contains("/api"), "{}", shown());
            assert!(!seen.to_lowercase().contains("mallory"), "{}", shown());
        }
        // Nobody else's request has been harmed.
        let good = TRUSTED.sign(&header(json!({})), &claims(json!({})));
        let tried = self.tried;
        assert_eq!(self.token(&good), "200", "{reference}: the edge is not well afterwards");
        self.tried = tried;
        self.upstream.take();
    }
}

fn on_a_gate(work: impl FnOnce(&mut Gate) + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        let mut gate = Gate::start();
        work(&mut gate);
        println!("{} attacks", gate.tried);
    })
}

const MALFORMED: &str = "401 token_malformed";
const ALGORITHM: &str = "401 algorithm_refused";
const SIGNATURE: &str = "401 signature_invalid";
const TYPE: &str = "401 token_type_refused";
const KEY: &str = "401 key_unknown";

#[tokio::test]
async fn headers() {
    on_a_gate(|gate| {
        let good = header(json!({})).to_string();
        let body = claims(json!({})).to_string();
        // Each member in place of the good header's.
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
            gate.refuses(reference, &TRUSTED.sign_text(&header.to_string(), &body), expect);
        }
        // The whole header in another form.
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
            gate.refuses(reference, &TRUSTED.sign_text(&header, &body), expect);
        }
        assert!(gate.tried >= 80, "{}", gate.tried);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn claims_of_every_wrong_kind() {
    on_a_gate(|gate| {
        let header = header(json!({})).to_string();
        let good = claims(json!({})).to_string();
        let (expired, early) = ("401 token_expired", "401 token_not_yet_valid");
        let (audience, issuer) = ("401 audience_mismatch", "401 issuer_unknown");
        for (reference, changes, expect) in [
            ("RFC 9068 2.2", json!({ "exp": null }), MALFORMED),
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
            ("RFC 9068 4", json!({ "aud": null }), MALFORMED),
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
            ("RFC 9068 4", json!({ "iss": null }), MALFORMED),
            ("CVE-2025-30144", json!({ "iss": [ISSUER, "https://evil.example"] }), MALFORMED),
            ("CVE-2024-53861", json!({ "iss": "https://issuer.exampl" }), issuer),
            ("RFC 9068 4", json!({ "iss": "https://issuer.example/" }), issuer),
            ("RFC 9068 4", json!({ "iss": "HTTPS://issuer.example" }), issuer),
            ("RFC 9068 4", json!({ "iss": "https://issuer.example.evil.example" }), issuer),
            ("RFC 9068 4", json!({ "iss": "" }), issuer),
            ("RFC 7519 4.1.2", json!({ "sub": null }), MALFORMED),
            ("RFC 7519 4.1.2", json!({ "sub": 7 }), MALFORMED),
            ("RFC 7519 4.1.2", json!({ "sub": ["alice", "admin"] }), MALFORMED),
            ("RFC 7519 4.1.2", json!({ "sub": { "admin": true } }), MALFORMED),
            ("RFC 7519 4.1.7", json!({ "jti": 7 }), MALFORMED),
            ("RFC 9068 2.2.1", json!({ "sid": ["s"] }), MALFORMED),
            ("RFC 8693 4.3", json!({ "client_id": {} }), MALFORMED),
            ("RFC 8693 4.2", json!({ "scope": 7 }), MALFORMED),
            ("RFC 8693 4.2", json!({ "scope": ["api:read", 7] }), MALFORMED),
            ("RFC 8693 4.2", json!({ "scope": { "admin": true } }), MALFORMED),
        ] {
            let claims = claims(changes);
            gate.refuses(reference, &TRUSTED.sign_text(&header, &claims.to_string()), expect);
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
            gate.refuses(reference, &TRUSTED.sign_text(&header, &claims), MALFORMED);
        }
        assert!(gate.tried >= 60, "{}", gate.tried);
    })
    .await
    .unwrap();
}

/// The order of Ed25519's group, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[tokio::test]
async fn signatures_and_forms() {
    on_a_gate(|gate| {
        let (header, body) = (header(json!({})), claims(json!({})));
        let good = TRUSTED.sign(&header, &body);
        let (input, signature) = good.rsplit_once('.').unwrap();
        let (head, payload) = input.split_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // S + L is the same number to a verifier that does not look (RFC 8032 section 8.4).
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
                assert_eq!(gate.token(&token), "200", "{reference}");
                assert_eq!(gate.upstream.take().len(), 1, "{reference}");
            } else {
                gate.refuses(reference, &token, expect);
            }
        }

        // Where a credential may come from (RFC 6750 section 2, RFC 9700 section 4.3.2).
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
            assert_eq!(gate.judge(path, fields.as_bytes()), expect, "{reference}: {fields}");
            assert_eq!(gate.upstream.take(), [""; 0], "{reference}: {fields}");
        }
        assert!(gate.tried >= 60, "{}", gate.tried);
    })
    .await
    .unwrap();
}
