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
