//! A request's head, as the host passes it. No head may panic. No path that matches a public route
//! may contain a dot segment or be another spelling of a protected path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{Access, Check, Destination, Policy, RequestHead};
use std::sync::LazyLock;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let document = r#"{
        "store": {"url":"https://a.example"},
        "upstream": {"url":"https://a.example"},
        "resource": {"url":"https://a.example"},
        "cors": {"origins":["https://app.example"],"credentials":true},
        "issuers": [{"issuer":"https://i","audience":"api","algorithms":["EdDSA"],"jwks_url":"https://i/k"}],
        "routes": [{"name":"p","path":"/public/*","access":"public"},
            {"name":"c","path":"/c/{id}/x","access":"protected","cookie":"t"},
            {"name":"a","path":"/*","access":"protected"}]}"#;
    let secret = |name: &str| (name == "STORE_TOKEN").then(|| "secret".to_owned());
    Policy::parse(document, secret).expect("a policy without faults")
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Hosts never pass these inside a field.
    if text.contains(['\r', '\0']) {
        return;
    }
    let Some(head) = RequestHead::parse(text) else {
        return;
    };
    let Ok(Destination::Route(route)) = POLICY.destination(&head) else {
        return;
    };
    if route.access == Access::Public {
        let path = head.path().to_ascii_lowercase();
        let up = path.split('/').any(|segment| matches!(segment, "." | ".."));
        assert!(!up && !path.contains("%2f") && !path.contains("//"), "{path}");
        assert!(path.len() >= "/public".len());
    }
    let Ok(check) = Check::new(&head, route, &POLICY) else {
        return;
    };
    if let Ok(authenticated) = check.without_token() {
        let commands = check.commands(&authenticated);
        assert!(commands.is_empty());
        if let Ok(permit) = check.decide(&authenticated, &[]) {
            let edits = permit.header_edits(&head, "0af76519-16cd-43dd-8448-eb211c80319c");
            assert!(edits.set.iter().all(|(_, value)| !value.contains(['\r', '\n'])));
        }
    }
});
