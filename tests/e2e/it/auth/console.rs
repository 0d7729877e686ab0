//! The operator console as a server: on its own listener, and behind the edge on a path.

use crate::support::auth_service::AuthService;
use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, client, field, get, raw_at};
use crate::support::process::free_ports;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

/// The origin of the edge, as browsers would see it behind a host name with TLS.
const ORIGIN: &str = "https://api.example";

/// An auth service with a console, and where browsers reach it.
struct Console {
    auth: AuthService,
    url: String,
}

/// An operator's browser.
struct Browser {
    cookie: String,
    csrf: String,
}

impl Console {
    fn start(settings: &[(&str, &str)]) -> Self {
        let [port] = free_ports();
        let listen = format!("127.0.0.1:{port}");
        let mut all = vec![("CONSOLE_LISTEN", listen.as_str())];
        all.extend_from_slice(settings);
        let auth = AuthService::start(&all);
        auth.add_user("olga", "console:act");
        auth.add_user("vera", "console:read");
        Self { auth, url: format!("http://{listen}") }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        client().request(method, format!("{}{path}", self.url))
    }

    async fn try_login(&self, origin: &str, username: &str) -> Response {
        let body = json!({ "username": username, "password": "password" });
        let request = self.request(Method::POST, "/console/api/session");
        request.header("origin", origin).json(&body).send().await.unwrap()
    }

    async fn login(&self, origin: &str, username: &str) -> Browser {
        let response = self.try_login(origin, username).await;
        assert_eq!(response.status(), 200);
        let cookie = field(&response, "set-cookie").split(';').next().unwrap().to_owned();
        let body: Value = response.json().await.unwrap();
        Browser { cookie, csrf: body["csrf"].as_str().unwrap().to_owned() }
    }

    async fn session(&self, browser: &Browser) -> Response {
        let request = self.request(Method::GET, "/console/api/session");
        request.header("cookie", &browser.cookie).send().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn console_works_behind_the_edge_on_a_path() {
    let mut console = Console::start(&[("CONSOLE_ORIGIN", ORIGIN), ("TRUSTED_PROXY_HOPS", "1")]);
    let edge = start_edge(json!({
        "routes": [{
            "name": "console", "path": "/console/*", "access": "public",
            "upstream": console.url, "timeout_ms": 30_000,
        }],
    }))
    .await;
    console.url = edge.edge("");
    let page = console.request(Method::GET, "/console/now").send().await.unwrap();
    assert_eq!(page.status(), 200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(field(&page, name), value);
    }
    let csp = field(&page, "content-security-policy");
    assert!(csp.starts_with("default-src 'none'; script-src 'self';"), "{csp}");
    let request = console.request(Method::GET, "/console/now");
    let request = request.header("if-none-match", field(&page, "etag"));
    assert_eq!(request.send().await.unwrap().status(), 304);

    // A page at the edge's own address is not the origin that the console was given.
    let own = console.url.clone();
    assert_refused(console.try_login(&own, "olga").await, 403, "origin_forbidden").await;
    let login = console.try_login(ORIGIN, "olga").await;
    let cookie = field(&login, "set-cookie");
    assert!(cookie.starts_with("__Host-console=pcc_") && cookie.contains("; Secure;"), "{cookie}");
    assert_eq!(field(&login, "cache-control"), "no-store");
    let browser = console.login(ORIGIN, "olga").await;
    let shown: Value = console.session(&browser).await.json().await.unwrap();
    assert_eq!((&shown["username"], &shown["may_act"]), (&json!("olga"), &json!(true)));

    // The edge's other paths have no console, and its listener no other endpoint.
    assert_eq!(get(&edge.edge("/")).send().await.unwrap().status(), 404);
    let direct = console.auth.process.says("console_listening").await;
    assert!(direct.contains(ORIGIN), "{direct}");

    let logout = console.request(Method::DELETE, "/console/api/session");
    let logout = logout.header("origin", ORIGIN).header("cookie", &browser.cookie);
    let without = logout.try_clone().unwrap().send().await.unwrap();
    assert_refused(without, 403, "csrf_invalid").await;
    let logout = logout.header("x-csrf-token", &browser.csrf).send().await.unwrap();
    assert_eq!(logout.status(), 204);
    assert_refused(console.session(&browser).await, 401, "session_missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn console_has_a_listener_of_its_own() {
    let console = Console::start(&[]);
    let origin = console.url.clone();
    let root = console.request(Method::GET, "/").send().await.unwrap();
    assert_eq!((root.status().as_u16(), field(&root, "location").as_str()), (307, "/console/"));
    let browser = console.login(&origin, "vera").await;
    assert!(browser.cookie.starts_with("console=pcc_"), "{}", browser.cookie);
    assert_eq!(console.session(&browser).await.status(), 200);
    // Neither listener has the endpoints of the other.
    for path in ["/auth/users", "/oauth/token", "/.well-known/jwks.json", "/metrics", "/readyz"] {
        let response = console.request(Method::GET, path).send().await.unwrap();
        assert_refused(response, 404, "not_found").await;
    }
    for url in [&console.auth.url, &console.auth.admin_url] {
        let response = get(&format!("{url}/console/")).send().await.unwrap();
        assert_eq!(response.status(), 404);
        let request = get(&format!("{url}/console/api/session")).header("cookie", &browser.cookie);
        assert_eq!(request.send().await.unwrap().status(), 404);
    }
    // The auth service accepts no cookie of the console.
    let token = browser.cookie.split_once('=').unwrap().1;
    for name in ["authorization", "cookie"] {
        let value =
            if name == "cookie" { browser.cookie.clone() } else { format!("Bearer {token}") };
        let request = get(&console.auth.at("/auth/sessions")).header(name, value);
        assert_eq!(request.send().await.unwrap().status(), 401, "{name}");
    }
    // A reader may not act. That is checked before the body is read.
    let action = console.request(Method::POST, "/console/api/users/x/disable");
    let action = action.header("origin", &origin).header("cookie", &browser.cookie);
    let action = action.header("x-csrf-token", &browser.csrf).json(&json!({ "reason": "test" }));
    assert_refused(action.send().await.unwrap(), 403, "scope_insufficient").await;
    // Secrets reach no line of the log.
    let log = console.auth.process.says("console_login").await;
    assert!(!log.contains(token) && !log.contains(&browser.csrf) && !log.contains("password"));
}

#[tokio::test(flavor = "multi_thread")]
async fn console_refuses_large_and_malformed_requests() {
    let console = Console::start(&[]);
    let address = console.url.trim_start_matches("http://");
    for (request, status) in [
        (
            format!(
                "GET /console/now HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n",
                "x".repeat(20_000)
            ),
            "431",
        ),
        (format!("GET /console/now HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(200)), "431"),
        ("GET /console/now HTTP/1.1\r\nHost: x\r\nHost\r\n\r\n".to_owned(), "400"),
        ("POST /console/now HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(), "405"),
        (
            "POST /console/api/session HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "403",
        ),
        ("GET /console/../console/api/session HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), ""),
        ("GET //console/api/session HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "404"),
        ("GET /console/%61pi/session HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), ""),
    ] {
        let request = request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let answer = raw_at(address, &request, "\0");
        let line = answer.lines().next().unwrap_or_default();
        assert!(line.contains(status), "{line}");
        // A path outside the API gets at most the page, which anyone may see.
        assert!(!answer.contains("\"username\""), "{answer}");
    }
    let body = json!({ "username": "olga", "password": "x".repeat(17_000) });
    let request = console.request(Method::POST, "/console/api/session");
    let request = request.header("origin", &console.url).json(&body);
    assert_refused(request.send().await.unwrap(), 413, "body_too_large").await;
}
