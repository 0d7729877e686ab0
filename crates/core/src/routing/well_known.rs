//! The documents that the edge serves itself: its metadata as a protected resource (RFC 9728), and
//! the keys of its assertions.

use crate::policy::Policy;
use crate::policy::issuer::Issuer;
use crate::policy::route::Access;
use crate::request::head::RequestHead;
use crate::url::{BaseUrl, is_url};
use serde_json::json;

/// Returns the document that a request is for; `None` if it is for none.
pub(crate) fn document(policy: &Policy, head: &RequestHead<'_>) -> Option<String> {
    if !matches!(head.method(), "GET" | "HEAD") || !head.path().starts_with("/.well-known/") {
        return None;
    }
    if policy.resource.as_ref().is_some_and(|resource| head.path() == metadata_path(resource)) {
        return metadata(policy);
    }
    let assertion = policy.assertion.as_ref().filter(|_| head.path() == ASSERTION_KEYS_PATH)?;
    Some(assertion.jwks())
}

/// Returns the URL of a resource's metadata (RFC 9728 section 3.1). The well-known path is between
/// host and path.
pub fn metadata_url(resource: &BaseUrl) -> String {
    let (site, _) = split(resource);
    format!("{site}{}", metadata_path(resource))
}

fn metadata_path(resource: &BaseUrl) -> String {
    format!("/.well-known/oauth-protected-resource{}", split(resource).1)
}

/// Splits a URL into its site and its path.
fn split(resource: &BaseUrl) -> (&str, &str) {
    let url = resource.as_str();
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url.get(host..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| host + at);
    url.split_at_checked(path).unwrap_or((url, ""))
}

fn metadata(policy: &Policy) -> Option<String> {
    // An issuer may have one entry for its JWTs and another for its opaque tokens. A name that is
    // not a URL can't be an authorization server's (RFC 8414 section 2).
    let mut issuers: Vec<String> = Vec::new();
    for name in policy.issuers.iter().flat_map(Issuer::names).filter(|name| is_url(name)) {
        if !issuers.contains(&name) {
            issuers.push(name);
        }
    }
    let mut scopes: Vec<&String> = Vec::new();
    for route in policy.routes.iter().filter(|route| route.access == Access::Protected) {
        for scope in route.scopes.iter().chain(&route.scopes_any) {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
    }
    let mut document = json!({
        "resource": policy.resource.as_ref()?.as_str(),
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
    });
    // RFC 9728 section 3.2: a member without values is left out.
    if !issuers.is_empty() {
        document.as_object_mut()?.insert("authorization_servers".to_owned(), issuers.into());
    }
    Some(document.to_string())
}

/// The path at which upstreams fetch the keys of assertions.
const ASSERTION_KEYS_PATH: &str = "/.well-known/portcullis-jwks.json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::{policy, policy_with};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn metadata_is_at_the_path_of_rfc_9728() {
        fn check(resource: &str, path: &str) {
            let resource = BaseUrl::parse(resource).unwrap();
            assert_eq!(metadata_url(&resource), format!("https://a.example{path}"));
            assert_eq!(metadata_path(&resource), path);
        }
        check("https://a.example", "/.well-known/oauth-protected-resource");
        check("https://a.example/", "/.well-known/oauth-protected-resource");
        check("https://a.example/v1/x", "/.well-known/oauth-protected-resource/v1/x");
    }

    #[test]
    fn metadata_lists_an_issuer_with_two_entries_once() {
        let issuers = r#"[{"issuer":"https://i","audience":"a","algorithms":["EdDSA"],"jwks_url":"https://i/k"},
            {"issuer":"https://i","audience":"a","introspection":{"url":"https://i/x","client_id":"e",
            "client_secret_variable":"STORE_TOKEN"}}]"#;
        let policy = policy_with(&[("resource.url", "https://a.example"), ("issuers", issuers)]);
        let document = metadata(&policy).unwrap();
        assert!(document.contains(r#""authorization_servers":["https://i"]"#), "{document}");
    }

    #[test]
    fn metadata_lists_tenants_but_no_name_that_is_not_a_url() {
        let listed = |issuers: &str| {
            let issuers =
                issuers.replace("KEYS", r#""algorithms":["EdDSA"],"jwks_url":"https://i/k""#);
            let changes = [("resource.url", "https://a.example"), ("issuers", &issuers)];
            let document = metadata(&policy_with(&changes)).unwrap();
            let document: serde_json::Value = serde_json::from_str(&document).unwrap();
            document.get("authorization_servers").cloned()
        };
        let several = r#"[{"issuer":"https://l/{tenant}/","tenants":["a","b"],"audience":"x",KEYS},
            {"issuer":"acme","audience":"x",KEYS},{"issuer":"https://m/{tenant}/","audience":"x",KEYS},
            {"issuer":"https://n","issuer_aliases":["https://o"],"audience":"x",KEYS}]"#;
        assert_eq!(listed(several), Some(json!(["https://l/a/", "https://l/b/", "https://n"])));
        assert_eq!(listed(r#"[{"issuer":"acme","audience":"x",KEYS}]"#), None);
    }

    #[test]
    fn metadata_lists_issuers_and_scopes() {
        let named = policy_with(&[("resource.url", "https://a.example/v1")]);
        let get = |method, path: &str| {
            let url = format!("https://a.example{path}");
            document(&named, &RequestHead::new(method, &url, Vec::new()))
        };
        let path = "/.well-known/oauth-protected-resource/v1";
        let expect = json!({
            "resource": "https://a.example/v1",
            "authorization_servers": ["https://issuer.example"],
            "scopes_supported": ["api:write"],
            "bearer_methods_supported": ["header"],
        });
        assert_eq!(get("GET", path), Some(expect.to_string()));
        assert!(get("HEAD", path).is_some());
        assert_eq!(get("POST", path), None);
        assert_eq!(get("GET", "/.well-known/oauth-protected-resource"), None);
        let url = format!("https://a.example{path}");
        assert_eq!(document(&policy(), &RequestHead::new("GET", &url, Vec::new())), None);
    }
}
