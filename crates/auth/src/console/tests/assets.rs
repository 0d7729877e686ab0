//! The pages.

use super::harness::{Reply, TestConsole};
use crate::testing::{TestService, on_each_database};
use axum::body::Body;
use axum::http::{Method, Request, header};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

async fn get(console: &TestConsole, path: &str) -> Reply {
    console.send(Request::get(path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_file_of_the_folder_is_served_with_its_type() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
            let (mut names, mut folders) = (BTreeSet::new(), vec![folder.clone()]);
            while let Some(next) = folders.pop() {
                for entry in std::fs::read_dir(next).unwrap() {
                    let path: PathBuf = entry.unwrap().path();
                    match path.is_dir() {
                        true => folders.push(path),
                        false => {
                            let name = path.strip_prefix(&folder).unwrap();
                            names.insert(name.to_str().unwrap().to_owned());
                        }
                    }
                }
            }
            assert!(names.contains("index.html"));
            assert_eq!(names, crate::console::assets::paths().map(str::to_owned).collect());
            for name in names {
                let reply = get(&console, &format!("/console/{name}")).await;
                reply.assert(200, "");
                let bytes = std::fs::read(folder.join(&name)).unwrap();
                assert_eq!(reply.text, String::from_utf8_lossy(&bytes), "{name}");
                let media_type = reply.headers[header::CONTENT_TYPE].to_str().unwrap();
                let expected = match name.rsplit('.').next().unwrap() {
                    "js" => "text/javascript; charset=utf-8",
                    "css" => "text/css; charset=utf-8",
                    "html" => "text/html; charset=utf-8",
                    "svg" => "image/svg+xml",
                    "woff2" => "font/woff2",
                    _ => "text/plain; charset=utf-8",
                };
                assert_eq!(media_type, expected, "{name}");
                assert_eq!(reply.headers[header::CACHE_CONTROL], "no-cache");
                // A browser that has it does not fetch it again.
                let etag = reply.headers[header::ETAG].clone();
                let request = Request::get(format!("/console/{name}"));
                let request = request.header(header::IF_NONE_MATCH, &etag);
                let again = console.send(request.body(Body::empty()).unwrap()).await;
                again.assert(304, "");
                assert_eq!((again.text.as_str(), &again.headers[header::ETAG]), ("", &etag));
            }
        },
    )
    .await;
}

#[tokio::test]
async fn screens_are_the_page_and_missing_files_are_not() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let page = include_str!("../../../console/index.html");
            for path in ["", "now", "users", "users/a-_B", "clients/app.example", "keys/a/b/c"] {
                let reply = get(&console, &format!("/console/{path}")).await;
                reply.assert(200, "");
                assert_eq!(reply.text, page, "{path}");
            }
            for path in [
                "missing.js",
                "favicon.ico",
                "index.html/..%2f..%2fetc/passwd",
                "..%2f..%2f..%2fCargo.toml",
            ] {
                let reply = get(&console, &format!("/console/{path}")).await;
                assert!(!reply.text.contains("root:") && !reply.text.contains("[package]"));
            }
            get(&console, "/console/missing.js").await.assert(404, "not_found");
            get(&console, "/other").await.assert(404, "not_found");
            get(&console, "/auth/users").await.assert(404, "not_found");
            for path in ["/", "/console"] {
                let reply = get(&console, path).await;
                assert_eq!(reply.headers[header::LOCATION], "/console/");
                assert_eq!(reply.status, 307);
            }
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::TRACE] {
                let request = Request::builder().method(method).uri("/console/now");
                let reply = console.send(request.body(Body::empty()).unwrap()).await;
                reply.assert(405, "method_not_allowed");
            }
        },
    )
    .await;
}
