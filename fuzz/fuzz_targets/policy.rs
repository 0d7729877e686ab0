//! The configuration: issuers, routes and rules, each after a NUL. Whatever is read must be usable, and
//! whatever is not must be named.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{Head, Policy};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let parts: Vec<&str> = text.splitn(5, '\0').collect();
    let part = |place: usize| parts.get(place).map(|part| (*part).to_owned());
    let parsed = Policy::parse(|name| match name {
        "ISSUERS" => part(0),
        "ROUTES" => part(1),
        "CORS" => part(2),
        "IDENTITY_FIELDS" => part(3),
        "ASSERTION" => part(4),
        "UPSTREAM_URL" | "ORIGIN_URL" | "STORE_URL" => Some("https://a.example".into()),
        "STORE_TOKEN" => Some("secret".into()),
        _ => None,
    });
    match parsed {
        Ok(policy) => {
            assert!(!policy.issuers.is_empty() && !policy.routes.is_empty());
            let _ = policy.destination(&Head::new("GET", "https://a.example/x", Vec::new()));
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            assert!(faults.iter().all(|fault| !fault.to_string().is_empty()));
        }
    }
});
