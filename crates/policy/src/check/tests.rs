use crate::testing::{POLICY, run_on};
use serde_json::Value;

fn check(policy: &str) -> (String, u8) {
    let outcome = run_on(&[("portcullis.toml", policy)], "check");
    (outcome.text, outcome.status)
}

#[test]
fn good_policy_is_valid() {
    let (text, status) = check(POLICY);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("valid: 0 errors, 0 risks"), "{text}");
    assert!(text.contains("4 routes, 1 issuers"), "{text}");
}

#[test]
fn every_error_has_its_line_and_column() {
    let bad = POLICY.replace("quota = 5,", "quota = 0,").replace("\"EdDSA\"", "\"none\"");
    let bad = bad.replace("[upstream]", "[upsteam]");
    let (text, status) = check(&bad);
    assert_eq!(status, 1);
    let line = |wanted: &str| bad.lines().position(|line| line.contains(wanted)).unwrap() + 1;
    for (place, message) in [
        (format!("{}:2", line("[upsteam]")), "upsteam: unknown member; did you mean upstream?"),
        (format!("{}:11", line("quota = 0")), "routes[2].limit.quota (route api): must be a whole"),
        (
            format!("{}:15", line("none")),
            "issuers[0].algorithms[0] (issuer https://issuer.example)",
        ),
        ("1:1".to_owned(), "upstream.url: is not set"),
    ] {
        let line = text.lines().find(|line| line.contains(message)).unwrap_or_default();
        let rest = line.strip_prefix("portcullis.toml:");
        let rest = rest.unwrap_or_else(|| panic!("{message}: {text}"));
        assert!(rest.starts_with(&format!("{place}: error")), "{place}: {line}");
    }
}

#[test]
fn misplaced_member_is_reported_with_its_right_tables() {
    let bad =
        format!("timeout_ms = 5\n{}", POLICY.replace("[store]", "[store]\ndelay_seconds_max = 1"));
    let (text, status) = check(&bad);
    assert_eq!(status, 1);
    for line in [
        "portcullis.toml:1:1: error: timeout_ms: unknown member; it belongs in [auth], \
         [introspection], [jwks], [[routes]], [store] or [upstream]\n",
        "portcullis.toml:4:1: error: store.delay_seconds_max: unknown member; it belongs in \
         [revocation]\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn text_that_is_no_toml_is_reported() {
    let (text, status) = check("[store\nurl = 1");
    assert_eq!(status, 1);
    assert!(text.contains("portcullis.toml:1:"), "{text}");
}

const TENANTS: &str = r#"[[issuers]]
issuer = "https://login.example/{tenant}"
audience = "api"
algorithms = ["EdDSA"]
jwks_url = "https://login.example/jwks"

[[issuers]]"#;

#[test]
fn risks_are_named_and_can_be_accepted() {
    let risky = POLICY
        .replace("on_store_outage = \"introspect\"", "on_store_outage = \"signature\"")
        .replace("limit = { quota = 10, window_seconds = 60, by = \"address\" }\n", "")
        .replace("algorithms = ", "token_type = \"off\"\naudience_claim = \"iss\"\nalgorithms = ")
        .replace("[[issuers]]", TENANTS)
        .replace("suffixes = \"same\"\n", "");
    let (text, status) = check(&risky);
    assert_eq!(status, 0, "{text}");
    let names = [
        "audience_unchecked:https://issuer.example",
        "login_unlimited:login",
        "signature_outage:api",
        "suffixes_kept:admin",
        "tenants_unlisted:https://login.example/{tenant}",
        "type_unchecked:https://issuer.example",
    ];
    for name in names {
        assert!(text.contains(&format!("(accept = [\"{name}\"] accepts it)")), "{name}: {text}");
    }
    let listed = risky.replace("{tenant}\"", "{tenant}\"\ntenants = [\"a\"]");
    assert!(!check(&listed).0.contains("tenants_unlisted"));
    let names = [&names[..], &["issuers_shared"]].concat();
    let (text, status) = check(&format!("accept = {names:?}\n{risky}"));
    assert!(status == 0 && text.contains("0 risks"), "{text}");
    let (text, status) = check(&format!("accept = [\"signature_outage:apo\"]\n{risky}"));
    assert_eq!(status, 1);
    assert!(text.contains("accept[0]: signature_outage:apo is not a risk"), "{text}");
}

#[test]
fn environments_are_checked_each_with_its_variables() {
    let policy = POLICY.replace("https://upstream.example", "${API}");
    let policy = format!("{policy}\n[env.staging.store]\ntimeout_ms = 0\n");
    let wrangler = "[vars]\nAPI = \"https://a.example\"\n[env.staging.vars]\nAPI = \"nowhere\"\n";
    let files = [("portcullis.toml", policy.as_str()), ("wrangler.toml", wrangler)];
    let outcome = run_on(&files, "check");
    assert_eq!(outcome.status, 1);
    for message in ["[env.staging] store.timeout_ms: must be", "[env.staging] upstream.url: is not"]
    {
        assert!(outcome.text.contains(message), "{}", outcome.text);
    }
    assert!(outcome.text.contains("2 errors"), "{}", outcome.text);
    let outcome = run_on(&files, "check --env nowhere");
    assert!(outcome.text.contains("PORTCULLIS_ENV: must be one of"), "{}", outcome.text);
    // Variables that are not known are assumed.
    let text = run_on(&[("portcullis.toml", &policy)], "check").text;
    assert_eq!(text.matches("error:").count(), 1, "{text}");
}

#[test]
fn environment_is_that_of_the_variable_or_of_the_same_name() {
    let policy = POLICY.replace("https://upstream.example", "${A}");
    let policy = format!("{policy}\n[env.staging]\n[env.europe]\n[env.eu]\n");
    let wrangler = "[vars]\nA = \"https://a.example\"\n[env.staging.vars]\nA = \"bad 1\"\n\
        [env.eu.vars]\nA = \"bad 2\"\nPORTCULLIS_ENV = \"europe\"\n";
    let files = [("portcullis.toml", policy.as_str()), ("wrangler.toml", wrangler)];
    let errors = |name: &str| run_on(&files, &format!("check --env {name}")).status;
    // No table of wrangler.toml goes with `eu`, so that its variable is assumed.
    assert_eq!(["staging", "europe", "eu"].map(errors), [1, 1, 0]);
}

/// The Worker answers 503 to each request then.
#[test]
fn variables_that_the_worker_would_refuse_are_errors() {
    let policy = POLICY.replace("https://upstream.example", "${A}");
    let policy = format!("{policy}\n[env.europe.store]\ntimeout_ms = 100\n");
    for (wrangler, expect) in [
        ("[vars]\nA = \"https://a.example\"\n", None),
        ("[vars]\nPORTCULLIS_ENV = \"europ\"\n", Some("PORTCULLIS_ENV: must be one of the policy")),
        (
            "[env.eu.vars]\nPORTCULLIS_ENV = \"us\"\n",
            Some("PORTCULLIS_ENV: must be one of the policy"),
        ),
        ("[vars]\nPORTCULLIS_ENV = \"europe\"\nA = \"no\"\n", Some("upstream.url: is not a URL")),
        ("[vars]\nSTORE_TOKNE = \"x\"\n", Some("STORE_TOKNE")),
        ("[vars]\nMY_OWN = \"x\"\n", None),
    ] {
        let files = [("portcullis.toml", policy.as_str()), ("wrangler.toml", wrangler)];
        let outcome = run_on(&files, "check");
        assert_eq!(outcome.status, u8::from(expect.is_some()), "{wrangler}{}", outcome.text);
        assert!(outcome.text.contains(expect.unwrap_or_default()), "{wrangler}{}", outcome.text);
    }
}

/// What the Worker refuses whatever the key is.
#[test]
fn field_of_the_assertion_is_known_without_its_key() {
    let assertion = "[assertion]\nissuer = \"edge\"\naudience = \"inner\"\nfield = \"x-caller\"\n";
    let with = |more: &str| POLICY.replace("[store]", &format!("{assertion}{more}[store]"));
    assert_eq!(check(&with("")).1, 0);
    let (text, status) = check(&with("[identity]\nsubject = \"x-caller\"\n"));
    assert!(status == 1 && text.contains("error: identity.subject"), "{text}");
    let keys = "scopes = [\"admin\"]\napi_key_header = \"X-Caller\"";
    let (text, status) = check(&with("").replace("scopes = [\"admin\"]", keys));
    assert!(status == 1 && text.contains("error: routes[1].api_key_header"), "{text}");
}

#[test]
fn route_of_one_path_before_one_that_does_not_enforce_needs_suffixes() {
    let rest = "enforce = false\non_store_outage";
    let policy = POLICY.replace("/api/admin/*", "/api/admin").replace("scopes = [\"admin\"]\n", "");
    let policy = policy.replace("suffixes = \"same\"\n", "");
    assert_eq!(check(&policy).1, 0);
    let (text, status) = check(&policy.replace("on_store_outage", rest));
    assert!(status == 1 && text.contains("error: routes[1].suffixes"), "{text}");
}

#[test]
fn json_has_the_same() {
    let bad = POLICY.replace("quota = 5,", "quota = 0,");
    let outcome = run_on(&[("portcullis.toml", &bad)], "check --json");
    let json: Value = serde_json::from_str(&outcome.text).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["findings"][0]["place"], "routes[2].limit.quota");
    assert_eq!(json["findings"][0]["severity"], "error");
}

#[test]
fn command_that_cannot_run_has_status_2() {
    for line in ["check nowhere.toml", "check --wrangler nowhere", "chek", "explain", "diff a"] {
        assert_eq!(run_on(&[("portcullis.toml", POLICY)], line).status, 2, "{line}");
    }
    assert_eq!(run_on(&[], "--help").status, 0);
}

#[test]
fn anonymous_requests_without_a_limit_or_before_a_protected_route_are_risks() {
    let limits =
        "[[limits]]\nname = \"guests\"\nquota = 5\nwindow_seconds = 60\nby = \"address\"\n";
    let route = |members: &str| {
        let items = format!(
            "[[routes]]\nname = \"items\"\npath = \"/api/items/*\"\naccess = \"optional\"\n{members}\n"
        );
        let at = POLICY.find("[[routes]]\nname = \"api\"").unwrap();
        format!("{}{limits}{items}{}", &POLICY[..at], &POLICY[at..])
    };
    let guests = "anonymous_limits = [\"guests\"]";
    let (text, _) = check(&route("methods = [\"GET\"]"));
    assert!(text.contains("(accept = [\"anonymous_unlimited:items\"] accepts it)"), "{text}");
    assert!(text.contains("(accept = [\"anonymous_passes:items:api\"] accepts it)"), "{text}");
    assert!(text.contains("2 risks"), "{text}");
    let (text, _) = check(&route(guests));
    assert!(text.contains("anonymous_passes:items:api") && text.contains("1 risks"), "{text}");
    // Another method is for the protected route alone, and an earlier one takes its own requests.
    let write_only = route(&format!("{guests}\nmethods = [\"GET\"]")).replace(
        "on_store_outage = \"introspect\"",
        "on_store_outage = \"introspect\"\nmethods = [\"POST\"]",
    );
    let (text, status) = check(&write_only);
    assert!(status == 0 && text.contains("0 risks"), "{text}");
}
