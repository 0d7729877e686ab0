//! Every signature algorithm. A key verifies only tokens of its own algorithm.

use crate::support::edge::{launch_edge, start_edge};
use crate::support::http::get_with;
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header, now};
use crate::support::signer::{Key, SECRET_ISSUER, SIGNING_ISSUER, Signer};
use crate::support::stack::{Stack, stop};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

#[tokio::test]
async fn key_verifies_tokens_of_its_own_algorithm_only() {
    let signers = Signer::all();
    let edge = tokio::task::spawn_blocking({
        let keys = |secret: bool| -> Vec<Value> {
            let of = |signer: &&Signer| matches!(signer.key, Key::Hmac(..)) == secret;
            signers.iter().filter(of).map(Signer::jwk).collect()
        };
        let (public, secret) = (keys(false), keys(true));
        let names = |keys: &[Value]| -> Vec<Value> {
            keys.iter().map(|key| key["alg"].clone()).collect()
        };
        let vars = json!({
            "issuers": [
                { "issuer": SIGNING_ISSUER, "audience": AUDIENCE, "algorithms": names(&public), "jwks": { "keys": public } },
                { "issuer": SECRET_ISSUER, "audience": AUDIENCE, "algorithms": names(&secret), "jwks_variable": "HMAC_KEY" },
            ],
            "HMAC_KEY": json!({ "keys": secret }).to_string(),
        });
        move || launch_edge(vars)
    })
    .await
    .unwrap();
    for signer in &signers {
        let (alg, issuer) = (signer.algorithm, signer.issuer());
        let good = signer.token(alg, alg, issuer);
        assert_eq!(verdict(&edge, &good).await, "", "{alg}");
        assert_eq!(verdict(&edge, &good).await, "", "{alg}, remembered");
        let (input, signature) = good.rsplit_once('.').unwrap();
        let mut damaged = URL_SAFE_NO_PAD.decode(signature).unwrap();
        damaged[5] ^= 1;
        let damaged = format!("{input}.{}", URL_SAFE_NO_PAD.encode(damaged));
        assert_eq!(verdict(&edge, &damaged).await, "signature_invalid", "{alg}");
        for other in signers.iter().filter(|other| other.algorithm != alg) {
            // Its own key with another algorithm's name, and the reverse.
            let lied = verdict(&edge, &signer.token(other.algorithm, alg, issuer)).await;
            assert_eq!(lied, "algorithm_refused", "{alg} as {}", other.algorithm);
            let foreign = verdict(&edge, &signer.token(alg, other.algorithm, issuer)).await;
            let expect = if other.issuer() == issuer { "algorithm_refused" } else { "key_unknown" };
            assert_eq!(foreign, expect, "{alg} by {}", other.algorithm);
            // The other's name and key, signed by this one.
            let forged = signer.token(other.algorithm, other.algorithm, other.issuer());
            assert_eq!(
                verdict(&edge, &forged).await,
                "signature_invalid",
                "{alg} for {}",
                other.algorithm
            );
        }
    }
    stop(edge).await;
}

/// Tokens of three kinds of provider, at the same edge.
#[tokio::test]
async fn issuers_of_different_providers_work_side_by_side() {
    let rsa = Signer::all().into_iter().find(|signer| signer.algorithm == "RS256").unwrap();
    let (auth0, entra) =
        ("https://tenant.eu.auth0.com/", "https://login.microsoftonline.com/t1/v2.0");
    let client = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
    // Entra publishes a use and a thumbprint, but no alg.
    let mut bare = rsa.jwk();
    bare.as_object_mut().unwrap().remove("alg");
    bare["use"] = "sig".into();
    bare["x5t"] = "abc".into();
    let keys = |jwk: &Value| json!({ "keys": [jwk] });
    let vars = json!({
        "issuers": [
            { "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks() },
            { "issuer": auth0, "audience": AUDIENCE, "algorithms": ["RS256"], "jwks": keys(&rsa.jwk()),
              "token_type": "jwt", "scope_claims": ["permissions"] },
            { "issuer": entra, "audience": client, "algorithms": ["RS256"], "jwks": keys(&bare),
              "token_type": "jwt", "scope_claims": ["scp"] },
        ],
        "routes": [{ "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked", "scopes": ["api:read"] }],
    });
    let edge = start_edge(vars).await;
    let sign = |header: Value, claims: Value| {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(header), encode(claims));
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(rsa.sign(input.as_bytes())))
    };
    let at = now();
    let by_auth0 = |changes: Value| {
        let mut claims = json!({
            "iss": auth0, "sub": "auth0|123", "aud": [AUDIENCE, "https://tenant.eu.auth0.com/userinfo"],
            "iat": at, "exp": at + 86_400, "azp": "cli", "scope": "openid", "permissions": ["api:read"],
            "gty": "password",
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        sign(json!({ "alg": "RS256", "typ": "JWT", "kid": "RS256" }), claims)
    };
    let by_entra = |changes: Value| {
        let mut claims = json!({
            "iss": entra, "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "aud": client, "iat": at, "nbf": at,
            "exp": at + 3600, "azp": "cli", "azpacr": "1", "oid": "1", "tid": "t1", "ver": "2.0",
            "scp": "User.Read api:read", "roles": ["x"], "rh": "0.A", "uti": "u",
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        sign(json!({ "alg": "RS256", "typ": "JWT", "kid": "RS256", "x5t": "abc" }), claims)
    };
    let own = TRUSTED.sign(&header(json!({})), &claims(json!({})));
    for (token, expect) in [
        (own, ""),
        (by_auth0(json!({})), ""),
        (by_entra(json!({})), ""),
        (by_auth0(json!({ "permissions": [], "scope": "api:read" })), "scope_insufficient"),
        (by_entra(json!({ "scp": "User.Read" })), "scope_insufficient"),
        // A provider's token with another's issuer or audience.
        (by_auth0(json!({ "iss": entra })), "audience_mismatch"),
        (by_entra(json!({ "aud": AUDIENCE })), "audience_mismatch"),
        (by_auth0(json!({ "iss": ISSUER })), "algorithm_refused"),
        (by_auth0(json!({ "iss": "https://tenant.eu.auth0.com" })), "issuer_unknown"),
    ] {
        assert_eq!(verdict(&edge, &token).await, expect, "{token}");
    }
    stop(edge).await;
}

/// The public key is used as an HMAC secret: CVE-2015-9235, CVE-2016-5431 and similar.
#[tokio::test]
async fn public_key_is_rejected_as_hmac_secret() {
    let rsa = Signer::all().pop().unwrap();
    let jwk = rsa.jwk();
    let vars = json!({ "issuers": [{
        "issuer": SIGNING_ISSUER, "audience": AUDIENCE, "algorithms": ["RS512"], "jwks": { "keys": [jwk] },
    }]});
    let edge = start_edge(vars).await;
    let Key::Rsa(pair, _) = &rsa.key else { panic!("the last one is RSA") };
    let der = pair.public_key().as_ref().to_vec();
    let spki = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(
        pair.public_key(),
    );
    let spki = spki.unwrap().as_ref().to_vec();
    let pem = |kind: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
    };
    let secrets = [
        pem("PUBLIC KEY", &spki).into_bytes(),
        pem("RSA PUBLIC KEY", &der).into_bytes(),
        pem("PUBLIC KEY", &spki).trim().as_bytes().to_vec(),
        spki,
        der,
        rsa.jwk().to_string().into_bytes(),
        rsa.jwk()["n"].as_str().unwrap().as_bytes().to_vec(),
        Vec::new(),
    ];
    for secret in secrets {
        for (alg, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
            ("RS512", hmac::HMAC_SHA512),
        ] {
            let key = Key::Hmac(hmac::Key::new(algorithm, &secret), Vec::new());
            let token = Signer { algorithm: alg, key }.token(alg, "RS512", SIGNING_ISSUER);
            let expect = if alg == "RS512" { "signature_invalid" } else { "algorithm_refused" };
            assert_eq!(verdict(&edge, &token).await, expect, "{alg}");
        }
    }
    stop(edge).await;
}

/// Returns the code of a rejection, or an empty text.
async fn verdict(edge: &Stack, token: &str) -> String {
    let response = get_with(&edge.edge("/api/x"), token).await;
    if response.status() == 200 {
        return String::new();
    }
    let body: Value = response.json().await.unwrap();
    body["code"].as_str().unwrap().to_owned()
}
