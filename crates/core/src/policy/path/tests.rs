use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn pattern_matches_whole_segments_in_every_encoding() {
    fn check(pattern: &str, path: &str, expect: bool) {
        let pattern = Pattern::parse(pattern).unwrap();
        let path = NormalizedPath::of(path).unwrap();
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
fn pattern_that_can_not_match_is_rejected() {
    for text in [
        "", "api", "*", "/a*", "/*/a", "/a//b", "/a?b", "/a/../b", "/a%62", "//*", "/a//*", "/a;b",
        "/{}", "/{a", "/a}", "/x{a}", "/{{a}}",
    ] {
        assert_eq!(Pattern::parse(text), None, "{text}");
    }
}

#[test]
fn pattern_covers_paths_below_it() {
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
fn path_with_two_readings_is_rejected() {
    fn check(path: &str, expect: Result<(), Denial>) {
        assert_eq!(NormalizedPath::of(path).map(|_| ()), expect, "{path}");
    }
    for path in [
        "/",
        "/a",
        "/a/",
        "/a%20b",
        "/a%20",
        "/%c2%aa",
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
        "/a/%20",
        "/%e2%80%8b/a",
        "/a/.%e2%80%8b./b",
        "/a/..%20/b",
        "/a/%e3%80%80",
    ] {
        check(path, Err(Denial::PathAmbiguous));
    }
    check(&format!("/{}", "a".repeat(PATH_BYTES_MAX - 1)), Ok(()));
    check(&format!("/{}", "a".repeat(PATH_BYTES_MAX)), Err(Denial::PathAmbiguous));
}

#[cfg(not(target_arch = "wasm32"))]
proptest::proptest! {
    #[test]
    fn no_path_panics(path in "/[ -~\u{80}-\u{ff}]{0,40}") {
        let _ = NormalizedPath::of(&path);
        let _ = Pattern::parse(&path);
    }

    #[test]
    fn wider_pattern_covers_and_overlaps(
        segments in proptest::collection::vec(("[a-cA-C.]{0,2}[a-c]", 0..4_u8), 1..12),
        shorter in 0..12_usize,
    ) {
        let path = |segments: &[String]| segments.iter().map(|own| format!("/{own}")).collect::<String>();
        let own: Vec<String> = segments.iter().map(|(text, _)| text.clone()).collect();
        let wider = segments.iter().map(|(text, kind)| match kind {
            0 => "{any}".to_owned(),
            1 => text.to_ascii_uppercase(),
            _ => text.clone(),
        });
        let wider: Vec<String> = wider.collect();
        let wider_path = match shorter < wider.len() {
            true => format!("{}/*", path(&wider[..shorter])),
            false => path(&wider),
        };
        let (own, wider) = (Pattern::parse(&path(&own)).unwrap(), Pattern::parse(&wider_path).unwrap());
        assert!(wider.covers(&own), "{wider:?} {own:?}");
        assert!(wider.overlaps(&own) && own.overlaps(&wider), "{wider:?} {own:?}");
    }
}
