use crate::testing::members::cases;
use crate::testing::{POLICY, run_on};
use serde_json::Value;
use std::fmt::Write as _;

/// Compares the policy with a changed one.
fn diff(from: &str, to: &str) -> (String, u8) {
    assert!(POLICY.contains(from), "{from}");
    let new = POLICY.replacen(from, to, 1);
    let outcome = run_on(&[("old", POLICY), ("new", &new)], "diff old new");
    (outcome.text, outcome.status)
}

#[test]
fn same_policy_has_no_change() {
    assert_eq!(diff("[store]", "# other text\n[store]"), ("no change\n".to_owned(), 0));
}

#[test]
fn weaker_routes_come_first_and_set_the_status() {
    let limit = "limit = { quota = 10, window_seconds = 60, by = \"address\" }\n";
    for (from, to, expect) in [
        ("scopes = [\"admin\"]\n", "", "requires the scopes admin, now none"),
        ("scopes = [", "require = \"not_revoked\"\nscopes = [", "now no revocation"),
        ("outage = \"introspect\"", "outage = \"signature\"", "asks the issuer, now accepts"),
        ("quota = 5,", "quota = 6,", "5 in 60 s by subject"),
        ("quota = 5, window_seconds = 60", "quota = 5, window_seconds = 59", "now 5 in 59 s"),
        ("[store]", "[block]\nrefresh_seconds = 300\n[store]", "refresh_seconds: not set, now 300"),
        ("[store]", "[block]\nrefresh_seconds = 0\n[store]", "refresh_seconds: not set, now 0"),
        ("[store]", "[jwks]\nstale_seconds_max = 86401\n[store]", "now 86401"),
        ("[store]", "[jwks]\nfresh_seconds = 601\n[store]", "fresh_seconds: not set, now 601"),
        (
            "audience = \"api\"",
            "audience = \"api\"\nscope_claims = [\"scope\", \"roles\"]",
            "scope_claims: scope, now scope, roles",
        ),
        (limit, "", "no longer has the limit login"),
        (
            "access = \"protected\"\nscopes = [\"admin\"]",
            "access = \"public\"",
            "with a valid token, now without",
        ),
        ("methods = [\"GET\"]", "", "opens: method_not_allowed before"),
        ("[store]", "[revocation]\ndelay_seconds_max = 5\n[store]", "up to 0 s, now 5 s"),
        ("[\"EdDSA\"]", "[\"EdDSA\", \"ES256\"]", "algorithms: EdDSA, now EdDSA, ES256"),
        ("audience = \"api\"", "audience = \"other\"", "audience: api, now other"),
        ("audience = \"api\"", "audience = [\"api\", \"other\"]", "audience: api, now api, other"),
        (
            "audience = \"api\"",
            "audience = \"api\"\naudience_claim = \"azp\"",
            "audience_claim: Aud, now Azp",
        ),
        ("audience = \"api\"", "authorized_parties = \"web\"", "audience: api, now not set"),
        (
            "audience = \"api\"",
            "audience = \"api\"\nissuer_aliases = [\"b\"]",
            "issuer_aliases: not set, now b",
        ),
        (
            "by = \"subject\" }",
            "by = \"subject\" }\nforward_token = true",
            "gives the token to the upstream",
        ),
        ("path = \"/api/admin/*\"", "path = \"/api/adm/*\"", "(was route admin)"),
    ] {
        let (text, status) = diff(from, to);
        assert_eq!(status, 3, "{to}: {text}");
        let weaker = text.lines().position(|line| line.contains("WEAKER")).unwrap();
        assert!(weaker <= 1, "{text}");
        assert!(text.contains(expect), "{expect}: {text}");
    }
}

/// A route's own rules replace the general ones.
#[test]
fn rules_for_addresses_are_compared_as_they_apply() {
    let with = |general: &str, own: &str| {
        let policy = POLICY.replacen("[store]", &format!("{general}\n[store]"), 1);
        policy.replacen("scopes = [\"admin\"]", &format!("scopes = [\"admin\"]\n{own}"), 1)
    };
    let allow = "[ip_rules]\nallow = [\"10.0.0.0/8\"]";
    let deny = "ip_rules = { deny = [\"203.0.113.9\"] }";
    for (old, new, expect) in [
        (with(allow, ""), with(allow, deny), 3),
        (with("", ""), with("", "ip_rules = { unlimited = [\"0.0.0.0/0\"] }"), 3),
        (with("", deny), with("", ""), 3),
        (with("", ""), with("", deny), 0),
        (with(allow, ""), with(allow, "ip_rules = { allow = [\"10.0.0.0/8\"] }"), 0),
    ] {
        let outcome = run_on(&[("old", &old), ("new", &new)], "diff old new");
        assert_eq!(outcome.status, expect, "{old}{new}{}", outcome.text);
        assert!(outcome.text.contains("other ip_rules"), "{}", outcome.text);
    }
}

#[test]
fn stricter_and_neutral_changes_have_status_0() {
    for (from, to, expect) in [
        ("quota = 5,", "quota = 4,", "now 4 in 60 s"),
        (
            "scopes = [\"admin\"]",
            "scopes = [\"admin\"]\nacr_values = [\"phr\"]",
            "requires one of the acr_values none, now phr",
        ),
        (
            "scopes = [\"admin\"]",
            "scopes = [\"admin\"]\nmax_age_seconds = 60",
            "max_age_seconds: not set, now 60",
        ),
        (
            "access = \"public\"",
            "access = \"protected\"",
            "without a token, now with a valid token",
        ),
        ("https://upstream.example", "https://other.example", "goes to https://upstream.example"),
        ("[store]", "[store]\ntimeout_ms = 300", "timeout_ms: not set, now 300"),
        ("[store]", "[block]\nrefresh_seconds = 4\n[store]", "refresh_seconds: not set, now 4"),
        ("[store]", "[jwks]\nfresh_seconds = 599\n[store]", "fresh_seconds: not set, now 599"),
        ("path = \"/public/*\"", "path = \"/public/a\"", "closes: now route_not_found"),
        (
            "audience = \"api\"",
            "audience = \"api\"\nauthorized_parties = \"web\"",
            "authorized_parties: not set, now web",
        ),
        (
            "audience = \"api\"",
            "audience = \"api\"\nclaims_forbidden = [\"nonce\"]",
            "claims: other required or forbidden members",
        ),
    ] {
        let (text, status) = diff(from, to);
        assert_eq!(status, 0, "{to}: {text}");
        assert!(text.contains(expect), "{expect}: {text}");
    }
}

/// What an issuer requires of its tokens is weaker where some that were refused are accepted.
#[test]
fn requirements_of_an_issuer_are_compared_both_ways() {
    let with = |members: &str| POLICY.replace("audience = \"api\"\n", &format!("{members}\n"));
    let base = "audience = \"api\"\n";
    let pairs = [
        ("claims = { a = [\"x\", \"y\"] }", "claims = { a = \"x\" }"),
        ("", "claims = { a = \"x\" }"),
        ("claims_required = [\"a\"]", "claims_required = [\"a\", \"b\"]"),
        ("header_forbidden = [\"a\"]", "header_forbidden = [\"a\", \"b\"]"),
        ("authorized_parties = [\"a\", \"b\"]", "authorized_parties = [\"a\"]"),
        ("issuer_aliases = [\"a\"]", ""),
        ("audience_claim = \"client_id\"", ""),
        ("audience_claim = \"iss\"", "audience_claim = \"client_id\""),
    ];
    for (looser, stricter) in pairs {
        let (looser, stricter) = (with(&[base, looser].concat()), with(&[base, stricter].concat()));
        let files = [("loose", looser.as_str()), ("strict", stricter.as_str())];
        let outcome = run_on(&files, "diff loose strict");
        assert_eq!(outcome.status, 0, "{stricter}: {}", outcome.text);
        assert!(!outcome.text.contains("no change"), "{}", outcome.text);
        let outcome = run_on(&files, "diff strict loose");
        assert_eq!(outcome.status, 3, "{looser}: {}", outcome.text);
    }
    let tenants = |list: &str| {
        with(&[base, list].concat()).replace("\"https://issuer.example\"", "\"a/{tenant}\"")
    };
    let (all, one) = (tenants(""), tenants("tenants = [\"b\"]"));
    let files = [("all", all.as_str()), ("one", one.as_str())];
    assert_eq!(run_on(&files, "diff all one").status, 0);
    let outcome = run_on(&files, "diff one all");
    assert!(outcome.status == 3 && outcome.text.contains("tenants: b, now not set"));
}

#[test]
fn variables_are_compared_by_their_values() {
    let new = POLICY.replace("https://upstream.example", "${API}");
    let diff = |api: &str| {
        let wrangler = format!("[vars]\nAPI = \"{api}\"\n");
        let files = [("old", POLICY), ("new", new.as_str()), ("wrangler.toml", wrangler.as_str())];
        run_on(&files, "diff old new").text
    };
    assert_eq!(diff("https://upstream.example"), "no change\n");
    assert!(diff("https://other.example").contains("now https://other.example"));
    // Two variables that are not known are two places.
    let jwks = |name: &str| POLICY.replace("https://issuer.example/jwks", name);
    let (old, new) = (jwks("${JWKS_A}"), jwks("${JWKS_B}"));
    let outcome = run_on(&[("old", old.as_str()), ("new", new.as_str())], "diff old new");
    assert!(outcome.status == 3 && outcome.text.contains("keys come from"), "{}", outcome.text);
}

#[test]
fn methods_and_plans_that_a_policy_names_are_compared() {
    let own = |scopes: &str| {
        POLICY.replace(
            "[[routes]]\nname = \"admin\"",
            &format!(
                "[[routes]]\nname = \"purge\"\npath = \"/api/admin/*\"\naccess = \"protected\"\n\
                 methods = [\"PURGE\"]\nsuffixes = \"same\"\n{scopes}\n\n[[routes]]\nname = \"admin\""
            ),
        )
    };
    let (old, new) = (own("scopes = [\"root\"]"), own(""));
    let outcome = run_on(&[("old", old.as_str()), ("new", new.as_str())], "diff old new");
    assert!(outcome.text.contains("PURGE /api/admin"), "{}", outcome.text);
    assert!(outcome.text.contains("WEAKER  requires the scopes root"), "{}", outcome.text);
    let plans = "by = \"subject\", plans = { claim = \"plan\", quotas = { pro = 9 } } }";
    assert_eq!(diff("by = \"subject\" }", plans).1, 3);
}

#[test]
fn invalid_policy_is_not_compared() {
    let outcome = run_on(&[("old", POLICY), ("new", "")], "diff old new");
    assert_eq!(outcome.status, 2);
    assert!(outcome.text.contains("new is invalid"), "{}", outcome.text);
}

/// Members and values that change nothing for requests.
const IMMATERIAL: [(&str, &str); 2] = [
    // What `check` does not report again.
    ("accept", "[\"a_risk\"]"),
    // What it means without the member, because no later route takes such paths.
    ("routes.suffixes", "\"distinct\""),
];

#[test]
fn change_of_each_member_is_reported() {
    let text = |document: &Value| toml::to_string(document).unwrap();
    for case in cases() {
        let before = text(&case.before());
        for value in &case.values {
            let after = text(&case.with(value.clone()));
            for (old, new) in [(&before, &after), (&after, &before)] {
                let files = [("old", old.as_str()), ("new", new.as_str())];
                let outcome = run_on(&files, "diff old new");
                assert_ne!(outcome.status, 2, "{}", outcome.text);
                let is_reported = outcome.text != "no change\n";
                let change = (case.member.place.as_str(), value.to_string());
                let is_same =
                    |(place, value): &(&str, &str)| (*place, *value) == (change.0, &change.1);
                let is_material = !IMMATERIAL.iter().any(is_same);
                assert_eq!(
                    is_reported,
                    is_material,
                    "{} = {value}: {}",
                    case.place(),
                    outcome.text
                );
                // Nothing is called a change that reads the same before and after.
                for line in outcome.text.lines() {
                    let sides =
                        line.split_once(": ").and_then(|(_, rest)| rest.split_once(", now "));
                    assert!(sides.is_none_or(|(old, new)| old != new), "{line}");
                }
            }
        }
    }
}

#[test]
fn sessions_that_leave_the_store_are_weaker() {
    let opaque = "[[issuers]]\nissuer = \"https://opaque.example\"\naudience = \"api\"\n\
        introspection = { url = \"https://opaque.example/i\", client_id = \"e\", \
        client_secret_variable = \"S\", token_prefix = \"o_\" }\n\n[[routes]]\nname = \"login\"";
    let without = POLICY.replacen("[[routes]]\nname = \"login\"", opaque, 1);
    let with = without.replacen(
        "introspection = { url = \"https://opaque",
        "sessions_in_store = true\nintrospection = { url = \"https://opaque",
        1,
    );
    let of_jwts = POLICY.replace("audience =", "sessions_in_store = true\naudience =");
    for (old, new, status, expect) in [
        (with.as_str(), without.as_str(), 3, "WEAKER  its sessions are not in the store"),
        (&without, &with, 0, "changed its sessions are in the store"),
        // Nothing is checked by the sessions of JWTs.
        (of_jwts.as_str(), POLICY, 0, "no longer learns when one of its sessions"),
    ] {
        let outcome = run_on(&[("old", old), ("new", new)], "diff old new");
        assert!(outcome.text.contains(expect), "{expect}: {}", outcome.text);
        assert_eq!(outcome.status, status, "{}", outcome.text);
    }
}

#[test]
fn path_with_a_suffix_that_goes_elsewhere_is_compared() {
    let (text, status) = diff("suffixes = \"same\"", "suffixes = \"distinct\"");
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("route api (was route admin): DELETE /api/admin.json"), "{text}");
    let (text, _) = diff("scopes = [\"admin\"]", "scopes = [\"root\"]");
    assert!(!text.contains(".json"), "{text}");
}

/// Returns the policy with these routes alone, and what stands before them.
fn with_routes(before: &str, routes: &[(&str, &str, &str)]) -> String {
    let head = &POLICY[..POLICY.find("[[routes]]").unwrap()];
    let mut text = format!("{head}{before}");
    for (name, path, members) in routes {
        let _ = write!(text, "\n[[routes]]\nname = \"{name}\"\npath = \"{path}\"\n{members}\n");
    }
    text
}

fn compare(old: &str, new: &str) -> (String, u8) {
    let outcome = run_on(&[("old", old), ("new", new)], "diff old new");
    (outcome.text, outcome.status)
}

#[test]
fn paths_that_two_routes_match_are_compared() {
    let route = |scope: &str, suffixes: &str| {
        format!("access = \"protected\"\nscopes = [\"{scope}\"]\nsuffixes = \"{suffixes}\"")
    };
    let (admin, read) = (route("admin", "same"), route("read", "same"));
    let a = ("admin", "/api/{version}/admin/*", admin.as_str());
    let b = ("v1", "/api/v1/*", read.as_str());
    let (old, new) = (with_routes("", &[a, b]), with_routes("", &[b, a]));
    let (text, status) = compare(&old, &new);
    assert_eq!(status, 3, "{text}");
    assert!(text.starts_with("route v1 (was route admin): DELETE /api/v1/admin, "), "{text}");
    assert!(text.contains("WEAKER  requires the scopes admin, now read"), "{text}");
    let files = [("old", old.as_str()), ("new", new.as_str())];
    let json = run_on(&files, "diff --json old new").text;
    assert!(json.contains("GET /api/v1/admin/x") && !json.contains(".json"), "{json}");
    // Where they go to one route, they are no news.
    let stricter = old.replace("\"read\"", "\"write\"");
    let files = [("old", old.as_str()), ("new", stricter.as_str())];
    let json = run_on(&files, "diff --json old new").text;
    assert!(json.contains("GET /api/v1/x") && !json.contains("/admin"), "{json}");
    assert_eq!(compare(&old, &old), ("no change\n".to_owned(), 0));
    // Neither of them is a subtree, and each has a literal that the other lacks.
    let a = ("admin", "/{version}/admin", admin.as_str());
    let b = ("v1", "/v1/{item}", read.as_str());
    let (text, status) = compare(&with_routes("", &[a, b]), &with_routes("", &[b, a]));
    assert!(status == 3 && text.contains(": DELETE /v1/admin, GET /v1/admin, "), "{text}");
    // Only a suffix within a shared path reaches another route.
    let distinct = route("read", "distinct");
    let a = ("admin", "/api/{version}/admin/*", admin.as_str());
    let b = |members| ("v1", "/api/v1/*", members);
    let rest = ("rest", "/api/*", read.as_str());
    let of = |members| with_routes("", &[b(members), a, rest]);
    let (text, status) = compare(&of(&distinct), &of(&read));
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("DELETE /api/v1.json/admin, GET /api/v1.json/admin"), "{text}");
}

#[test]
fn no_other_route_hides_what_changes_for_a_route() {
    let route = |access: &str| format!("access = \"{access}\"\nsuffixes = \"same\"");
    let (public, protected) = (route("public"), route("protected"));
    // Each of these takes an example of the last one's paths.
    let hiding = [("a", "/a", protected.as_str()), ("b", "/a/{b}", &protected)];
    let of = |last: &str| with_routes("", &[hiding[0], hiding[1], ("rest", "/a/*", last)]);
    let (text, status) = compare(&of(&protected), &of(&public));
    assert!(status == 3 && text.contains("DELETE /a/x/x, "), "{text}");
    let of = |last| with_routes("", &[("x", "/a/X", &protected), ("any", "/a/{id}", last)]);
    let (text, status) = compare(&of(&protected), &of(&public));
    assert!(status == 3 && text.contains("DELETE /a/xx, "), "{text}");
}

#[test]
fn too_many_overlapping_routes_are_not_compared() {
    let mut paths: Vec<String> = Vec::new();
    for at in 0..317 {
        paths.extend([format!("/a{at}/{{x}}"), format!("/{{x}}/b{at}")]);
    }
    let names: Vec<String> = (0..paths.len()).map(|at| format!("r{at}")).collect();
    let members = "access = \"protected\"\nsuffixes = \"same\"";
    let routes: Vec<(&str, &str, &str)> = names
        .iter()
        .zip(&paths)
        .map(|(name, path)| (name.as_str(), path.as_str(), members))
        .collect();
    let policy = with_routes("", &routes);
    let (text, status) = compare(&policy, &policy);
    assert!(status == 2 && text.contains("too many routes overlap"), "{text}");
}

#[test]
fn list_of_blocked_networks_is_never_later_than_without_one() {
    let of = |seconds: u32| {
        let text = format!("[block]\nrefresh_seconds = {seconds}\n[store]");
        POLICY.replacen("[store]", &text, 1)
    };
    for (old, new, expect) in [(5, 0, 3), (0, 5, 0), (0, 3600, 0), (3600, 0, 3)] {
        let (text, status) = compare(&of(old), &of(new));
        assert_eq!(status, expect, "{text}");
        let mark = if expect == 3 { "WEAKER " } else { "changed" };
        assert!(text.contains(&format!("{mark} refresh_seconds: {old}, now {new}")), "{text}");
    }
    // Any list is earlier than none.
    assert_eq!(compare(&of(0), POLICY).1, 0);
}

#[test]
fn members_of_a_route_are_compared_if_tokens_become_required() {
    let of = |members: &str| with_routes("", &[("api", "/api/*", members)]);
    let optional = of("access = \"optional\"\nscopes = [\"admin\"]\nrequire = \"record\"\n\
        max_age_seconds = 60\nissuers = [\"https://issuer.example\"]");
    let protected = of("access = \"protected\"\nrequire = \"not_revoked\"");
    let (text, status) = compare(&optional, &protected);
    assert_eq!(status, 3, "{text}");
    for expect in [
        "changed with a valid token or none, now with a valid token",
        "WEAKER  requires the scopes admin, now none",
        "WEAKER  max_age_seconds: 60, now not set",
        "WEAKER  requires a record in the store and no revocation, now no revocation",
        "WEAKER  accepts tokens of the issuers https://issuer.example, now all",
    ] {
        assert!(text.contains(expect), "{expect}: {text}");
    }
    let (text, status) = compare(&protected, &optional);
    assert_eq!(status, 3, "{text}");
    assert_eq!(text.matches("WEAKER").count(), 1, "{text}");
    assert!(text.contains("WEAKER  with a valid token, now with a valid token or none"), "{text}");
}

#[test]
fn route_that_no_longer_enforces_is_reported_once() {
    let of = |more: &str| {
        with_routes("", &[("api", "/api/*", &format!("access = \"protected\"\n{more}"))])
    };
    let (text, status) = compare(&of(""), &of("enforce = false"));
    assert_eq!(status, 3, "{text}");
    assert_eq!(text.matches("WEAKER").count(), 1, "{text}");
    assert_eq!(compare(&of("enforce = false"), &of("")).1, 0);
}

#[test]
fn limit_that_is_split_among_its_routes_is_weaker() {
    let shared = |names: &[&str]| {
        let limit = |name: &&str| {
            format!(
                "[[limits]]\nname = \"{name}\"\nquota = 5\nwindow_seconds = 60\nby = \"address\"\n"
            )
        };
        names.iter().map(limit).collect::<String>()
    };
    let public = |limits: &str| format!("access = \"public\"\n{limits}");
    let tries = public("limits = [\"tries\"]");
    let own = public("limit = { quota = 5, window_seconds = 60, by = \"address\" }");
    let of = |limits: &[&str], a: &str, b: &str| {
        with_routes(&shared(limits), &[("a", "/a", a), ("b", "/b", b)])
    };
    let old = of(&["tries"], &tries, &tries);
    let (text, status) = compare(&old, &of(&[], &own, &own));
    assert_eq!((status, text.matches("WEAKER").count()), (3, 2), "{text}");
    assert!(text.contains("WEAKER  no longer has the limit tries (5 in 60 s"), "{text}");
    assert!(text.contains("; requests that it counted together are counted apart"), "{text}");
    // One of the routes leaves the limit, or all of them take another one together.
    assert_eq!(compare(&old, &of(&["tries"], &tries, &own)).1, 3);
    let other = public("limits = [\"other\"]");
    assert_eq!(compare(&old, &of(&["other"], &other, &other)).1, 0);
    assert_eq!(compare(&old, &of(&["tries", "other"], &tries, &other)).1, 3);
    // A route alone, and one whose requests are refused now, share nothing.
    assert_eq!(compare(&of(&["tries"], &tries, &own), &of(&[], &own, &own)).1, 0);
    let denied = "access = \"deny\"";
    assert_eq!(compare(&old, &of(&[], &own, denied)).1, 0);
    // A stricter limit for some paths of a route is meant to be one of its own.
    let part = with_routes("", &[("part", "/a/x", own.as_str()), ("a", "/a/*", &own)]);
    assert_eq!(compare(&with_routes("", &[("a", "/a/*", &own)]), &part).1, 0);
    // Other names of routes are no other requests.
    let renamed = with_routes("", &[("c", "/a", own.as_str()), ("d", "/b", &own)]);
    assert_eq!(compare(&old, &renamed).1, 3);
    // A limit for each route counts them apart anyway.
    let by_route = |policy: &str| policy.replace("\"address\"", "[\"address\", \"route\"]");
    assert_eq!(compare(&by_route(&old), &by_route(&of(&[], &own, &own))).1, 0);
}

#[test]
fn limits_without_a_token_are_compared_with_those_of_a_public_route() {
    let guests = "[[limits]]\nname = \"guests\"\nquota = 5\nwindow_seconds = 60\nby = \"address\"\n\
        [[limits]]\nname = \"users\"\nquota = 5\nwindow_seconds = 60\nby = \"address\"\n";
    let of = |members: &str| with_routes(guests, &[("a", "/a", members)]);
    let public = of("access = \"public\"\nlimits = [\"guests\"]");
    let optional = "access = \"optional\"\nlimits = [\"guests\"]";
    let (text, status) = compare(&public, &of(optional));
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("WEAKER  without a token: no longer has the limit guests"), "{text}");
    let both = of(&format!("{optional}\nanonymous_limits = [\"guests\"]"));
    assert_eq!(compare(&public, &both).1, 0);
    // Its requests with and without a token were counted together.
    let apart = of(&format!("{optional}\nanonymous_limits = [\"users\"]"));
    let (text, status) = compare(&both, &apart);
    assert!(status == 3 && text.contains("are counted apart"), "{text}");
}
