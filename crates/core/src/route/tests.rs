use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn patterns_match_whole_segments_in_every_spelling() {
    fn check(pattern: &str, path: &str, expect: bool) {
        let pattern = Pattern::parse(pattern).unwrap();
        let path = Spelling::of(path).unwrap();
        assert_eq!(pattern.matches(&path, Case::Folded), expect, "{pattern:?} {}", path.exact);
    }
    check("/api/*", "/api/hello", true);
    check("/api/*", "/api/", true);
    check("/api/*", "/api", true);
    check("/api/*", "/apis", false);
    check("/api/*", "/API/hello", true);
    check("/api/*", "/%61pi/hello", true);
    check("/api/*", "/a%50I/hello", true);
    check("/@me", "/%40Me", true);
    check("/Api", "/api", true);
    check("/api", "/api/", true);
    check("/api", "/api/x", false);
    check("/*", "/", true);
    check("/*", "/x", true);
    check("/", "/", true);
    check("/", "/x", false);
    check("/users/{id}", "/users/7", true);
    check("/users/{id}", "/users/7/", true);
    check("/users/{id}", "/Users/%37", true);
    check("/users/{id}", "/users", false);
    check("/users/{id}", "/users/", false);
    check("/users/{id}", "/users/7/x", false);
    check("/users/{id}/orders", "/users/7/orders", true);
    check("/users/{id}/orders", "/users/orders", false);
    check("/users/{id}/*", "/users/7", true);
    check("/users/{id}/*", "/users/7/x/y", true);
    check("/users/{id}/*", "/users/", false);
    check("/{a}/{b}", "/x/y", true);
    check("/{a}", "/", false);
}

#[test]
fn a_pattern_that_can_not_match_is_refused() {
    for text in [
        "", "api", "*", "/a*", "/*/a", "/a//b", "/a?b", "/a/../b", "/a%62", "//*", "/a//*", "/a;b",
        "/{}", "/{a", "/a}", "/x{a}", "/{{a}}",
    ] {
        assert_eq!(Pattern::parse(text), None, "{text}");
    }
}

#[test]
fn a_pattern_covers_what_lies_below_it() {
    fn check(pattern: &str, other: &str, expect: bool) {
        let (pattern, other) = (Pattern::parse(pattern).unwrap(), Pattern::parse(other).unwrap());
        assert_eq!(pattern.covers(&other), expect, "{pattern:?} {other:?}");
    }
    check("/*", "/a", true);
    check("/a/*", "/a/b/*", true);
    check("/a/*", "/A", true);
    check("/a/b/*", "/a/*", false);
    check("/a", "/a/*", false);
    check("/a/*", "/ab", false);
    check("/{x}", "/a", true);
    check("/a", "/{x}", false);
    check("/{x}/b", "/a/b", true);
    check("/{x}/b", "/a/{y}", false);
    check("/{x}/*", "/a/b/c", true);
    check("/{x}/{y}", "/a", false);
    check("/{x}", "/{y}", true);
}

#[test]
fn a_path_with_two_readings_is_refused() {
    fn check(path: &str, expect: Result<(), Denial>) {
        assert_eq!(Spelling::of(path).map(|_| ()), expect, "{path}");
    }
    for path in [
        "/",
        "/a",
        "/a/",
        "/a%20b",
        "/a%C3%A9",
        "/a.b",
        "/.well-known/x",
        "/...",
        "/a%40b",
        "/a,b=c",
    ] {
        check(path, Ok(()));
    }
    for path in [
        "",
        "a",
        "//",
        "/a//b",
        "/a/../b",
        "/..",
        "/./a",
        "/a%2fb",
        "/a%2Fb",
        "/a%c0%ae",
        "/a%e0%80%ae",
        "/a%E9",
        "/a%ff",
        "/a%ef%bc%8e",
        "/a%ef%bc%8fb",
        "/a%5cb",
        "/a\\b",
        "/a%00",
        "/%2e%2e/b",
        "/%2E",
        "/a%252fb",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%+2f",
        "/a b",
        "/a\u{e9}",
        "/a%0d%0a",
        "/a%7f",
        "/a/..;/b",
        "/a;b/c",
        "/a%3bb",
    ] {
        check(path, Err(Denial::PathAmbiguous));
    }
    check(&format!("/{}", "a".repeat(PATH_BYTES_MAX - 1)), Ok(()));
    check(&format!("/{}", "a".repeat(PATH_BYTES_MAX)), Err(Denial::PathAmbiguous));
}

#[test]
fn a_head_is_bounded() {
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

#[cfg(not(target_arch = "wasm32"))]
proptest::proptest! {
    #[test]
    fn no_path_panics(path in "/[ -~\u{80}-\u{ff}]{0,40}") {
        let _ = Spelling::of(&path);
        let _ = Pattern::parse(&path);
    }
}

#[test]
fn a_host_is_one_name() {
    for good in ["a.example", "127.0.0.1:8787", "[::1]:80", "xn--p1ai", "a_b"] {
        assert!(is_host(good), "{good}");
    }
    for bad in ["", "a.example, b.example", "a@b", "a b", "a\0", "a%2e", "a\"b", "\u{e9}"] {
        assert!(!is_host(bad), "{bad}");
    }
}

#[test]
fn where_case_would_decide_nothing_is_decided() {
    let routes = r#"[
        {"name":"admin","path":"/api/admin/*","access":"protected","scopes":["admin"],"methods":["GET"]},
        {"name":"open","path":"/Public/*","access":"public"},
        {"name":"id","path":"/users/{id}","access":"protected"},
        {"name":"api","path":"/api/*","access":"protected"}]"#;
    let policy = crate::policy::tests::policy_with(&[("ROUTES", routes)]);
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
