use super::*;
use crate::jose::algorithm::KeyParameters;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

fn rsa(modulus_bytes: usize, exponent: &[u8]) -> String {
    let n = URL_SAFE_NO_PAD.encode(vec![0xff; modulus_bytes]);
    format!(r#""kty":"RSA","n":"{n}","e":"{}""#, URL_SAFE_NO_PAD.encode(exponent))
}

fn one(members: &str, allowed: &[Algorithm]) -> Result<Algorithm, KeyFault> {
    from(members, allowed, KeySource::Secret)
}

fn from(members: &str, allowed: &[Algorithm], source: KeySource) -> Result<Algorithm, KeyFault> {
    let text = format!(r#"{{"keys":[{{{members}}}]}}"#);
    let (set, faults) = Jwks::parse(&text, allowed, source).unwrap();
    match (set.keys.first(), faults.first()) {
        (Some(key), None) => Ok(key.algorithm),
        (None, Some((0, fault))) => Err(*fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn key_is_loaded_with_exactly_one_algorithm() {
    use Algorithm::{EdDsa, Es256, Ps256, Rs256};
    fn check(members: &str, allowed: &[Algorithm], expect: Result<Algorithm, KeyFault>) {
        assert_eq!(one(members, allowed), expect, "{members} {allowed:?}");
    }
    check(ED, &[EdDsa], Ok(EdDsa));
    check(&format!(r#"{ED},"alg":"EdDSA""#), &[EdDsa], Ok(EdDsa));
    check(&format!(r#"{ED},"alg":"ES256""#), &[EdDsa, Es256], Err(KeyFault::KeyTypeMismatch));
    check(&format!(r#"{ED},"alg":"none""#), &[EdDsa], Err(KeyFault::AlgorithmNotAllowed));
    check(&format!(r#"{ED},"alg":7"#), &[EdDsa], Err(KeyFault::AlgorithmNotAllowed));
    check(ED, &[Es256], Err(KeyFault::AlgorithmAmbiguous));
    check(EC, &[Es256, EdDsa], Ok(Es256));
    check(&EC.replace("P-256", "P-384"), &[Es256], Err(KeyFault::AlgorithmAmbiguous));
    check(&rsa(256, &[1, 0, 1]), &[Rs256], Ok(Rs256));
    check(&rsa(256, &[1, 0, 1]), &[Rs256, Ps256], Err(KeyFault::AlgorithmAmbiguous));
    check(&rsa(255, &[1, 0, 1]), &[Rs256], Err(KeyFault::RsaModulusLength));
    check(&rsa(256, &[3]), &[Rs256], Ok(Rs256));
    check(&rsa(256, &[1]), &[Rs256], Err(KeyFault::RsaExponentWeak));
    check(&rsa(256, &[0, 1]), &[Rs256], Err(KeyFault::RsaExponentWeak));
    check(&rsa(256, &[4]), &[Rs256], Err(KeyFault::RsaExponentWeak));
    check(&rsa(256, &[]), &[Rs256], Err(KeyFault::RsaExponentWeak));
    check(&format!(r#"{ED},"use":"enc""#), &[EdDsa], Err(KeyFault::NotForVerifying));
    check(&format!(r#"{ED},"use":"sig""#), &[EdDsa], Ok(EdDsa));
    check(&format!(r#"{ED},"key_ops":["sign"]"#), &[EdDsa], Err(KeyFault::NotForVerifying));
    check(&format!(r#"{ED},"key_ops":["verify"]"#), &[EdDsa], Ok(EdDsa));
    check(r#""kty":"OKP","crv":"Ed25519""#, &[EdDsa], Err(KeyFault::MemberMissing));
    check(r#""kty":"oct","k":"AAAA""#, &[EdDsa], Err(KeyFault::AlgorithmAmbiguous));
    check(&rsa(1024, &[1, 0, 1]), &[Rs256], Ok(Rs256));
    check(&rsa(1025, &[1, 0, 1]), &[Rs256], Err(KeyFault::RsaModulusLength));
    check(&ED.replace("HURo", "HU"), &[EdDsa], Err(KeyFault::MemberMissing));
    check(&ED.replace("URo", ""), &[EdDsa], Err(KeyFault::LengthWrong));
    check(
        &EC.replace("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "AAAA"),
        &[Es256],
        Err(KeyFault::LengthWrong),
    );
    check(r#""crv":"Ed25519""#, &[EdDsa], Err(KeyFault::MemberMissing));
}

#[test]
fn algorithm_takes_only_its_own_keys() {
    let ec = |crv: &str, bytes: usize| {
        let member = URL_SAFE_NO_PAD.encode(vec![1; bytes]);
        format!(r#""kty":"EC","crv":"{crv}","x":"{member}","y":"{member}""#)
    };
    let oct =
        |bytes: usize| format!(r#""kty":"oct","k":"{}""#, URL_SAFE_NO_PAD.encode(vec![1; bytes]));
    let rsa = rsa(256, &[1, 0, 1]);
    for algorithm in Algorithm::ALL {
        let good = match algorithm.parameters() {
            KeyParameters { kty: "OKP", .. } => ED.to_owned(),
            KeyParameters { kty: "EC", crv: Some(crv), member_bytes: Some(bytes), .. } => {
                ec(crv, bytes)
            }
            KeyParameters { kty: "oct", member_bytes: Some(bytes), .. } => oct(bytes),
            _ => rsa.clone(),
        };
        let named = |members: &str| format!(r#"{members},"alg":"{}""#, algorithm.name());
        assert_eq!(one(&named(&good), &[algorithm]), Ok(algorithm));
        assert_eq!(one(&named(&good), &[]), Err(KeyFault::AlgorithmNotAllowed));
        assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
        for other in
            [ED.to_owned(), ec("P-256", 32), ec("P-384", 48), ec("P-521", 66), oct(64), rsa.clone()]
        {
            let fits = one(&named(&other), &[algorithm]).is_ok();
            let kind = |members: &str| members[..24.min(members.len())].to_owned();
            assert_eq!(fits, kind(&other) == kind(&good), "{algorithm:?} {other}");
        }
    }
}

#[test]
fn hmac_secret_is_rejected_when_short_or_published() {
    let oct = |bytes: usize, alg: &str| {
        format!(r#""kty":"oct","alg":"{alg}","k":"{}""#, URL_SAFE_NO_PAD.encode(vec![1; bytes]))
    };
    for (alg, algorithm, minimum) in [
        ("HS256", Algorithm::Hs256, 32),
        ("HS384", Algorithm::Hs384, 48),
        ("HS512", Algorithm::Hs512, 64),
    ] {
        assert_eq!(one(&oct(minimum, alg), &[algorithm]), Ok(algorithm));
        assert_eq!(one(&oct(minimum + 100, alg), &[algorithm]), Ok(algorithm));
        assert_eq!(one(&oct(minimum - 1, alg), &[algorithm]), Err(KeyFault::SecretShort));
        let published = from(&oct(minimum, alg), &[algorithm], KeySource::Published);
        assert_eq!(published, Err(KeyFault::SecretPublished));
    }
}

#[test]
fn private_members_are_dropped() {
    let text = format!(r#"{{"keys":[{{{ED},"d":"c2VjcmV0"}}]}}"#);
    let (set, _) = Jwks::parse(&text, &[Algorithm::EdDsa], KeySource::Published).unwrap();
    assert!(!set.keys[0].jwk.contains("c2VjcmV0"));
}

#[test]
fn key_is_selected_by_kid_and_algorithm() {
    let text = format!(
        r#"{{"keys":[{{"kid":"a",{ED}}},{{"kid":"b",{EC}}},{{"kid":"c",{EC}}},{{"kid":"c",{EC}}},
            {{"kid":"d",{ED}}},{{"kid":"d",{EC}}}]}}"#
    );
    let (set, _) =
        Jwks::parse(&text, &[Algorithm::EdDsa, Algorithm::Es256], KeySource::Published).unwrap();
    let check = |kid: Option<&str>, alg, expect: Result<usize, Denial>| {
        let header = UnverifiedHeader { alg, kid: kid.map(str::to_owned), typ: None };
        assert_eq!(set.select(&header), expect, "{header:?}");
    };
    check(Some("a"), Algorithm::EdDsa, Ok(0));
    check(Some("b"), Algorithm::Es256, Ok(1));
    check(Some("a"), Algorithm::Es256, Err(Denial::AlgorithmRefused));
    check(Some("c"), Algorithm::Es256, Err(Denial::KeyUnknown));
    check(Some("../a"), Algorithm::EdDsa, Err(Denial::KeyUnknown));
    check(Some("c"), Algorithm::EdDsa, Err(Denial::AlgorithmRefused));
    check(Some("d"), Algorithm::EdDsa, Ok(4));
    check(Some("d"), Algorithm::Es256, Ok(5));
    check(Some("d"), Algorithm::Rs256, Err(Denial::AlgorithmRefused));
    check(None, Algorithm::Rs256, Err(Denial::KeyUnknown));
    check(None, Algorithm::Es256, Err(Denial::KeyUnknown));
    let (one, _) = Jwks::parse(
        &format!(r#"{{"keys":[{{"kid":"a",{ED}}}]}}"#),
        &[Algorithm::EdDsa],
        KeySource::Published,
    )
    .unwrap();
    let header = UnverifiedHeader { alg: Algorithm::EdDsa, kid: None, typ: None };
    assert_eq!(one.select(&header), Ok(0));
}

#[test]
fn key_set_is_rejected_when_malformed_or_too_large() {
    let parse = |text: &str| Jwks::parse(text, &[], KeySource::Published);
    for text in
        ["[]", "<html>", "{}", r#"{"keys":{}}"#, r#"{"keys":[7]}"#, r#"{"keys":[],"keys":[]}"#]
    {
        assert_eq!(parse(text), Err(JwksError::Malformed), "{text}");
    }
    let many = format!(r#"{{"keys":[{}{{}}]}}"#, "{},".repeat(KEYS_MAX));
    assert_eq!(parse(&many), Err(JwksError::TooManyKeys));
}

#[test]
fn key_keeps_the_issuer_that_it_is_for() {
    let load = |issuer: &str| {
        let text = format!(r#"{{"keys":[{{"kid":"a",{ED},"issuer":{issuer}}}]}}"#);
        let (set, faults) = Jwks::parse(&text, &[Algorithm::EdDsa], KeySource::Published).unwrap();
        set.keys.into_iter().map(|key| key.issuer).next().ok_or(faults)
    };
    let template = "https://login.example/{tenantid}/v2.0";
    assert_eq!(load(&format!(r#""{template}""#)), Ok(Some(template.to_owned())));
    for wrong in ["null", "7", "[\"a\"]"] {
        assert_eq!(load(wrong), Err(vec![(0, KeyFault::MemberMissing)]), "{wrong}");
    }
    // A key set that differs in this alone is another one.
    let parse = |more: &str| {
        let text = format!(r#"{{"keys":[{{"kid":"a",{ED}{more}}}]}}"#);
        Jwks::parse(&text, &[Algorithm::EdDsa], KeySource::Published).unwrap().0
    };
    assert_ne!(parse(""), parse(r#","issuer":"a""#));
}

#[test]
fn single_key_verifies_whatever_the_kid_and_nothing_else() {
    let jwk = json::object(format!("{{{EC}}}").as_bytes()).unwrap();
    let set = Jwks::of_key(&jwk, &[Algorithm::Es256]).unwrap();
    for kid in [None, Some(""), Some("any")] {
        let header = |alg| UnverifiedHeader { alg, kid: kid.map(str::to_owned), typ: None };
        assert_eq!(set.select(&header(Algorithm::Es256)), Ok(0), "{kid:?}");
        for other in Algorithm::ALL.into_iter().filter(|other| *other != Algorithm::Es256) {
            assert!(set.select(&header(other)).is_err(), "{kid:?} {other:?}");
        }
    }
    assert_eq!(Jwks::of_key(&jwk, &[Algorithm::EdDsa]), Err(KeyFault::AlgorithmAmbiguous));
    let oct = json::object(br#"{"kty":"oct","k":"AAAA"}"#).unwrap();
    assert_eq!(Jwks::of_key(&oct, &[Algorithm::Hs256]), Err(KeyFault::SecretPublished));
    let set = Jwks::parse(r#"{"keys":[]}"#, &[], KeySource::Published).unwrap().0;
    let header = UnverifiedHeader { alg: Algorithm::Es256, kid: Some("any".into()), typ: None };
    assert_eq!(set.select(&header), Err(Denial::KeyUnknown));
}
