//! The policy file, as the Worker receives it. A policy that parses must be usable, and an error
//! must name its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{Check, Destination, Policy, RequestHead};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let parsed = Policy::parse(text, |name| match name {
        "STORE_TOKEN" => Some("secret".into()),
        "URL" => Some("https://a.example".into()),
        _ => None,
    });
    match parsed {
        Ok(policy) => {
            assert!(!policy.issuers.is_empty() && !policy.routes.is_empty());
            let head = RequestHead::new("GET", "https://a.example/x", Vec::new());
            if let Ok(Destination::Route(route)) = policy.destination(&head)
                && let Ok(check) = Check::new(&head, route, &policy)
                && let Ok(authenticated) = check.without_token()
            {
                let limited =
                    authenticated.limit_checks().chain(authenticated.late_limit_checks()).count();
                assert_eq!(limited, if check.is_limited() { route.limits.len() } else { 0 });
                assert_eq!(
                    check.commands(&authenticated).len(),
                    authenticated.limit_checks().count()
                );
                for limit_check in authenticated.limit_checks() {
                    assert!(limit_check.cost <= limit_check.quota, "nobody would ever pass");
                }
            }
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            assert!(faults.iter().all(|fault| !fault.to_string().is_empty()));
        }
    }
});
