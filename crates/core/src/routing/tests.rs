use super::*;
use crate::config::fixtures::{policy, policy_with};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn head_is_rejected_when_too_large_or_with_a_body() {
    fn check(method: &str, headers: Vec<(&str, &str)>, expect: Denial) {
        let head = RequestHead::new(method, "https://a.example/", headers);
        assert_eq!(find(&[], &head, head.method()).err(), Some(expect));
    }
    check("GET", vec![("x", "y"); FIELDS_MAX], Denial::RouteNotFound);
    check("GET", vec![("x", "y"); FIELDS_MAX + 1], Denial::HeadersTooLarge);
    check("GET", vec![("content-length", "1")], Denial::BodyUnexpected);
    check("HEAD", vec![("transfer-encoding", "chunked")], Denial::BodyUnexpected);
    check("GET", vec![("content-length", "0")], Denial::RouteNotFound);
    check("DELETE", vec![("content-length", "1")], Denial::RouteNotFound);
}

#[test]
fn path_is_ambiguous_when_case_selects_the_route() {
    let routes = r#"[
        {"name":"admin","path":"/api/admin/*","access":"protected","scopes":["admin"],"methods":["GET"]},
        {"name":"open","path":"/Public/*","access":"public"},
        {"name":"id","path":"/users/{id}","access":"protected"},
        {"name":"api","path":"/api/*","access":"protected"}]"#;
    let policy = policy_with(&[("ROUTES", routes)]);
    let check = |method: &str, path: &str, expect: &str| {
        let url = format!("https://a.example{path}");
        let head = RequestHead::new(method, &url, Vec::new());
        let got = match find(&policy.routes, &head, method) {
            Ok(route) => route.name.as_str(),
            Err(denial) => denial.code(),
        };
        assert_eq!(got, expect, "{method} {path}");
    };
    check("GET", "/api/admin/x", "admin");
    check("HEAD", "/api/admin/x", "admin");
    check("POST", "/api/admin/x", "api");
    check("GET", "/api/Admin/x", "path_ambiguous");
    check("POST", "/api/Admin/x", "api");
    check("GET", "/API/x", "path_ambiguous");
    check("GET", "/api/X", "api");
    check("GET", "/users/Alice", "id");
    check("GET", "/Public/x", "open");
    check("GET", "/Public/X", "open");
    check("GET", "/public/x", "path_ambiguous");
    check("GET", "/%50ublic/x", "open");
    check("GET", "/api/adm%C4%B1n/x", "path_ambiguous");
    check("GET", "/api/%EF%BD%81dmin/x", "path_ambiguous");
    check("GET", "/api/%EF%BD%81%EF%BD%82", "api");
    check("GET", "/nowhere", "route_not_found");
}

/// A preflight comes as OPTIONS, but takes the route of the method that it requests.
#[test]
fn preflight_takes_the_route_of_the_requested_method() {
    let routes = r#"[{"name":"open","path":"/api/x","access":"public","methods":["GET"]},
        {"name":"api","path":"/api/*","access":"protected"}]"#;
    let policy = policy_with(&[("ROUTES", routes)]);
    let headers = vec![("origin", "https://app.example"), ("access-control-request-method", "GET")];
    let head = RequestHead::new("OPTIONS", "https://a.example/api/x", headers);
    match policy.destination(&head) {
        Ok(Destination::Route(route)) => assert_eq!(route.name, "open"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn preflight_is_answered_by_the_edge_and_other_requests_are_routed() {
    let cors = [("CORS", r#"{"origins":["https://app.example"]}"#)];
    let route = |policy: &Policy, method: &str, path: &str, requested: Option<&str>| {
        let url = format!("https://a.example{path}");
        let mut headers = vec![("origin", "https://app.example")];
        headers.extend(requested.map(|method| ("access-control-request-method", method)));
        match policy.destination(&RequestHead::new(method, &url, headers)) {
            Ok(Destination::Edge(answer)) => {
                assert!(answer.body.is_empty());
                format!("{} {}", answer.status, answer.fields.len())
            }
            Ok(Destination::Route(route)) => route.name.clone(),
            Err(denial) => denial.code().to_owned(),
        }
    };
    let (with, without) = (policy_with(&cors), policy());
    for (method, path, requested, with_cors, without_cors) in [
        ("OPTIONS", "/api/x", Some("POST"), "204 5", "204 0"),
        ("OPTIONS", "/api/x", Some("DELETE"), "204 5", "204 0"),
        ("OPTIONS", "/nowhere", Some("GET"), "204 5", "route_not_found"),
        ("OPTIONS", "/health", Some("GET"), "204 5", "health"),
        ("OPTIONS", "/auth/login", Some("POST"), "204 5", "auth"),
        ("OPTIONS", "/api//x", Some("POST"), "path_ambiguous", "path_ambiguous"),
        ("OPTIONS", "/api/x", None, "read", "read"),
        ("GET", "/api/x", Some("POST"), "read", "read"),
    ] {
        assert_eq!(route(&with, method, path, requested), with_cors, "{method} {path}");
        assert_eq!(route(&without, method, path, requested), without_cors, "{method} {path}");
    }
}
