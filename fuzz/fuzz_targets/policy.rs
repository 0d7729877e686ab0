//! The configuration: issuers, routes and rules, each after a NUL. Whatever is read must be usable, and
//! whatever is not must be named.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{Check, Destination, Head, Policy};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let parts: Vec<&str> = text.splitn(9, '\0').collect();
    let part = |place: usize| parts.get(place).map(|part| (*part).to_owned());
    let parsed = Policy::parse(|name| match name {
        "ISSUERS" => part(0),
        "ROUTES" => part(1),
        "CORS" => part(2),
        "IDENTITY_FIELDS" => part(3),
        "ASSERTION" => part(4),
        "LIMITS" => part(5),
        "ADDRESSES" => part(6),
        "FAILURE_LIMIT" => part(7),
        "SEAL_KEY" => part(8),
        "UPSTREAM_URL" | "ORIGIN_URL" | "STORE_URL" => Some("https://a.example".into()),
        "STORE_TOKEN" => Some("secret".into()),
        _ => None,
    });
    match parsed {
        Ok(policy) => {
            assert!(!policy.issuers.is_empty() && !policy.routes.is_empty());
            let head = Head::new("GET", "https://a.example/x", Vec::new());
            if let Ok(Destination::Route(route)) = policy.destination(&head)
                && let Ok(check) = Check::new(&head, route, &policy)
                && let Ok(proof) = check.open()
            {
                let limited = proof.charges().chain(proof.late_charges()).count();
                assert_eq!(limited, if check.is_limited() { route.limits.len() } else { 0 });
                assert_eq!(check.commands(&proof).len(), proof.charges().count());
                for charge in proof.charges() {
                    assert!(charge.cost <= charge.quota, "nobody would ever pass");
                }
            }
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            assert!(faults.iter().all(|fault| !fault.to_string().is_empty()));
        }
    }
});
