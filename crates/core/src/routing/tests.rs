use super::*;
use crate::config::fixtures::{policy, policy_with};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn head_is_rejected_when_too_large_or_with_a_body() {
    fn check(method: &str, headers: Vec<(&str, &str)>, expect: Denial) {
        let head = RequestHead::new(method, "https://a.example/", headers);
        assert_eq!(find([].iter(), &head, head.method()).err(), Some(expect));
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
    let policy = policy_with(&[("routes", routes)]);
    let check = |method: &str, path: &str, expect: &str| {
        let url = format!("https://a.example{path}");
        let head = RequestHead::new(method, &url, Vec::new());
        let got = match find(policy.routes.iter(), &head, method) {
            Ok(route) => route.name.as_str(),
            Err(denial) => denial.code(),
        };
        assert_eq!(got, expect, "{method} {path}");
    };
    check("GET", "/api/admin/x", "admin");
    check("HEAD", "/api/admin/x", "admin");
    check("POST", "/api/admin/x", "method_not_allowed");
    check("GET", "/api/Admin/x", "path_ambiguous");
    check("POST", "/api/Admin/x", "path_ambiguous");
    check("GET", "/API/x", "path_ambiguous");
    check("GET", "/api/X", "api");
    check("GET", "/users/Alice", "id");
    check("GET", "/Public/x", "open");
    check("GET", "/Public/X", "open");
    check("GET", "/public/x", "path_ambiguous");
    check("GET", "/%50ublic/x", "open");
    check("GET", "/api/adm%C4%B1n/x", "path_ambiguous");
    check("GET", "/api/%EF%BD%81dmin/x", "path_ambiguous");
    check("GET", "/api/admin%20/x", "path_ambiguous");
    check("GET", "/api/%20admin", "path_ambiguous");
    check("GET", "/api/%E2%80%8B%20admin%C2%A0%E2%80%8B", "path_ambiguous");
    check("GET", "/api/ad%20min", "api");
    // Outlined letters of Unicode 16, and a modifier letter of Unicode 17.
    check("GET", "/api/%F0%9C%B3%96dmin", "path_ambiguous");
    check("GET", "/u%EA%9F%B1ers/7", "path_ambiguous");
    check("GET", "/api/%EF%BD%81%EF%BD%82", "api");
    check("GET", "/nowhere", "route_not_found");
}

/// Returns the name of the route that a request takes, or the code of its refusal.
fn taken(policy: &Policy, method: &str, path: &str) -> String {
    let url = format!("https://a.example{path}");
    let head = RequestHead::new(method, &url, Vec::new());
    match policy.destination(&head) {
        Ok(Destination::Route(route)) => route.name.clone(),
        Ok(Destination::Edge(answer)) => answer.status.to_string(),
        Err(denial) => denial.code().to_owned(),
    }
}

#[test]
fn protected_path_takes_a_later_route_only_by_a_method_that_it_names() {
    let routes = r#"[
        {"name":"reports","path":"/api/reports/*","access":"protected","methods":["GET"],"scopes":["reports"]},
        {"name":"upload","path":"/api/reports/new/*","access":"protected","methods":["PUT"]},
        {"name":"page","path":"/page","access":"public","methods":["GET"]},
        {"name":"any","path":"/page","access":"public"},
        {"name":"api","path":"/api/*","access":"protected"}]"#;
    let policy = policy_with(&[("routes", routes)]);
    for (method, path, expect) in [
        ("GET", "/api/reports/x", "reports"),
        ("HEAD", "/api/reports/x", "reports"),
        ("POST", "/api/reports/x", "method_not_allowed"),
        ("OPTIONS", "/api/reports/x", "method_not_allowed"),
        ("PROPFIND", "/api/reports", "method_not_allowed"),
        ("PUT", "/api/reports/new/x", "upload"),
        ("POST", "/api/reports/new/x", "method_not_allowed"),
        ("POST", "/api/other", "api"),
        ("POST", "/page", "any"),
    ] {
        assert_eq!(taken(&policy, method, path), expect, "{method} {path}");
    }
}

/// A route for all methods lies between a guarded route and a weak one. It gets no request, and
/// lets none reach the weak one.
#[test]
fn guarded_path_does_not_skip_a_stricter_route_for_a_weaker_one() {
    for access in ["protected", "deny"] {
        let routes = format!(
            r#"[{{"name":"reports","path":"/api/reports/*","access":"protected","methods":["GET"]}},
                {{"name":"api","path":"/api/*","access":"{access}"}},
                {{"name":"site","path":"/*","access":"public","methods":["GET","POST"]}}]"#
        );
        let policy = policy_with(&[("routes", &routes)]);
        assert_eq!(taken(&policy, "GET", "/api/reports/x"), "reports", "{access}");
        assert_eq!(taken(&policy, "POST", "/api/reports/x"), "method_not_allowed", "{access}");
        assert_eq!(taken(&policy, "POST", "/x"), "site", "{access}");
        let head = RequestHead::new("POST", "https://a.example/api/reports/x", Vec::new());
        assert_eq!(policy.allowed_methods(&head), ["GET", "HEAD"], "{access}");
    }
}

#[test]
fn preflight_is_refused_with_the_method_that_it_requests() {
    let routes = r#"[
        {"name":"reports","path":"/api/reports/*","access":"protected","methods":["GET"],"scopes":["reports"]},
        {"name":"api","path":"/api/*","access":"protected"}]"#;
    let cors = r#"{"origins":["https://app.example"]}"#;
    let policy = policy_with(&[("routes", routes), ("cors", cors)]);
    for (method, expect) in [("GET", Ok(204)), ("POST", Err("method_not_allowed"))] {
        let headers =
            vec![("origin", "https://app.example"), ("access-control-request-method", method)];
        let head = RequestHead::new("OPTIONS", "https://a.example/api/reports/x", headers);
        let got = match policy.destination(&head) {
            Ok(Destination::Edge(answer)) => Ok(answer.status),
            other => Err(other.unwrap_err().code()),
        };
        assert_eq!(got, expect, "{method}");
    }
}

/// Paths that Rails' `(.:format)` and Windows read as the same path do not reach a weaker route.
#[test]
fn suffixed_path_stays_on_its_route() {
    let routes = r#"[
        {"name":"admin","path":"/api/admin/*","access":"protected","scopes":["admin"]},
        {"name":"export","path":"/api/export","access":"protected","scopes":["admin"],"suffixes":"same"},
        {"name":"v1","path":"/api/v1","access":"protected","scopes":["admin"],"suffixes":"distinct"},
        {"name":"limited","path":"/api/limited","access":"protected",
         "limit":{"quota":1,"window_seconds":60,"by":"subject"}},
        {"name":"api","path":"/api/*","access":"protected",
         "limit":{"quota":9,"window_seconds":60,"by":"subject"}},
        {"name":"docs","path":"/docs/open/*","access":"public"},
        {"name":"rest","path":"/docs/*","access":"protected"}]"#;
    let policy = policy_with(&[("routes", routes)]);
    for (path, expect) in [
        ("/api/admin.json", "admin"),
        ("/api/admin.", "admin"),
        ("/api/admin../x", "admin"),
        ("/api/admin.json/x", "admin"),
        ("/api/Admin.json", "path_ambiguous"),
        ("/api/administrator", "api"),
        ("/api/x.json", "api"),
        ("/api/export.csv", "export"),
        ("/api/export.tar.gz", "export"),
        ("/api/export.csv/x", "api"),
        ("/api/v1.2", "api"),
        ("/api/limited.json", "limited"),
        ("/docs/open.json", "rest"),
        ("/docs/open/x", "docs"),
    ] {
        assert_eq!(taken(&policy, "GET", path), expect, "{path}");
    }
}

/// NFKC case folding turns the characters of each path into those of a route, or removes them.
#[test]
fn path_is_ambiguous_when_nfkc_selects_the_route() {
    let routes = r#"[
        {"name":"admin","path":"/api/admin/*","access":"protected","scopes":["admin"]},
        {"name":"office","path":"/api/office/*","access":"protected","scopes":["admin"]},
        {"name":"v1","path":"/api/v1/*","access":"protected","scopes":["admin"]},
        {"name":"api","path":"/api/*","access":"protected"}]"#;
    let policy = policy_with(&[("routes", routes)]);
    let encoded = |text: &str| -> String {
        text.bytes()
            .map(|b| if b.is_ascii() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect()
    };
    for segment in [
        "\u{ff41}dmin",
        "\u{1d41a}dmin",
        "\u{1d5ba}dm\u{2071}n",
        "\u{24d0}dmin",
        "\u{aa}dmin",
        "\u{1d43}dmin",
        "ad\u{1d50}in",
        "\u{2090}dmin",
        "a\u{2146}min",
        "adm\u{2139}n",
        "adm\u{2170}n",
        "ad\u{ad}min",
        "\u{200b}admin",
        "admin\u{feff}",
        "adm\u{fe0f}in",
        "ad\u{217f}in",
        "a\u{e0041}dmin",
        "o\u{fb03}ce",
        "o\u{fb00}ice",
        "of\u{fb01}ce",
        "v\u{b9}",
        "v\u{2460}",
        "v\u{2081}",
        "\u{2174}1",
        "v\u{1d7cf}",
        "admi\u{207f}",
        "\u{1f130}dmin",
        "adm\u{131}n",
    ] {
        let path = format!("/api/{}/x", encoded(segment));
        assert_eq!(taken(&policy, "GET", &path), "path_ambiguous", "{segment:?}");
    }
    for segment in [
        "\u{e9}cole",
        "\u{65e5}\u{672c}",
        "\u{430}dmin",
        "x\u{b2}",
        "caf\u{e9}",
        "na\u{ef}ve\u{2019}s",
        "\u{2764}\u{fe0f}",
        "\u{1f1eb}\u{1f1f7}",
    ] {
        let path = format!("/api/{}/x", encoded(segment));
        assert_eq!(taken(&policy, "GET", &path), "api", "{segment:?}");
    }
}

/// A preflight has the method OPTIONS, but takes the route of the method that it announces.
#[test]
fn preflight_takes_the_route_of_the_requested_method() {
    let routes = r#"[{"name":"open","path":"/api/x","access":"public","methods":["GET"]},
        {"name":"api","path":"/api/*","access":"protected"}]"#;
    let policy = policy_with(&[("routes", routes)]);
    let headers = vec![("origin", "https://app.example"), ("access-control-request-method", "GET")];
    let head = RequestHead::new("OPTIONS", "https://a.example/api/x", headers);
    match policy.destination(&head) {
        Ok(Destination::Route(route)) => assert_eq!(route.name, "open"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn preflight_is_answered_by_the_edge_and_other_requests_are_routed() {
    let cors = [("cors", r#"{"origins":["https://app.example"]}"#)];
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

/// An optional route guards its paths only from methods that it takes itself.
#[test]
fn optional_route_leaves_other_methods_to_later_routes() {
    let routes = r#"[
        {"name":"read","path":"/a","access":"optional","methods":["GET"]},
        {"name":"write","path":"/a","access":"protected","suffixes":"same"},
        {"name":"list","path":"/b","access":"protected","methods":["GET"],"suffixes":"same"},
        {"name":"any","path":"/{x}","access":"optional","suffixes":"same"},
        {"name":"open","path":"/b/*","access":"public","methods":["POST"]}]"#;
    let policy = policy_with(&[("routes", routes)]);
    let check = |method: &str, path: &str, expect: &str| {
        let url = format!("https://a.example{path}");
        let head = RequestHead::new(method, &url, Vec::new());
        let got = match policy.destination(&head) {
            Ok(Destination::Route(route)) => route.name.as_str(),
            Ok(Destination::Edge(answer)) => panic!("{answer:?}"),
            Err(denial) => denial.code(),
        };
        assert_eq!(got, expect, "{method} {path}");
    };
    check("GET", "/a", "read");
    check("POST", "/a", "write");
    check("GET", "/b", "list");
    // The optional route would check a token, which the public one does not.
    check("POST", "/b", "method_not_allowed");
}

#[test]
fn preflight_of_an_optional_route_is_answered_by_the_edge() {
    let routes = r#"[{"name":"a","path":"/a","access":"optional"}]"#;
    let policy = policy_with(&[("routes", routes)]);
    let fields = vec![("origin", "https://x.example"), ("access-control-request-method", "GET")];
    let head = RequestHead::new("OPTIONS", "https://a.example/a", fields);
    let Ok(Destination::Edge(answer)) = policy.destination(&head) else {
        panic!("it is forwarded");
    };
    assert_eq!((answer.status, answer.fields), (204, Vec::new()));
}
