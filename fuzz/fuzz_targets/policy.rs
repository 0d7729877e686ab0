//! The policy on its way from the file to the Worker: `check`, the module that the build makes, and
//! the policy that the Worker reads from it. `check` and the Worker must agree, a policy must be
//! usable, and an error must name its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{Check, ConfigError, ConfigErrorKind, Destination, Policy, RequestHead};
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match portcullis_policy::sections(FILE, text.to_owned()) {
        Ok(sections) => {
            let module = portcullis_policy::module(&sections);
            let literal = module.strip_prefix("export default ").unwrap();
            let embedded: String = serde_json::from_str(literal.trim_end_matches(";\n")).unwrap();
            let environments = sections.get("env").and_then(Value::as_object);
            let environments = environments.into_iter().flat_map(|table| table.keys());
            for environment in std::iter::once(None).chain(environments.map(Some)) {
                compare(text, &embedded, environment.map(String::as_str));
            }
        }
        Err(errors) => {
            assert!(errors.starts_with("portcullis.toml:"), "{errors}");
            let checked = check(text, None);
            assert_eq!(checked["valid"], false, "{checked}");
            // The Worker gets JSON, which other builds may have made.
            let _ = worker(text, None);
        }
    }
});

/// Compares what `check` and the Worker say of a policy.
fn compare(text: &str, embedded: &str, environment: Option<&str>) {
    let checked = check(text, environment);
    let findings = checked["findings"].as_array().unwrap();
    let lines = text.split('\n').count() as u64;
    for finding in findings {
        assert!((1..=lines).contains(&finding["line"].as_u64().unwrap()), "{finding}");
        assert!(finding["column"].as_u64().unwrap() > 0, "{finding}");
    }
    // What a policy accepts is for `check` alone.
    let is_unknown_risk = |finding: &Value| {
        finding["message"].as_str().unwrap().contains(" is not a risk of this policy; remove it")
    };
    // Without `--env`, it checks all environments, too.
    let is_error = |finding: &&Value| {
        finding["severity"] == "error"
            && finding["environment"] == json!(environment)
            && !is_unknown_risk(finding)
    };
    let errors: Vec<&Value> = findings.iter().filter(is_error).collect();
    match worker(embedded, environment) {
        Ok(()) => assert!(errors.is_empty(), "the Worker accepts {environment:?}: {errors:?}"),
        // `check` assumes that variables and secrets which it does not know are right.
        Err(refused) => {
            let is_assumed = |error: &ConfigError| {
                matches!(error.kind, ConfigErrorKind::Missing | ConfigErrorKind::NoSuchVariable(_))
            };
            let is_known = !errors.is_empty() || refused.iter().any(is_assumed);
            assert!(is_known, "the Worker refuses {environment:?}: {refused:?}");
        }
    }
}

/// Returns what `check --json` prints of a file.
fn check(text: &str, environment: Option<&str>) -> Value {
    let wrangler = json!({
        "vars": variables(),
        "env": { environment.unwrap_or_default(): { "vars": variables() } },
    });
    let read = |path: &str| match path {
        FILE => Ok(text.to_owned()),
        "wrangler.toml" => Ok(toml::to_string(&wrangler).unwrap()),
        _ => Err("no such file".to_owned()),
    };
    let mut words = vec!["portcullis".to_owned(), "--json".to_owned(), "check".to_owned()];
    words.extend(environment.map(|name| format!("--env={name}")));
    let outcome = portcullis_policy::run(&words, &read, &|_, _, _| Ok(None), 0, false);
    serde_json::from_str(&outcome.text).unwrap()
}

/// Reads a policy as the Worker does.
fn worker(text: &str, environment: Option<&str>) -> Result<(), Vec<ConfigError>> {
    let lookup = |name: &str| match name {
        "PORTCULLIS_ENV" => environment.map(str::to_owned),
        _ => variables().get(name).and_then(Value::as_str).map(str::to_owned),
    };
    match Policy::parse(text, lookup) {
        Ok(policy) => {
            use_policy(&policy);
            Ok(())
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| !error.to_string().is_empty()));
            Err(errors)
        }
    }
}

/// The Worker's variables and secrets.
fn variables() -> Value {
    json!({ "STORE_TOKEN": "secret", "URL": "https://a.example" })
}

/// Sends a request to a policy.
fn use_policy(policy: &Policy) {
    assert!(!policy.issuers.is_empty() && !policy.routes.is_empty());
    let head = RequestHead::new("GET", "https://a.example/x", Vec::new());
    if let Ok(Destination::Route(route)) = policy.destination(&head)
        && let Ok(check) = Check::new(&head, route, policy)
        && let Ok(authenticated) = check.without_token()
    {
        let limited = authenticated.all_limit_checks().count();
        assert_eq!(limited, if check.is_limited() { route.limits.len() } else { 0 });
        assert_eq!(check.commands(&authenticated).len(), authenticated.limit_checks().count());
        for limit_check in authenticated.limit_checks() {
            assert!(limit_check.cost <= limit_check.quota, "no request would pass");
        }
    }
}

const FILE: &str = "portcullis.toml";
