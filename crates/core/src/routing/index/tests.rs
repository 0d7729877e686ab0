//! The index against the list of routes that it replaces.

use super::*;
use crate::config::fixtures::{document, lookup};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::json;

const PATTERNS: [&str; 16] = [
    "/*",
    "/a",
    "/a/*",
    "/A/b",
    "/a/{id}",
    "/a/{id}/c",
    "/a/b/*",
    "/{x}/b",
    "/{x}/*",
    "/v1",
    "/v1.1",
    "/v1/*",
    "/a.b/c",
    "/a/b.json",
    "/é",
    "/{x}/{y}/{z}",
];
const SEGMENTS: [&str; 20] = [
    "a",
    "A",
    "b",
    "B",
    "c",
    "v1",
    "V1",
    "v1.1",
    "v1.",
    "v1..",
    "a.b",
    "b.json",
    "a.json",
    "a.",
    "%61",
    "%C3%A9",
    "%E2%84%AA",
    "%EF%BD%81",
    "a%20",
    "x",
];
const METHODS: [&str; 5] = ["GET", "POST", "OPTIONS", "HEAD", "PURGE"];

fn outcome(found: Result<Destination<'_>, Denial>) -> String {
    match found {
        Ok(Destination::Route(route)) => route.name.clone(),
        Ok(Destination::Edge(answer)) => format!("{answer:?}"),
        Err(denial) => denial.code().to_owned(),
    }
}

#[test]
fn index_finds_what_the_list_finds() {
    let route = (0..PATTERNS.len(), 0..4_usize, 0..4_usize, 0..3_usize);
    let path = prop::collection::vec(0..SEGMENTS.len(), 0..4);
    let (mut compared, mut found) = (0, 0);
    let mut runner = TestRunner::deterministic();
    let inputs =
        (prop::collection::vec(route, 1..8), prop::collection::vec((path, any::<bool>()), 24));
    for _ in 0..400 {
        let (routes, paths) = inputs.new_tree(&mut runner).unwrap().current();
        let routes = routes.into_iter().enumerate().map(|(at, (pattern, access, methods, suffixes))| {
            let access = ["protected", "public", "deny", "protected"][access];
            let mut route = json!({ "name": format!("r{at}"), "path": PATTERNS[pattern], "access": access });
            if methods > 0 {
                route["methods"] = json!(&METHODS[..methods]);
            }
            if suffixes > 0 {
                route["suffixes"] = json!(["", "same", "distinct"][suffixes]);
            }
            route
        });
        let routes = json!(routes.collect::<Vec<_>>()).to_string();
        let Ok(policy) = Policy::parse(&document(&[("routes", &routes)]), lookup(&[])) else {
            continue;
        };
        let index = RouteIndex::of(&policy);
        for (path, has_slash) in paths {
            let segments: Vec<&str> = path.iter().map(|at| SEGMENTS[*at]).collect();
            let slash = if has_slash && !segments.is_empty() { "/" } else { "" };
            let url = format!("https://a.example/{}{slash}", segments.join("/"));
            let candidates = index.candidates(&RequestHead::new("GET", &url, Vec::new()));
            let mut by_listing = HashMap::new();
            for method in METHODS {
                let head = RequestHead::new(method, &url, Vec::new());
                let expect = outcome(policy.destination(&head));
                assert_eq!(outcome(index.destination(&head)), expect, "{method} {url}: {routes}");
                if let Some(candidates) = &candidates {
                    let lists = candidates.iter().map(|route| route.lists(method));
                    let listing: Vec<bool> = lists.collect();
                    let first = by_listing.entry(listing).or_insert(expect.clone());
                    assert_eq!(*first, expect, "{method} {url}");
                }
                compared += 1;
                found += usize::from(expect.starts_with('r') && expect != "route_not_found");
            }
        }
    }
    assert!(compared > 2_000 && found > 500, "{compared} {found}");
}
