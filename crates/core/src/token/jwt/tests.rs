use super::*;
use crate::jose::header::{FORBIDDEN, KID_BYTES_MAX};
use crate::policy::fixtures::issuer;
use serde_json::json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: u64 = 1_700_000_000;

fn compact(header: &str, claims: &str) -> String {
    let (header, claims) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([7; 64]))
}

fn verdict(header: &str, claims: &str, issuer: &Issuer) -> Result<(), Denial> {
    let text = compact(header, claims);
    parse(&text, issuer).map(|_| ())
}

fn parse<'a>(text: &'a str, issuer: &Issuer) -> Result<UnverifiedJwt<'a>, Denial> {
    let others = ["tenant".to_owned()];
    UnverifiedJwt::parse(Token::new(text), std::slice::from_ref(issuer), &others, UnixSeconds(NOW))
}

const HEADER: &str = r#"{"alg":"EdDSA","kid":"1","typ":"at+jwt"}"#;

#[test]
fn times_are_checked_at_each_boundary() {
    fn check(times: &str, expect: Result<(), Denial>) {
        let claims = format!(r#"{{"iss":"https://issuer.example","sub":"s","aud":"api",{times}}}"#);
        assert_eq!(verdict(HEADER, &claims, &issuer()), expect, "{times}");
    }
    let at = |seconds: i64| NOW.checked_add_signed(seconds).unwrap();
    check(&format!(r#""exp":{}"#, at(-31)), Err(Denial::TokenExpired));
    check(&format!(r#""exp":{}"#, at(-30)), Err(Denial::TokenExpired));
    check(&format!(r#""exp":{}"#, at(-29)), Ok(()));
    check(&format!(r#""exp":{}.9"#, at(-30)), Err(Denial::TokenExpired));
    check(&format!(r#""exp":{}.5"#, at(60)), Ok(()));
    check(&format!(r#""exp":{},"nbf":{}"#, at(60), at(30)), Ok(()));
    check(&format!(r#""exp":{},"nbf":{}"#, at(60), at(31)), Err(Denial::TokenNotYetValid));
    check(&format!(r#""exp":{},"iat":{}"#, at(60), at(30)), Ok(()));
    check(&format!(r#""exp":{},"iat":{}"#, at(60), at(31)), Err(Denial::TokenNotYetValid));
    check(&format!(r#""exp":"{}""#, at(60)), Err(Denial::TokenMalformed));
    check(r#""exp":-1"#, Err(Denial::TokenMalformed));
    check(r#""exp":1e300"#, Err(Denial::TokenMalformed));
    check(r#""exp":18446744073709551615"#, Err(Denial::TokenMalformed));
    check(r#""exp":null"#, Err(Denial::TokenMalformed));
    check(r#""nbf":1"#, Err(Denial::ClaimMissing("exp")));
    check(&format!(r#""exp":{},"nbf":null"#, at(60)), Err(Denial::TokenMalformed));
    check(&format!(r#""exp":{},"iat":"{NOW}""#, at(60)), Err(Denial::TokenMalformed));
    check(&format!(r#""exp":{}"#, 1_u64 << 53), Ok(()));
    check(&format!(r#""exp":{}"#, (1_u64 << 53) + 1), Err(Denial::TokenMalformed));
    check(&format!(r#""exp":[{}]"#, at(60)), Err(Denial::TokenMalformed));
    check(&format!(r#""exp":{},"x":1,"x":1"#, at(60)), Err(Denial::TokenMalformed));
    check(&format!(r#""exp":{},"exp":{}"#, at(-60), at(60)), Err(Denial::TokenMalformed));
}

#[test]
fn header_is_rejected_when_unsafe_or_unsupported() {
    let claims =
        format!(r#"{{"iss":"https://issuer.example","sub":"s","aud":"api","exp":{}}}"#, NOW + 60);
    let check = |header: &str, expect: Result<(), Denial>| {
        assert_eq!(verdict(header, &claims, &issuer()), expect, "{header}");
    };
    check(HEADER, Ok(()));
    check(r#"{"alg":"EdDSA","typ":"application/AT+JWT"}"#, Ok(()));
    check(r#"{"alg":"EdDSA"}"#, Err(Denial::TokenTypeRefused));
    check(r#"{"alg":"EdDSA","typ":"JWT"}"#, Err(Denial::TokenTypeRefused));
    check(r#"{"alg":"ES256","typ":"at+jwt"}"#, Err(Denial::AlgorithmRefused));
    check(r#"{"alg":"none","typ":"at+jwt"}"#, Err(Denial::AlgorithmRefused));
    check(r#"{"alg":"eddsa","typ":"at+jwt"}"#, Err(Denial::AlgorithmRefused));
    check(r#"{"alg":"HS256","typ":"at+jwt"}"#, Err(Denial::AlgorithmRefused));
    check(r#"{"typ":"at+jwt"}"#, Err(Denial::TokenMalformed));
    check(r#"{"alg":7,"typ":"at+jwt"}"#, Err(Denial::TokenMalformed));
    check(r#"{"alg":"EdDSA","alg":"none","typ":"at+jwt"}"#, Err(Denial::TokenMalformed));
    for member in FORBIDDEN {
        check(
            &format!(r#"{{"alg":"EdDSA","typ":"at+jwt","{member}":null}}"#),
            Err(Denial::TokenMalformed),
        );
    }
    check(r#"["EdDSA","1","at+jwt"]"#, Err(Denial::TokenMalformed));
    let long = "k".repeat(KID_BYTES_MAX + 1);
    check(
        &format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{long}"}}"#),
        Err(Denial::TokenMalformed),
    );
}

#[test]
fn token_type_must_be_one_that_the_issuer_accepts() {
    fn check(required: TokenType, typ: Option<&str>, expect: bool) {
        assert_eq!(accepts_type(required, typ), expect, "{required:?} {typ:?}");
    }
    check(TokenType::AtJwt, Some("at+jwt"), true);
    check(TokenType::AtJwt, None, false);
    check(TokenType::Jwt, Some("JWT"), true);
    check(TokenType::Jwt, Some("at+jwt"), true);
    check(TokenType::Jwt, None, true);
    check(TokenType::Jwt, Some("logout+jwt"), false);
    check(TokenType::Off, Some("logout+jwt"), true);
}

/// RFC 8705 section 3.1, RFC 9449 section 6.1: the sender of such a token must prove that it has
/// the key.
#[test]
fn token_bound_to_a_key_is_rejected() {
    for cnf in [r#"{"jkt":"x"}"#, r#"{"x5t#S256":"x"}"#, "{}", "null", "7"] {
        let claims = format!(
            r#"{{"iss":"https://issuer.example","sub":"s","aud":"api","exp":{},"cnf":{cnf}}}"#,
            NOW + 60
        );
        assert_eq!(verdict(HEADER, &claims, &issuer()), Err(Denial::TokenTypeRefused), "{cnf}");
    }
}

#[test]
fn audience_must_contain_the_issuers_setting() {
    fn check(aud: &str, expect: Result<(), Denial>) {
        let claims = format!(
            r#"{{"iss":"https://issuer.example","sub":"s","aud":{aud},"exp":{}}}"#,
            NOW + 60
        );
        assert_eq!(verdict(HEADER, &claims, &issuer()), expect, "{aud}");
    }
    check(r#""api""#, Ok(()));
    check(r#"["other","api"]"#, Ok(()));
    check(r#""API""#, Err(Denial::AudienceMismatch));
    check(r#"[]"#, Err(Denial::AudienceMismatch));
    check(r#""api other""#, Err(Denial::AudienceMismatch));
    check("null", Err(Denial::TokenMalformed));
    check("7", Err(Denial::TokenMalformed));
    check(r#"["api",7]"#, Err(Denial::TokenMalformed));
    check(r#"{"api":true}"#, Err(Denial::TokenMalformed));
}

#[test]
fn missing_claim_is_named() {
    let all = json!({ "iss": "https://issuer.example", "sub": "s", "aud": "api", "exp": NOW + 60 });
    for claim in ["iss", "sub", "aud", "exp"] {
        let mut claims = all.clone();
        claims.as_object_mut().unwrap().remove(claim);
        let denial = verdict(HEADER, &claims.to_string(), &issuer()).unwrap_err();
        assert_eq!(denial.code(), "claim_missing", "{claim}");
        assert_eq!(denial.to_string(), format!("the token lacks the claim {claim}"));
    }
}

/// The name of a group counts as one name, even if it contains spaces.
#[test]
fn element_of_a_scope_list_is_never_two_scopes() {
    let mut issuer = issuer();
    issuer.scope_claims = vec!["groups".into()];
    for (groups, expect) in [
        (r#"["staff","x admin"]"#, "staff"),
        (r#"["x\tadmin"," admin","admin ","","staff"]"#, "staff"),
        (r#"["admin","staff"]"#, "admin staff"),
        (r#""admin staff""#, "admin staff"),
    ] {
        let text = format!(
            r#"{{"iss":"https://issuer.example","sub":"s","aud":"api","exp":{},"groups":{groups}}}"#,
            NOW + 60
        );
        let claims = parse(&compact(HEADER, &text), &issuer).unwrap().claims;
        assert_eq!(claims.scope, expect, "{groups}");
        assert_eq!(claims.has_scope("admin"), expect.contains("admin"), "{groups}");
    }
}

#[test]
fn claims_are_read_by_the_issuers_settings() {
    let read = |claims: &str, issuer: &Issuer| {
        let text = format!(
            r#"{{"iss":"https://issuer.example","sub":"s","aud":"api","exp":{},{claims}}}"#,
            NOW + 60
        );
        parse(&compact(HEADER, &text), issuer).map(|jwt| jwt.claims)
    };
    let mut issuer = issuer();
    let claims = read(r#""scope":"a b","azp":"web","tenant":"acme","x":1"#, &issuer).unwrap();
    assert_eq!((claims.scope.as_str(), claims.client_id.as_deref()), ("a b", Some("web")));
    assert_eq!(claims.others.len(), 1);
    assert!(claims.has_claim("tenant", &["other".into(), "acme".into()]));
    assert!(!claims.has_claim("tenant", &["acm".into()]) && !claims.has_claim("x", &[1.into()]));
    let claims = read(r#""client_id":"api","azp":"web","tenant":["a","acme"]"#, &issuer).unwrap();
    assert_eq!(claims.client_id.as_deref(), Some("api"));
    assert!(claims.has_claim("tenant", &["acme".into()]) && !claims.has_claim("none", &[]));
    for bad in [r#""scope":7"#, r#""scope":["a",7]"#, r#""jti":7"#, r#""sid":null"#, r#""azp":{}"#]
    {
        assert_eq!(read(bad, &issuer).err(), Some(Denial::TokenMalformed), "{bad}");
    }
    issuer.scope_claims = vec!["permissions".into()];
    let claims = read(r#""permissions":["read:x","write:x"],"scope":"admin""#, &issuer).unwrap();
    assert!(claims.has_scope("write:x") && !claims.has_scope("admin"));
}

#[test]
fn token_is_malformed_unless_canonical() {
    let good = compact(
        HEADER,
        &format!(r#"{{"iss":"https://issuer.example","sub":"s","aud":"api","exp":{NOW}}}"#),
    );
    assert!(parse(&good, &issuer()).is_ok());
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        unsigned.to_owned(),
        format!("{good}."),
        format!("{good}.x"),
        format!("{good}="),
        format!("{unsigned}.AB"),
        format!("{unsigned}.A+/"),
        good.replace('.', ".."),
        "a.b.c.d.e".into(),
    ] {
        assert_eq!(parse(&bad, &issuer()).err(), Some(Denial::TokenMalformed), "{bad}");
    }
}

#[test]
fn token_is_malformed_when_nested_too_deep() {
    let deep = format!(r#"{{"alg":"EdDSA","x":{}{}}}"#, "[".repeat(4000), "]".repeat(4000));
    let text = compact(&deep, "{}");
    assert_eq!(parse(&text, &issuer()).err(), Some(Denial::TokenMalformed));
}

#[cfg(not(target_arch = "wasm32"))]
proptest::proptest! {
    #[test]
    fn parsing_never_panics_on_a_token(text in "[ -~]{0,200}") {
        let _ = parse(&text, &issuer());
    }

    #[test]
    fn parsing_never_panics_on_claims(header in "[ -~]{0,80}", claims in "[ -~]{0,80}") {
        let text = compact(&header, &claims);
        let _ = parse(&text, &issuer());
    }
}

#[test]
fn alias_is_replaced_and_tenant_is_part_of_the_issuer() {
    let read = |changes: &str, issuer: &Issuer| {
        let claims = format!(r#"{{"sub":"s","aud":"api","exp":{},{changes}}}"#, NOW + 60);
        parse(&compact(HEADER, &claims), issuer).map(|jwt| jwt.iss().to_owned())
    };
    let aliased = Issuer { aliases: vec!["other".into()], ..issuer() };
    let name = Ok(aliased.issuer.clone());
    assert_eq!(read(r#""iss":"other""#, &aliased), name);
    assert_eq!(read(r#""iss":"https://issuer.example""#, &aliased), name);
    assert_eq!(read(r#""iss":"Other""#, &aliased), Err(Denial::IssuerUnknown));
    let tenants = |accepted: &[&str]| Issuer {
        issuer: "https://t.example/{tenant}/".into(),
        tenants: Some(accepted.iter().map(|tenant| (*tenant).to_owned()).collect()),
        ..issuer()
    };
    for (accepted, iss, tid, expect) in [
        (&[][..], "a", r#""a""#, Ok("https://t.example/a/".to_owned())),
        (&["b", "a"], "a", r#""a""#, Ok("https://t.example/a/".to_owned())),
        (&["b"], "a", r#""a""#, Err(Denial::TenantRefused)),
        (&["b"], "a", r#""b""#, Err(Denial::TenantRefused)),
        (&["a"], "a", r#""b""#, Err(Denial::TenantRefused)),
        (&["a"], "a", r#""A""#, Err(Denial::TenantRefused)),
        (&["A"], "a", r#""a""#, Err(Denial::TenantRefused)),
        (&[], "a", "null", Err(Denial::TenantRefused)),
        (&[], "a", r#"["a"]"#, Err(Denial::TenantRefused)),
        (&[], "a/b", r#""a/b""#, Err(Denial::IssuerUnknown)),
        (&[], "", r#""""#, Err(Denial::IssuerUnknown)),
        (&[], "{tenant}", r#""{tenant}""#, Err(Denial::IssuerUnknown)),
    ] {
        let changes = format!(r#""iss":"https://t.example/{iss}/","tid":{tid}"#);
        assert_eq!(read(&changes, &tenants(accepted)), expect, "{accepted:?} {changes}");
    }
    let without = r#""iss":"https://t.example/a/""#;
    assert_eq!(read(without, &tenants(&[])), Err(Denial::ClaimMissing("tid")));
    // The first entry that accepts the issuer is its own.
    let (text, both) = (
        compact(
            HEADER,
            &format!(
                r#"{{"sub":"s","aud":"api","exp":{},"iss":"https://t.example/a/","tid":"x"}}"#,
                NOW + 60
            ),
        ),
        [Issuer { issuer: "https://t.example/a/".into(), ..issuer() }, tenants(&["b"])],
    );
    let parsed = UnverifiedJwt::parse(Token::new(&text), &both, &[], UnixSeconds(NOW));
    assert_eq!(parsed.map(|jwt| jwt.issuer()), Ok(0));
}

#[test]
fn token_lacking_a_requirement_of_its_issuer_is_refused_and_the_log_says_which() {
    use crate::token::received::ReceivedClaims;
    let mut strict = issuer();
    strict.token_type = TokenType::Off;
    strict.claims.values = vec![("/use".into(), vec![json!("access")])];
    strict.claims.forbidden = vec!["nonce".into()];
    strict.header.values = vec![("cat".into(), vec![json!(111)])];
    strict.header.required = vec!["x".into()];
    for (header, claims, unmet) in [
        (r#""cat":111,"x":1"#, r#""use":"access""#, None),
        (r#""cat":111,"x":1"#, r#""use":"secret-id""#, Some("claims /use")),
        (r#""cat":111,"x":1"#, r#""use":"access","nonce":1"#, Some("claims_forbidden nonce")),
        (r#""cat":110,"x":1"#, r#""use":"access""#, Some("header cat")),
        (r#""cat":111,"x":null"#, r#""use":"access""#, Some("header_required x")),
    ] {
        let header = format!(r#"{{"alg":"EdDSA",{header}}}"#);
        let claims = format!(
            r#"{{"iss":"https://issuer.example","sub":"s","aud":"api","exp":{},{claims}}}"#,
            NOW + 60
        );
        let expect = if unmet.is_some() { Err(Denial::TokenTypeRefused) } else { Ok(()) };
        assert_eq!(verdict(&header, &claims, &strict), expect, "{header} {claims}");
        let text = compact(&header, &claims);
        let received = ReceivedClaims::of(Token::new(&text), std::slice::from_ref(&strict));
        assert_eq!(received.and_then(|own| own.unmet).as_deref(), unmet, "{header} {claims}");
    }
}

#[test]
fn encrypted_token_is_told_from_a_malformed_one() {
    let check = |text: &str, expect: bool| {
        assert_eq!(is_encrypted(Token::new(text)), expect, "{text}");
    };
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"dir","enc":"A256GCM"}"#);
    check(&format!("{header}..a.b.c"), true);
    check(&format!("{header}.k.a.b.c"), true);
    check(&format!("{header}.a.b.c"), false);
    check(&format!("{header}.a.b.c.d.e"), false);
    check(&format!("{}..a.b.c", URL_SAFE_NO_PAD.encode(r#"{"alg":"dir"}"#)), false);
    check(&format!("{}..a.b.c", URL_SAFE_NO_PAD.encode("enc")), false);
    check("a.b.c.d.e", false);
    check("", false);
}
