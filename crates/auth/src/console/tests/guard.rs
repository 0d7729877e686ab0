//! The checks before each request to the API.

use super::harness::{Browser, ORIGIN, TestConsole, call};
use crate::console::operator::Reason;
use crate::testing::{TestService, on_each_database};
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, header};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Returns all source files of the API, except this one's folder and the router itself.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let own =
        entries.filter(|path| !["tests", "router.rs"].map(|name| folder.join(name)).contains(path));
    own.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Returns each route of the API as its files name it: the path, and the methods that change
/// something.
fn routes() -> Vec<(String, Vec<&'static str>)> {
    let mut routes = Vec::new();
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for part in text.split(".route(").skip(1) {
            let place = part.split('"').nth(1).unwrap();
            // The methods up to the next route or the end of the function.
            let handlers = part.split("\n}").next().unwrap();
            let methods = ["post", "put", "patch", "delete", "any"];
            let has = |method: &&&str| handlers.contains(&format!("{method}("));
            let methods = methods.iter().filter(has).flat_map(|method| match *method {
                "any" => vec!["POST", "PUT", "PATCH", "DELETE"],
                "post" => vec!["POST"],
                "put" => vec!["PUT"],
                "patch" => vec!["PATCH"],
                _ => vec!["DELETE"],
            });
            let names = |part: &str| match part.starts_with('{') {
                true => "x".to_owned(),
                false => part.to_owned(),
            };
            let place: Vec<String> = place.split('/').map(names).collect();
            routes.push((format!("/console/api{}", place.join("/")), methods.collect()));
        }
    }
    routes
}

/// What those who may only read can do in spite of an unsafe method.
fn is_for_readers(method: &str, path: &str) -> bool {
    match method {
        "DELETE" => path == "/console/api/session",
        "POST" => path == "/console/api/session" || path == "/console/api/policies/x/explain",
        _ => false,
    }
}

#[tokio::test]
async fn every_route_needs_a_session_and_every_action_the_right_to_act() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let viewer = console.browser("viewer", "console:read api:read users:admin").await;
            let actor = console.browser("actor", "console:act").await;
            let found = routes();
            assert!(found.iter().any(|(path, _)| path == "/console/api/session"), "{found:?}");
            let body = json!({ "reason": "a test" });
            for (path, methods) in found {
                let reply = console.send(Request::get(&path).body(Body::empty()).unwrap()).await;
                reply.assert(401, "session_missing");
                // Every other method, too: those that no route has today may come tomorrow.
                for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"] {
                    let is_login = method == "POST" && path == "/console/api/session";
                    if !is_login {
                        let reply = console.send(call(method, &path, None, &body)).await;
                        reply.assert(401, "session_missing");
                    }
                    if !is_for_readers(method, &path) {
                        let reply = console.call(&viewer, method, &path, &body).await;
                        reply.assert(403, "scope_insufficient");
                    }
                    let foreign = with(
                        call(method, &path, Some(&actor), &body),
                        header::ORIGIN,
                        "https://evil.example",
                    );
                    console.send(foreign).await.assert(403, "origin_forbidden");
                    if !is_login {
                        let other = Browser { csrf: viewer.csrf.clone(), ..actor.clone() };
                        let reply = console.call(&other, method, &path, &body).await;
                        reply.assert(403, "csrf_invalid");
                    }
                }
                for method in methods {
                    let is_exempt = is_for_readers(method, &path);
                    // An action that an operator may do demands its reason first.
                    if !is_exempt {
                        let reply = console.call(&actor, method, &path, &json!({})).await;
                        reply.assert(400, "reason_missing");
                    }
                }
            }
        },
    )
    .await;
}

fn with(mut request: Request<Body>, name: HeaderName, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    request
}

const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// A path without a route: what passes all checks is not found.
const PATH: &str = "/console/api/none";

#[tokio::test]
async fn unsafe_requests_need_the_origin_the_csrf_token_and_json() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let browser = console.browser("olga", "console:act").await;
            let other = console.login("olga").await;
            let request = || call("POST", PATH, Some(&browser), &json!({ "reason": "r" }));
            console.send(request()).await.assert(404, "not_found");

            for origin in [
                "null",
                "",
                "https://evil.example",
                "http://console.example",
                "https://console.example:8443",
                "https://console.example/",
                "https://CONSOLE.example",
                "https://console.example https://console.example",
            ] {
                let reply = console.send(with(request(), header::ORIGIN, origin)).await;
                reply.assert(403, "origin_forbidden");
            }
            let mut missing = request();
            missing.headers_mut().remove(header::ORIGIN);
            // What browsers say in addition does not replace it.
            let missing = with(missing, SITE, "same-origin");
            console.send(missing).await.assert(403, "origin_forbidden");
            let mut twice = request();
            twice.headers_mut().append(header::ORIGIN, HeaderValue::from_static("null"));
            console.send(twice).await.assert(403, "origin_forbidden");

            let longer = format!("{}A", browser.csrf);
            let mut flipped = browser.csrf.clone().into_bytes();
            flipped[0] = if flipped[0] == b'A' { b'B' } else { b'A' };
            let flipped = String::from_utf8(flipped).unwrap();
            for token in ["", &longer, &flipped, &other.csrf, &browser.csrf[..42]] {
                console.send(with(request(), CSRF, token)).await.assert(403, "csrf_invalid");
            }
            let mut missing = request();
            missing.headers_mut().remove(CSRF);
            console.send(missing).await.assert(403, "csrf_invalid");
            let mut twice = request();
            twice.headers_mut().append(CSRF, HeaderValue::from_str(&browser.csrf).unwrap());
            console.send(twice).await.assert(403, "csrf_invalid");
            let mut swapped = request();
            swapped.headers_mut().insert(header::COOKIE, other.cookie.parse().unwrap());
            console.send(swapped).await.assert(403, "csrf_invalid");

            for media_type in ["", "text/plain", "multipart/form-data", "application/jsonx"] {
                let reply = console.send(with(request(), header::CONTENT_TYPE, media_type)).await;
                reply.assert(415, "media_type_unsupported");
            }
            let json = with(request(), header::CONTENT_TYPE, "Application/JSON; charset=utf-8");
            console.send(json).await.assert(404, "not_found");
        },
    )
    .await;
}

#[tokio::test]
async fn other_sites_do_not_read_by_a_browsers_cookie() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let browser = console.browser("olga", "console:read").await;
            let request = || {
                let request = Request::get("/console/api/session");
                request.header(header::COOKIE, &browser.cookie).body(Body::empty()).unwrap()
            };
            for site in ["same-origin", "none"] {
                console.send(with(request(), SITE, site)).await.assert(200, "");
            }
            for site in ["cross-site", "same-site", "", "x"] {
                let reply = console.send(with(request(), SITE, site)).await;
                reply.assert(403, "origin_forbidden");
            }
            let reply = console.send(with(request(), header::ORIGIN, "https://evil.example")).await;
            assert!(reply.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
            let head = Request::head("/console/api/session").body(Body::empty()).unwrap();
            assert_eq!(console.send(head).await.status, 401);
        },
    )
    .await;
}

#[tokio::test]
async fn each_response_has_the_headers_that_protect_it() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let browser = console.browser("olga", "console:act").await;
            let csp = "default-src 'none'; script-src 'self'; style-src 'self'; \
                       img-src 'self' data:; connect-src 'self'; font-src 'self'; \
                       base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
            for (method, path) in [
                (Method::GET, "/"),
                (Method::GET, "/console"),
                (Method::GET, "/console/"),
                (Method::GET, "/console/now"),
                (Method::GET, "/console/missing.js"),
                (Method::GET, "/console/index.html"),
                (Method::HEAD, "/console/index.html"),
                (Method::PUT, "/console/now"),
                (Method::GET, "/nothing"),
                (Method::GET, "/console/api"),
                (Method::GET, "/console/api/"),
                (Method::GET, "/console/api/none"),
                (Method::GET, "/console/api/session"),
                (Method::POST, "/console/api/session"),
                (Method::POST, "/console/api/none"),
                (Method::PATCH, "/console/api/session"),
            ] {
                for cookie in ["", &browser.cookie] {
                    let request = Request::builder().method(method.clone()).uri(path);
                    let request = request.header(header::COOKIE, cookie);
                    let reply = console.send(request.body(Body::empty()).unwrap()).await;
                    let field = |name: &str| reply.headers[name].to_str().unwrap().to_owned();
                    for (name, value) in [
                        ("content-security-policy", csp),
                        ("x-content-type-options", "nosniff"),
                        ("referrer-policy", "no-referrer"),
                        ("x-frame-options", "DENY"),
                        ("cross-origin-opener-policy", "same-origin"),
                        ("cross-origin-resource-policy", "same-origin"),
                    ] {
                        assert_eq!(field(name), value, "{method} {path}");
                    }
                    assert!(!field("x-request-id").is_empty());
                    let is_file = reply.headers.contains_key(header::ETAG);
                    let expected = if is_file { "no-cache" } else { "no-store" };
                    assert_eq!(field("cache-control"), expected, "{method} {path}");
                    if path.starts_with("/console/api") {
                        assert!(!reply.text.contains("<html"), "{path}");
                    }
                }
            }
        },
    )
    .await;
}

#[test]
fn reason_has_bounds() {
    let parse = |text: &str| Reason::parse(Some(&Value::from(text))).is_ok();
    assert!(parse("x") && parse("  fraud, see ticket 7 \u{1f600} ") && parse(&"é".repeat(200)));
    let over = "x".repeat(201);
    for bad in ["", "   ", "a\nb", "a\0b", "a\u{7f}", "a\u{85}b", &over] {
        assert!(!parse(bad), "{bad:?}");
    }
    for bad in [json!(1), json!(["x"]), json!({}), Value::Null] {
        assert!(Reason::parse(Some(&bad)).is_err());
    }
    assert!(Reason::parse(None).is_err());
    assert_eq!(ORIGIN, "https://console.example");
}
