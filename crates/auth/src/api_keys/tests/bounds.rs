//! What a key's terms may be.

use crate::api_keys::SpecPatch;
use crate::api_keys::spec::revised;
use crate::db::KeySpec;
use crate::problem::Problem;
use crate::testing::T;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const OWNED: &str = "read write admin";

fn read(value: Value) -> Result<KeySpec, Problem> {
    let Value::Object(members) = value else { panic!("no object") };
    revised(None, SpecPatch::new(members)?, OWNED, T)
}

fn with(name: &str, value: Value) -> Value {
    let mut members = Map::from_iter([("name".to_owned(), json!("n"))]);
    members.insert(name.to_owned(), value);
    Value::Object(members)
}

#[test]
fn terms_at_their_bounds_are_accepted_and_beyond_them_refused() {
    let networks = |count: usize| (0..count).map(|n| format!("192.0.2.{n}")).collect::<Vec<_>>();
    let quotas = |count: usize| (0..count).map(|n| (format!("l{n}"), 1.into())).collect();
    let quotas = |count: usize| Value::Object(quotas(count));
    let metadata = |bytes: usize| json!({ "x": "y".repeat(bytes - r#"{"x":""}"#.len()) });
    let decade = 315_360_000;
    for (name, good, bad, code) in [
        ("name", json!("n".repeat(200)), json!("n".repeat(201)), "member_invalid"),
        ("name", json!("é €"), json!(""), "member_invalid"),
        ("name", json!("a b"), json!("a\nb"), "member_invalid"),
        ("name", json!("n"), json!(1), "request_malformed"),
        ("plan", json!("p".repeat(64)), json!("p".repeat(65)), "member_invalid"),
        ("plan", Value::Null, json!(""), "member_invalid"),
        ("scope", json!(" read  read "), json!("other"), "scope_invalid"),
        ("scope", json!(""), json!("rea"), "scope_invalid"),
        ("scope", json!("read"), json!("re\tad"), "scope_invalid"),
        ("networks", json!(networks(32)), json!(networks(33)), "member_invalid"),
        ("networks", json!(["2001:db8::/32"]), json!(["2001:db8::1/32"]), "member_invalid"),
        ("networks", json!(["0.0.0.0/0"]), json!(["192.0.2.0/33"]), "member_invalid"),
        ("networks", json!([]), json!(["localhost"]), "member_invalid"),
        ("networks", json!([]), json!("192.0.2.1"), "request_malformed"),
        ("quotas", quotas(16), quotas(17), "member_invalid"),
        ("quotas", json!({ "a": 1 }), json!({ "a": 0 }), "member_invalid"),
        ("quotas", json!({ "a": 1_000_000 }), json!({ "a": 1_000_001 }), "member_invalid"),
        ("quotas", json!({ "a-B_1": 1 }), json!({ "a b": 1 }), "member_invalid"),
        ("quotas", json!({}), json!({ "a": 1.5 }), "request_malformed"),
        ("metadata", metadata(2048), metadata(2049), "member_invalid"),
        (
            "metadata",
            json!({ "a": { "b": { "c": { "d": 1 } } } }),
            json!({ "a": { "b": { "c": { "d": [] } } } }),
            "member_invalid",
        ),
        ("metadata", json!({ "a": [[[1]]] }), json!({ "a": [[[[1]]]] }), "member_invalid"),
        ("metadata", json!({}), json!([]), "request_malformed"),
        ("expires_at", json!(T.0 + 1), json!(T.0), "member_invalid"),
        ("expires_at", json!(T.0 + decade), json!(T.0 + decade + 1), "member_invalid"),
        ("expires_in", json!(1), json!(0), "member_invalid"),
        ("expires_in", json!(decade), json!(u64::MAX), "member_invalid"),
        ("expires_in", Value::Null, json!("1"), "member_invalid"),
        ("plan", json!("p"), json!({}), "request_malformed"),
    ] {
        assert!(read(with(name, good.clone())).is_ok(), "{name} {good}");
        let refused = read(with(name, bad.clone())).err().map(Problem::code);
        assert_eq!(refused, Some(code), "{name} {bad}");
    }
    for unknown in ["id", "key", "hash", "revoked_at", "created_at", "prefix", "sub"] {
        let refused = read(with(unknown, json!(1))).err();
        assert_eq!(refused, Some(Problem::RequestMalformed), "{unknown}");
    }
    let both = json!({ "name": "n", "expires_at": T.0 + 1, "expires_in": 1 });
    assert_eq!(read(both).err().unwrap().code(), "member_invalid");
    assert_eq!(read(json!({})).err().unwrap().code(), "member_invalid", "no name");
}

/// Any JSON of a few members.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9:/. é\u{0}]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("[a-z]{0,4}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is accepted, by creation or by changes, is within all bounds and can be stored.
    #[test]
    fn accepted_terms_are_within_their_bounds(
        patches in prop::collection::vec(
            prop::collection::btree_map(
                prop_oneof![
                    Just("name"), Just("scope"), Just("plan"), Just("quotas"), Just("networks"),
                    Just("metadata"), Just("expires_at"), Just("expires_in"), Just("x"),
                ],
                prop_oneof![
                    value(),
                    Just(json!("read")),
                    Just(json!({ "api": 5 })),
                    Just(json!(["192.0.2.0/24"])),
                    (1u64..1000).prop_map(|ahead| json!(T.0 + ahead)),
                ],
                0..4,
            ),
            1..5,
        )
    ) {
        let mut spec: Option<KeySpec> =
            read(json!({ "name": "n", "scope": "read", "metadata": { "a": { "b": 1 } } })).ok();
        for patch in patches {
            let members = patch.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let Ok(patch) = SpecPatch::new(members) else { continue };
            let Ok(next) = revised(spec.as_ref(), patch, OWNED, T) else { continue };
            prop_assert!((1..=200).contains(&next.name.len()));
            prop_assert!(next.scope.split(' ').all(|it| it.is_empty() || OWNED.contains(it)));
            prop_assert!(next.networks.len() <= 32 && next.quotas.len() <= 16);
            prop_assert!(next.plan.as_ref().is_none_or(|plan| !plan.is_empty()));
            prop_assert!(next.expires_at.is_none_or(|at| at > T.0));
            let text = serde_json::to_string(&next).unwrap();
            prop_assert!(serde_json::to_string(&next.metadata).unwrap().len() <= 2048);
            prop_assert_eq!(&serde_json::from_str::<KeySpec>(&text).unwrap(), &next);
            spec = Some(next);
        }
    }
}
