use super::*;
use crate::json;
use crate::policy::fixtures::issuer;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn issuer_with(audiences: &[&str], claim: AudienceClaim, parties: &[&str]) -> Issuer {
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Issuer {
        audiences: texts(audiences),
        audience_claim: claim,
        authorized_parties: texts(parties),
        ..issuer()
    }
}

fn verdict(issuer: &Issuer, claims: &str) -> Result<(), Denial> {
    let members = json::object(claims.as_bytes()).unwrap();
    issuer.check_audience(&members).and_then(|()| issuer.check_party(&members))
}

const MISMATCH: Result<(), Denial> = Err(Denial::AudienceMismatch);
const MALFORMED: Result<(), Denial> = Err(Denial::TokenMalformed);
const REFUSED: Result<(), Denial> = Err(Denial::AuthorizedPartyRefused);

fn missing(claim: &'static str) -> Result<(), Denial> {
    Err(Denial::ClaimMissing(claim))
}

#[test]
fn audience_is_one_of_the_list() {
    let issuer = issuer_with(&["api", "https://api.example"], AudienceClaim::Aud, &[]);
    let check = |claims: &str, expect| assert_eq!(verdict(&issuer, claims), expect, "{claims}");
    check(r#"{"aud":"api"}"#, Ok(()));
    check(r#"{"aud":"https://api.example"}"#, Ok(()));
    check(r#"{"aud":["x","https://api.example"]}"#, Ok(()));
    check(r#"{"aud":["api","https://api.example"]}"#, Ok(()));
    check(r#"{"aud":"https://api.example/"}"#, MISMATCH);
    check(r#"{"aud":"api https://api.example"}"#, MISMATCH);
    check(r#"{"aud":""}"#, MISMATCH);
    check(r#"{"aud":[""]}"#, MISMATCH);
    check(r#"{"aud":["x"]}"#, MISMATCH);
    check(r#"{"aud":[]}"#, MISMATCH);
    check(r#"{"client_id":"api","azp":"api","iss":"api"}"#, missing("aud"));
    for wrong in ["null", "7", "true", r#"["api",7]"#, r#"[7,"api"]"#, r#"["api",["x"]]"#, "{}"] {
        check(&format!(r#"{{"aud":{wrong}}}"#), MALFORMED);
    }
}

#[test]
fn substitute_counts_only_without_an_audience() {
    for (claim, kind, other) in
        [("client_id", AudienceClaim::ClientId, "azp"), ("azp", AudienceClaim::Azp, "client_id")]
    {
        let issuer = issuer_with(&["web", "app"], kind, &[]);
        let check = |claims: &str, expect| {
            let claims = claims.replace("CLAIM", claim).replace("OTHER", other);
            assert_eq!(verdict(&issuer, &claims), expect, "{claims}");
        };
        check(r#"{"CLAIM":"web"}"#, Ok(()));
        check(r#"{"CLAIM":"app","aud":[]}"#, Ok(()));
        check(r#"{"CLAIM":"else","aud":"web"}"#, Ok(()));
        check(r#"{"aud":["app"]}"#, Ok(()));
        check(r#"{"CLAIM":"web","aud":"else"}"#, MISMATCH);
        check(r#"{"CLAIM":"web","aud":""}"#, MISMATCH);
        check(r#"{"CLAIM":"web","aud":["else"]}"#, MISMATCH);
        check(r#"{"CLAIM":"web","aud":null}"#, MALFORMED);
        check(r#"{"CLAIM":"web","aud":[null]}"#, MALFORMED);
        check(r#"{"CLAIM":"else"}"#, MISMATCH);
        check(r#"{"CLAIM":"Web"}"#, MISMATCH);
        check(r#"{"CLAIM":""}"#, MISMATCH);
        check(r#"{"CLAIM":["web"]}"#, MALFORMED);
        check(r#"{"CLAIM":null}"#, MALFORMED);
        check(r#"{"OTHER":"web"}"#, missing(claim));
        check(r#"{"OTHER":"web","aud":[]}"#, missing(claim));
        check("{}", missing(claim));
    }
}

#[test]
fn issuer_alone_suffices_only_without_an_audience() {
    for audiences in [&[][..], &["api"]] {
        let issuer = issuer_with(audiences, AudienceClaim::Iss, &[]);
        let check = |claims: &str, expect| assert_eq!(verdict(&issuer, claims), expect, "{claims}");
        check("{}", Ok(()));
        check(r#"{"aud":[]}"#, Ok(()));
        check(r#"{"aud":"api"}"#, if audiences.is_empty() { MISMATCH } else { Ok(()) });
        check(r#"{"aud":"else"}"#, MISMATCH);
        check(r#"{"aud":""}"#, MISMATCH);
        check(r#"{"aud":null}"#, MALFORMED);
    }
}

#[test]
fn authorized_party_is_checked_next_to_the_audience_or_instead_of_a_missing_one() {
    let origin = "https://app.example";
    let alone = issuer_with(&[], AudienceClaim::Aud, &[origin, "cli"]);
    let check = |claims: &str, expect| assert_eq!(verdict(&alone, claims), expect, "{claims}");
    check(r#"{"azp":"https://app.example"}"#, Ok(()));
    check(r#"{"azp":"cli","aud":[]}"#, Ok(()));
    check(r#"{"azp":"https://app.example/"}"#, REFUSED);
    check(r#"{"azp":"https://evil.example"}"#, REFUSED);
    check(r#"{"azp":""}"#, REFUSED);
    check(r#"{"azp":["cli"]}"#, MALFORMED);
    check(r#"{"azp":null}"#, MALFORMED);
    check(r#"{"client_id":"cli"}"#, missing("azp"));
    check(r#"{"azp":"cli","aud":"cli"}"#, MISMATCH);
    let both = issuer_with(&["api"], AudienceClaim::Aud, &["cli"]);
    let check = |claims: &str, expect| assert_eq!(verdict(&both, claims), expect, "{claims}");
    check(r#"{"azp":"cli","aud":"api"}"#, Ok(()));
    check(r#"{"azp":"cli"}"#, missing("aud"));
    check(r#"{"azp":"cli","aud":[]}"#, MISMATCH);
    check(r#"{"azp":"cli","aud":"x"}"#, MISMATCH);
    check(r#"{"azp":"x","aud":"api"}"#, REFUSED);
    check(r#"{"aud":"api"}"#, missing("azp"));
    // Without either setting, which no policy has, nothing is accepted.
    let neither = issuer_with(&[], AudienceClaim::Aud, &[]);
    assert_eq!(verdict(&neither, "{}"), missing("aud"));
    assert_eq!(verdict(&neither, r#"{"aud":"api"}"#), MISMATCH);
}

#[cfg(not(target_arch = "wasm32"))]
mod rule {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn value() -> impl Strategy<Value = Value> {
        let name = prop_oneof![Just("api"), Just("cli"), Just("else"), Just("")];
        let one = prop_oneof![
            8 => name.prop_map(|name| json!(name)),
            1 => Just(json!(7)),
            1 => Just(Value::Null),
        ];
        prop_oneof![
            4 => one.clone(),
            2 => prop::collection::vec(one, 0..4).prop_map(Value::Array),
            1 => Just(json!({ "api": "cli" })),
        ]
    }

    fn texts() -> impl Strategy<Value = Vec<String>> {
        prop::sample::subsequence(vec!["api".to_owned(), "cli".to_owned()], 0..=2)
    }

    /// The rule of docs/configuration.md as a table: whether a token is accepted.
    fn is_accepted(issuer: &Issuer, members: &Map<String, Value>) -> bool {
        let listed = |list: &[String], value: Option<&Value>| match value {
            Some(Value::String(text)) => list.contains(text),
            _ => false,
        };
        let audience = match members.get("aud") {
            Some(Value::Array(names)) if names.is_empty() => None,
            Some(Value::Array(names)) => Some(names.clone()),
            Some(other) => Some(vec![other.clone()]),
            None => None,
        };
        let is_for_us = match (audience, issuer.audience_claim) {
            (Some(names), _) => {
                names.iter().all(Value::is_string)
                    && names.iter().any(|name| listed(&issuer.audiences, Some(name)))
            }
            (None, AudienceClaim::Iss) => true,
            (None, AudienceClaim::ClientId) => listed(&issuer.audiences, members.get("client_id")),
            (None, AudienceClaim::Azp) => listed(&issuer.audiences, members.get("azp")),
            (None, AudienceClaim::Aud) => {
                issuer.audiences.is_empty() && !issuer.authorized_parties.is_empty()
            }
        };
        let parties = &issuer.authorized_parties;
        is_for_us && (parties.is_empty() || listed(parties, members.get("azp")))
    }

    proptest! {
        #[test]
        fn verdict_is_that_of_the_table(
            audiences in texts(),
            parties in texts(),
            claim in prop::sample::select(AudienceClaim::NAMES.map(|(_, claim)| claim).to_vec()),
            aud in prop::option::of(value()),
            azp in prop::option::of(value()),
            client_id in prop::option::of(value()),
        ) {
            let issuer = Issuer {
                audiences,
                audience_claim: claim,
                authorized_parties: parties,
                ..issuer()
            };
            let mut members = Map::new();
            for (name, value) in [("aud", aud), ("azp", azp), ("client_id", client_id)] {
                members.extend(value.map(|value| (name.to_owned(), value)));
            }
            let verdict =
                issuer.check_audience(&members).and_then(|()| issuer.check_party(&members));
            prop_assert_eq!(verdict.is_ok(), is_accepted(&issuer, &members), "{:?}", verdict);
        }
    }
}

mod responses {
    use super::*;
    use crate::policy::introspection::Introspection;
    use crate::policy::requirements::Requirements;
    use crate::refusal::Refusal;
    use crate::time::UnixSeconds;
    use crate::token::record::TokenRecord;
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn opaque(issuer: Issuer) -> Issuer {
        Issuer { keys: None, ..issuer }
    }

    fn read(issuer: &Issuer, members: &str) -> Result<TokenRecord, Refusal> {
        let text = format!(r#"{{"active":true,"sub":"alice"{members}}}"#);
        Introspection::read(issuer, &[], 200, &text, UnixSeconds(1_700_000_000))
    }

    fn verdict(issuer: &Issuer, members: &str) -> Result<String, Refusal> {
        read(issuer, members).map(|record| record.iss.unwrap_or_default())
    }

    fn denied(denial: Denial) -> Result<String, Refusal> {
        Err(denial.into())
    }

    #[test]
    fn response_about_an_opaque_token_meets_the_settings() {
        let name = issuer().issuer;
        let by_client = opaque(issuer_with(&["web"], AudienceClaim::ClientId, &[]));
        let check = |issuer: &Issuer, members: &str, expect: Result<String, Refusal>| {
            assert_eq!(verdict(issuer, members), expect, "{members}");
        };
        check(&by_client, r#","client_id":"web""#, Ok(name.clone()));
        check(&by_client, r#","client_id":"web","aud":[]"#, Ok(name.clone()));
        check(&by_client, r#","aud":"web""#, Ok(name.clone()));
        check(&by_client, r#","client_id":"other""#, denied(Denial::AudienceMismatch));
        check(&by_client, r#","client_id":"web","aud":"x""#, denied(Denial::AudienceMismatch));
        check(&by_client, "", denied(Denial::ClaimMissing("client_id")));
        let plain = opaque(issuer());
        check(&plain, "", Ok(name.clone()));
        check(&plain, r#","aud":[]"#, denied(Denial::AudienceMismatch));
        let party = opaque(issuer_with(&["api"], AudienceClaim::Aud, &["cli"]));
        check(&party, r#","azp":"cli""#, Ok(name.clone()));
        check(&party, r#","azp":"x""#, denied(Denial::AuthorizedPartyRefused));
        check(&party, "", denied(Denial::ClaimMissing("azp")));
        let claims = Requirements {
            values: vec![("/use".into(), vec![json!("access")])],
            required: vec!["sub".into()],
            ..Requirements::default()
        };
        let required = opaque(Issuer { claims: claims.clone(), ..issuer() });
        check(&required, r#","use":"access""#, Ok(name.clone()));
        check(&required, r#","use":"id""#, denied(Denial::TokenTypeRefused));
        let own_client = r#"{"active":true,"client_id":"batch","use":"access"}"#;
        let read = Introspection::read(&required, &[], 200, own_client, UnixSeconds(1));
        assert_eq!(read.map(|_| ()), Err(Denial::TokenTypeRefused.into()), "there is no sub");
        // The requirements of a JWT were checked in the JWT.
        let signed = Issuer { claims, authorized_parties: vec!["cli".into()], ..issuer() };
        check(&signed, "", Ok(name));
        check(&signed, r#","aud":"x""#, denied(Denial::AudienceMismatch));
        check(&signed, r#","cnf":{}"#, denied(Denial::TokenTypeRefused));
    }

    #[test]
    fn response_names_the_issuer_by_its_own_name_and_its_tenant() {
        let aliased = Issuer { aliases: vec!["other".into()], ..issuer() };
        for issuer in [aliased.clone(), opaque(aliased)] {
            let name = issuer.issuer.clone();
            assert_eq!(verdict(&issuer, r#","iss":"other""#), Ok(name.clone()));
            assert_eq!(verdict(&issuer, ""), Ok(name.clone()));
            assert_eq!(verdict(&issuer, r#","iss":"x""#), denied(Denial::IssuerUnknown));
            let record = read(&issuer, r#","iss":"other""#).unwrap();
            assert_eq!(record.claims(&issuer).map(|claims| claims.iss), Some(name));
        }
        let tenants = Issuer { issuer: "t/{tenant}".into(), tenants: Some(vec![]), ..issuer() };
        for issuer in [tenants.clone(), opaque(tenants)] {
            let check = |members: &str, expect| {
                assert_eq!(verdict(&issuer, members), expect, "{members}");
            };
            check(r#","iss":"t/a","tid":"a""#, Ok("t/a".to_owned()));
            check(r#","iss":"t/a","tid":"b""#, denied(Denial::TenantRefused));
            check(r#","iss":"t/a""#, denied(Denial::ClaimMissing("tid")));
            check(r#","iss":"t/{tenant}","tid":"{tenant}""#, denied(Denial::IssuerUnknown));
            check("", Err(Refusal::Out(crate::refusal::Outage::IntrospectionBadResponse)));
            let record = read(&issuer, r#","iss":"t/a","tid":"a""#).unwrap();
            assert_eq!(record.clone().claims(&issuer).map(|claims| claims.iss), Some("t/a".into()));
            let nameless = TokenRecord { iss: None, ..record };
            assert_eq!(nameless.claims(&issuer), None);
        }
    }
}
