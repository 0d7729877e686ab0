use super::*;
use crate::json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn scope(claims: &str, places: &[&str]) -> Option<String> {
    let places: Vec<String> = places.iter().map(|place| (*place).to_owned()).collect();
    of(&json::object(claims.as_bytes()).unwrap(), &places)
}

#[test]
fn scope_is_the_union_of_the_named_claims_in_order() {
    fn check(claims: &str, places: &[&str], expect: &str) {
        assert_eq!(scope(claims, places).as_deref(), Some(expect), "{claims} {places:?}");
    }
    let entra = r#"{"scp":"User.Read api:read","roles":["Admin","api:read","Two Words"]}"#;
    check(entra, &["scp"], "User.Read api:read");
    check(entra, &["scp", "roles"], "User.Read api:read Admin");
    check(entra, &["roles", "scp"], "Admin api:read User.Read");
    check(entra, &["scp", "none"], "User.Read api:read");
    check(entra, &["none"], "");
    check(r#"{"roles":["app"]}"#, &["scp", "roles"], "app");
    check(r#"{"scp":"a b a  b","x":"b c"}"#, &["scp", "x"], "a b c");
    check(r#"{"scp":["a","b","a"]}"#, &["scp"], "a b");
    check(r#"{"scp":[]}"#, &["scp"], "");
    // Keycloak, whose client names may have a slash; Stytch.
    let keycloak = r#"{"scope":"openid","realm_access":{"roles":["x","y"]},
        "resource_access":{"a/b":{"roles":["z"]}},"https://stytch.com/session":{"roles":["s"]}}"#;
    check(keycloak, &["/realm_access/roles"], "x y");
    check(
        keycloak,
        &["scope", "/realm_access/roles", "/resource_access/a~1b/roles"],
        "openid x y z",
    );
    check(keycloak, &["/https:~1~1stytch.com~1session/roles"], "s");
    check(keycloak, &["/scope/x", "/realm_access/roles/0"], "x");
    // Zitadel: the members' names are the roles.
    let zitadel = r#"{"urn:zitadel:iam:org:project:roles":{"admin":{"1":"a.example"},"user":{}}}"#;
    check(zitadel, &["urn:zitadel:iam:org:project:roles"], "admin user");
    let flags = r#"{"can":{"a":true,"b":false,"c":null,"d":0,"e":"","f":1,"g":"x","h i":true}}"#;
    check(flags, &["can"], "a");
    // Clerk: a list with commas is one name.
    check(r#"{"fea":"o:a,o:b"}"#, &["fea"], "o:a,o:b");
}

/// The text of a single claim is not divided, so an issuer's own spelling stays.
#[test]
fn text_of_a_single_claim_is_kept_as_it_is() {
    assert_eq!(scope(r#"{"scope":" b  a a\t"}"#, &["scope"]).as_deref(), Some(" b  a a\t"));
    assert_eq!(scope(r#"{"scope":" b  a a\t"}"#, &["scope", "x"]).as_deref(), Some("b a"));
}

#[test]
fn claim_of_another_type_is_no_scope() {
    for claim in ["7", "null", "true", r#"["a",7]"#, r#"["a",["b"]]"#, r#"["a",null]"#] {
        let claims = format!(r#"{{"x":{claim},"scope":"a"}}"#);
        assert_eq!(scope(&claims, &["x"]), None, "{claim}");
        assert_eq!(scope(&claims, &["scope", "x"]), None, "{claim}");
        assert_eq!(scope(&claims, &["scope"]).as_deref(), Some("a"), "{claim}");
    }
    assert_eq!(scope(r#"{"scope":{"admin":true}}"#, &["scope"]), None);
    assert_eq!(scope(r#"{"scope":{"admin":true},"x":"a"}"#, &["x", "scope"]), None);
}

#[test]
fn scope_has_a_greatest_length() {
    let long = |bytes: usize| format!(r#"{{"scope":"{} a","more":["b","c"]}}"#, "x".repeat(bytes));
    let length = |bytes: usize, places: &[&str]| scope(&long(bytes), places).unwrap().len();
    assert_eq!(length(SCOPE_BYTES_MAX - 2, &["scope"]), SCOPE_BYTES_MAX);
    // The long name is left out, and the others stay.
    assert_eq!(scope(&long(SCOPE_BYTES_MAX), &["scope"]).as_deref(), Some("a"));
    let at_most = scope(&long(SCOPE_BYTES_MAX - 4), &["scope", "more"]).unwrap();
    assert!(at_most.ends_with("x a b") && at_most.len() == SCOPE_BYTES_MAX, "{}", at_most.len());
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// A claim, and the names that it should have.
    fn claim() -> impl Strategy<Value = (Option<Value>, Vec<String>)> {
        let names = proptest::collection::vec("[a-d]{1,2}|x y|z\t|", 0..6);
        (names, 0..4).prop_map(|(names, form)| {
            let is_one = |name: &String| !name.is_empty() && !name.contains([' ', '\t']);
            let whole: Vec<String> = names.iter().filter(|name| is_one(name)).cloned().collect();
            match form {
                0 => (None, Vec::new()),
                1 => (Some(json!(whole.join(" "))), whole),
                2 => (Some(json!(names)), whole),
                _ => {
                    let roles: Map<String, Value> =
                        names.iter().map(|name| (name.clone(), json!({}))).collect();
                    let mut sorted = whole;
                    sorted.sort();
                    (Some(Value::Object(roles)), sorted)
                }
            }
        })
    }

    proptest! {
        #[test]
        fn scope_has_each_name_once_in_the_order_of_the_claims(
            claims in proptest::collection::vec(claim(), 1..4),
            is_nested in any::<bool>(),
        ) {
            let (mut members, mut places, mut expect) = (Map::new(), Vec::new(), Vec::new());
            for (at, (value, names)) in claims.into_iter().enumerate() {
                places.push(if is_nested { format!("/c{at}/roles") } else { format!("c{at}") });
                if let Some(value) = value {
                    let value = if is_nested { json!({ "roles": value }) } else { value };
                    members.insert(format!("c{at}"), value);
                }
                expect.extend(names);
            }
            let scope = of(&members, &places).unwrap();
            let found: Vec<&str> = scope.split(' ').filter(|name| !name.is_empty()).collect();
            let mut once: Vec<&str> = Vec::new();
            for name in &expect {
                if !once.contains(&name.as_str()) {
                    once.push(name);
                }
            }
            if places.len() > 1 {
                prop_assert_eq!(&scope, &once.join(" "));
            }
            // A single text keeps its doubles.
            prop_assert!(found.iter().all(|name| once.contains(name)));
            prop_assert!(once.iter().all(|name| found.contains(name)));
        }
    }
}
