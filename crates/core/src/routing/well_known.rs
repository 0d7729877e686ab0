//! The documents that the edge serves itself: its metadata as a protected resource (RFC 9728), and
//! the keys of its assertions.

use crate::json;
use crate::policy::Policy;
use crate::policy::issuer::Issuer;
use crate::policy::route::Route;
use crate::request::head::RequestHead;
use crate::url::{BaseUrl, is_url};

/// Returns the document that a request is for; `None` if it is for none.
pub(crate) fn document(policy: &Policy, head: &RequestHead<'_>) -> Option<String> {
    if !matches!(head.method(), "GET" | "HEAD") || !head.path().starts_with("/.well-known/") {
        return None;
    }
    if let Some((place, url)) = resource_at(policy, head) {
        return Some(metadata(policy, place, url));
    }
    let assertion = policy.assertion.as_ref().filter(|_| head.path() == ASSERTION_KEYS_PATH)?;
    Some(assertion.jwks())
}

/// Returns the resource whose metadata a request is for: its place among those that routes name,
/// `None` for the policy's own, and its URL. Of several at the same path, the host decides.
fn resource_at<'p>(
    policy: &'p Policy,
    head: &RequestHead<'_>,
) -> Option<(Option<usize>, &'p BaseUrl)> {
    let own = policy.resource.iter().map(|url| (None, url));
    let named = policy.resources.iter().enumerate();
    let named = named.map(|(place, resource)| (Some(place), &resource.url));
    let (mut found, mut count) = (None, 0);
    for resource in own.chain(named).filter(|(_, url)| head.path() == metadata_path(url)) {
        let (site, _) = split(resource.1);
        let host = site.split_once("://").map_or(site, |(_, host)| host);
        if host.eq_ignore_ascii_case(head.host()) {
            return Some(resource);
        }
        (found, count) = (Some(resource), count + 1);
    }
    // Behind a proxy that changes the host, one resource is unmistakable.
    found.filter(|_| count == 1)
}

/// Returns the URL of a resource's metadata (RFC 9728 section 3.1). The well-known path is between
/// host and path.
pub(crate) fn metadata_url(resource: &BaseUrl) -> String {
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

/// Returns the metadata of a resource: the issuers and scopes of its routes.
fn metadata(policy: &Policy, place: Option<usize>, url: &BaseUrl) -> String {
    let is_own = |route: &&Route| route.access.checks_tokens() && route.resource == place;
    let routes = || policy.routes.iter().filter(is_own);
    let is_accepted = |issuer: &&Issuer| routes().any(|route| route.accepts_issuer(issuer));
    // An issuer may have one entry for its JWTs and another for its opaque tokens. A name that is
    // not a URL can't be an authorization server's (RFC 8414 section 2).
    let names = policy.issuers.iter().filter(is_accepted).flat_map(Issuer::names);
    let mut issuers: Vec<String> = Vec::new();
    for name in names.filter(|name| is_url(name)) {
        if !issuers.contains(&name) {
            issuers.push(name);
        }
    }
    let mut scopes: Vec<&str> = Vec::new();
    for scope in routes().flat_map(|route| route.scopes.iter().chain(&route.scopes_any)) {
        if !scopes.contains(&scope.as_str()) {
            scopes.push(scope);
        }
    }
    // RFC 9728 section 3.2: a member without values is left out.
    let list = |values: Vec<&str>| (!values.is_empty()).then(|| values.into());
    json::write::object_text(vec![
        ("authorization_servers", list(issuers.iter().map(String::as_str).collect())),
        ("bearer_methods_supported", Some(vec!["header"].into())),
        ("resource", Some(url.as_str().into())),
        ("scopes_supported", list(scopes)),
    ])
}

/// The path at which upstreams fetch the keys of assertions.
const ASSERTION_KEYS_PATH: &str = "/.well-known/portcullis-jwks.json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::{policy, policy_with};
    use serde_json::json;
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
        let document = metadata(&policy, None, policy.resource.as_ref().unwrap());
        assert!(document.contains(r#""authorization_servers":["https://i"]"#), "{document}");
    }

    #[test]
    fn metadata_lists_tenants_but_no_name_that_is_not_a_url() {
        let listed = |issuers: &str| {
            let issuers =
                issuers.replace("KEYS", r#""algorithms":["EdDSA"],"jwks_url":"https://i/k""#);
            let changes = [("resource.url", "https://a.example"), ("issuers", &issuers)];
            let policy = policy_with(&changes);
            let document = metadata(&policy, None, policy.resource.as_ref().unwrap());
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

    #[test]
    fn each_resource_has_metadata_of_its_own_routes() {
        let issuers = r#"[
            {"issuer":"https://i","audience":"x","algorithms":["EdDSA"],"jwks_url":"https://i/k"},
            {"issuer":"https://j","audience":"x","algorithms":["EdDSA"],"jwks_url":"https://j/k"}]"#;
        let resources = r#"[
            {"name":"a","url":"https://a.example/mcp"},{"name":"b","url":"https://b.example/mcp"},
            {"name":"c","url":"https://a.example/c"},{"name":"d","url":"https://d.example"}]"#;
        let routes = r#"[
            {"name":"a","path":"/a","access":"protected","resource":"a","scopes":["a:r"],"issuers":["https://j"]},
            {"name":"a2","path":"/a2","access":"optional","resource":"a","scopes_any":["a:w","a:r"],
             "issuers":["https://j"]},
            {"name":"b","path":"/b","access":"protected","resource":"b","scopes":["b"]},
            {"name":"own","path":"/own","access":"protected","scopes":["own"],"issuers":["https://i"]}]"#;
        let policy = policy_with(&[
            ("resource.url", "https://own.example"),
            ("resources", resources),
            ("routes", routes),
            ("issuers", issuers),
        ]);
        let get = |host: &str, path: &str| {
            let url = format!("https://{host}/.well-known/oauth-protected-resource{path}");
            let document = document(&policy, &RequestHead::new("GET", &url, Vec::new()))?;
            let document: serde_json::Value = serde_json::from_str(&document).unwrap();
            let [servers, scopes] =
                [&document["authorization_servers"], &document["scopes_supported"]];
            Some(format!("{} {servers} {scopes}", document["resource"].as_str().unwrap()))
        };
        let a = r#"https://a.example/mcp ["https://j"] ["a:r","a:w"]"#;
        let b = r#"https://b.example/mcp ["https://i","https://j"] ["b"]"#;
        assert_eq!(get("a.example", "/mcp").as_deref(), Some(a));
        assert_eq!(get("A.EXAMPLE", "/mcp").as_deref(), Some(a));
        assert_eq!(get("b.example", "/mcp").as_deref(), Some(b));
        assert_eq!(get("c.example", "/mcp"), None, "the host does not decide");
        let c = r#"https://a.example/c null null"#;
        assert_eq!(get("a.example", "/c").as_deref(), Some(c));
        assert_eq!(get("127.0.0.1:8787", "/c").as_deref(), Some(c), "there is one at this path");
        let own = r#"https://own.example ["https://i"] ["own"]"#;
        assert_eq!(get("own.example", "").as_deref(), Some(own));
        assert_eq!(get("d.example", "").as_deref(), Some("https://d.example null null"));
        assert_eq!(get("a.example", "/mcp/x"), None);
        // Challenges name the metadata of the route's resource.
        let named = |at: usize| metadata_url(policy.resource_url(policy.routes.get(at)).unwrap());
        let well_known = "/.well-known/oauth-protected-resource";
        assert_eq!(named(0), format!("https://a.example{well_known}/mcp"));
        assert_eq!(named(2), format!("https://b.example{well_known}/mcp"));
        assert_eq!(named(3), format!("https://own.example{well_known}"));
    }
}
