use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

fn rsa(modulus_bytes: usize, exponent: &[u8]) -> String {
    let n = URL_SAFE_NO_PAD.encode(vec![0xff; modulus_bytes]);
    format!(r#""kty":"RSA","n":"{n}","e":"{}""#, URL_SAFE_NO_PAD.encode(exponent))
}

fn one(members: &str, allowed: &[Algorithm]) -> Result<Algorithm, KeyFault> {
    let (set, faults) = Jwks::parse(&format!(r#"{{"keys":[{{{members}}}]}}"#), allowed).unwrap();
    match (set.keys.first(), faults.first()) {
        (Some(key), None) => Ok(key.algorithm),
        (None, Some((0, fault))) => Err(*fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_has_one_algorithm_or_none() {
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
    check(&rsa(255, &[1, 0, 1]), &[Rs256], Err(KeyFault::RsaModulusShort));
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
    check(r#""crv":"Ed25519""#, &[EdDsa], Err(KeyFault::MemberMissing));
}

#[test]
fn private_members_are_not_kept() {
    let text = format!(r#"{{"keys":[{{{ED},"d":"c2VjcmV0"}}]}}"#);
    let (set, _) = Jwks::parse(&text, &[Algorithm::EdDsa]).unwrap();
    assert!(!set.keys[0].jwk.contains("c2VjcmV0"));
}

#[test]
fn a_key_is_selected_by_its_name_and_algorithm() {
    let text = format!(
        r#"{{"keys":[{{"kid":"a",{ED}}},{{"kid":"b",{EC}}},{{"kid":"c",{EC}}},{{"kid":"c",{EC}}}]}}"#
    );
    let (set, _) = Jwks::parse(&text, &[Algorithm::EdDsa, Algorithm::Es256]).unwrap();
    let check = |kid: Option<&str>, alg, expect: Result<usize, Denial>| {
        let header = UnverifiedHeader { alg, kid: kid.map(str::to_owned), typ: None };
        assert_eq!(set.select(&header), expect, "{header:?}");
    };
    check(Some("a"), Algorithm::EdDsa, Ok(0));
    check(Some("b"), Algorithm::Es256, Ok(1));
    check(Some("a"), Algorithm::Es256, Err(Denial::AlgorithmRefused));
    check(Some("c"), Algorithm::Es256, Err(Denial::KeyUnknown));
    check(Some("../a"), Algorithm::EdDsa, Err(Denial::KeyUnknown));
    check(None, Algorithm::EdDsa, Ok(0));
    check(None, Algorithm::Es256, Err(Denial::KeyUnknown));
}

#[test]
fn a_set_is_bounded() {
    assert_eq!(Jwks::parse("[]", &[]), Err(JwksError::Malformed));
    assert_eq!(Jwks::parse("<html>", &[]), Err(JwksError::Malformed));
    let many = format!(r#"{{"keys":[{}{{}}]}}"#, "{},".repeat(KEYS_MAX));
    assert_eq!(Jwks::parse(&many, &[]), Err(JwksError::TooManyKeys));
}
