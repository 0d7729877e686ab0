use super::*;
use crate::policy::fixtures::issuer;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn metadata_is_rejected_for_another_issuer_or_an_unsafe_jwks_uri() {
    let check = |url: &str, document: &str, expect: Result<&str, MetadataError>| {
        let got = issuer().jwks_uri(url, document);
        assert_eq!(got.as_deref().map_err(|e| *e), expect, "{document}");
    };
    let document =
        |issuer: &str, uri: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"{uri}","x":[1]}}"#);
    let (ours, url) = ("https://issuer.example", "https://issuer.example/.well-known/x");
    check(url, &document(ours, "https://k.example/k?v=1"), Ok("https://k.example/k?v=1"));
    check(url, &document(ours, "http://k.example/k"), Err(MetadataError::JwksUri));
    check("http://localhost/x", &document(ours, "http://k/k"), Ok("http://k/k"));
    check(url, &document(ours, "file:///etc/passwd"), Err(MetadataError::JwksUri));
    check(url, &document(ours, "https://u:p@k.example/"), Err(MetadataError::JwksUri));
    check(url, &format!(r#"{{"issuer":"{ours}"}}"#), Err(MetadataError::JwksUri));
    let slash = document("https://issuer.example/", "https://k.example/");
    check(url, &slash, Err(MetadataError::IssuerMismatch));
    check(url, "<html>", Err(MetadataError::Malformed));
}

#[test]
fn metadata_of_a_provider_with_tenants_names_one_or_all_of_them() {
    let of = |name: &str, tenants: Option<Vec<String>>, aliases: &[&str]| Issuer {
        issuer: name.into(),
        tenants,
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        ..issuer()
    };
    let check = |issuer: &Issuer, named: &str, expect: bool| {
        let document = format!(r#"{{"issuer":"{named}","jwks_uri":"https://k.example/k"}}"#);
        let got = issuer.jwks_uri("https://login.example/x", &document);
        let expect = if expect { Ok(()) } else { Err(MetadataError::IssuerMismatch) };
        assert_eq!(got.map(|_| ()), expect, "{} {named}", issuer.issuer);
    };
    let all = of("https://login.example/{tenant}/v2.0", Some(vec!["a".into()]), &[]);
    check(&all, "https://login.example/{tenantid}/v2.0", true);
    check(&all, "https://login.example/a/v2.0", true);
    for other in ["https://login.example/{tenant}/v2.0", "https://login.example/{tenantid}/"] {
        check(&all, other, false);
    }
    let one = of("https://login.example/a/v2.0", None, &["https://sts.example/a/"]);
    check(&one, "https://login.example/a/v2.0", true);
    check(&one, "https://sts.example/a/", true);
    check(&one, "https://login.example/{tenantid}/v2.0", false);
    check(&one, "https://login.example/b/v2.0", false);
}

#[test]
fn key_of_another_issuer_is_not_admitted() {
    let own = Issuer { aliases: vec!["alias".into()], ..issuer() };
    let name = own.issuer.clone();
    for (owner, expect) in [
        (None, true),
        (Some(name.as_str()), true),
        (Some("alias"), true),
        (Some("https://issuer.example/"), false),
        (Some("https://{tenantid}"), true),
        (Some("https://{tenantid}/"), false),
        (Some(""), false),
    ] {
        assert_eq!(own.admits_key_of(owner, &name), expect, "{owner:?}");
    }
}
