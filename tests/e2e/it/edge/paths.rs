//! Paths: no spelling of a path reaches a route that it does not match.

use crate::support::edge::EDGE;
use crate::support::http::{assert_refused, client, get, get_with, raw};
use crate::support::stack::SHARED;

#[tokio::test]
async fn path_tricks_do_not_reach_a_protected_route() {
    assert_refused(get(&SHARED.edge("/nowhere")).send().await.unwrap(), 404, "route_not_found")
        .await;
    for path in [
        "/public/..%2fapi/hello",
        "/public/%2e%2e/api/hello",
        "/public/../api/hello",
        "/public/..\\api/hello",
        "/public/%2e%2e%2fapi/hello",
        "/public/..%5capi/hello",
        "/public//../api/hello",
        "//api/hello",
        "/public/%00/../../api/hello",
        "/public/%252e%252e/api/hello",
        "/API/hello",
        "/api%2fhello",
        "/public/.;/../api/hello",
        "/public/..;/api/hello",
        "/%61pi/hello",
        "/%41PI/hello",
        "/api;x/hello",
    ] {
        let answer = raw(
            EDGE.fact("edge_url"),
            &format!("GET {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n"),
        );
        // If the platform resolves the dots itself, the matched and the forwarded path are the
        // same.
        let passed = answer.contains(" 200 OK") && answer.contains("\"url\": \"/public/");
        let status = answer.get(9..12).unwrap_or_default();
        assert!(passed || ["400", "401", "404"].contains(&status), "{path}: {answer}");
    }
}

/// The route of `/api/admin/*` requires a scope that the one of `/api/*` does not.
#[tokio::test]
async fn path_spellings_do_not_escape_their_route() {
    let tokens = SHARED.login().await;
    for path in ["/api/%61dmin/x", "/api/admin", "/api/admin/", "/%61pi/%61dmin/%78"] {
        let response = get_with(&SHARED.edge(path), &tokens.access).await;
        assert_refused(response, 403, "scope_insufficient").await;
    }
    // Frameworks with format suffixes, and Windows, read these as the same path.
    for path in ["/api/admin.json", "/api/admin.", "/api/admin.json/x"] {
        let response = get_with(&SHARED.edge(path), &tokens.access).await;
        assert_refused(response, 403, "scope_insufficient").await;
    }
    let head = client().head(SHARED.edge("/api/admin/x")).bearer_auth(&tokens.access);
    assert_eq!(head.send().await.unwrap().status(), 403);
    // Some servers treat these as the same path, others do not.
    for path in [
        "/api/Admin/x",
        "/API/ADMIN/x",
        "/api/adm%C4%B1n/x",
        "/api/admin;x/y",
        "/api/%E2%93%90dmin/x",
    ] {
        let response = get_with(&SHARED.edge(path), &tokens.access).await;
        assert_refused(response, 400, "path_ambiguous").await;
    }
}
