//! Generated policies on their way from the file to the Worker: TOML, sections, the module with
//! JSON text, and the policy that the Worker reads from it.

use crate::testing::base::{base, variable};
use crate::testing::members::{Case, cases, held, set};
use crate::{module, sections};
use portcullis_core::{MemberShape, Policy};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::cell::Cell;

/// One change of a policy: of which member, and what makes its value.
type Change = (proptest::sample::Index, u64, String);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec((any::<proptest::sample::Index>(), any::<u64>(), any::<String>()), 0..12)
}

/// Returns a value for a member, or `None` to leave the member out.
fn value(case: &Case, seed: u64, text: &str) -> Option<Value> {
    let place = seed.to_le_bytes()[0];
    let picked = case.values[usize::from(place) % case.values.len()].clone();
    match (&case.member.shape, seed % 6) {
        (_, 0) if !case.member.is_required => None,
        (_, 1) => case.invalid.clone(),
        (MemberShape::Number { min, max }, _) => {
            Some(json!(u64::from(*min) + (seed >> 8) % u64::from(max - min + 1)))
        }
        (MemberShape::Text(_), 2..4) if case.invalid.is_none() => Some(json!(text)),
        (MemberShape::Map { .. }, 2..4) if case.member.place == "routes.claims" => {
            let number = i64::try_from(seed >> 1).unwrap_or_default();
            let scalars =
                [json!(text), json!(number), json!(-number), json!(number as f64 / 1024.0)];
            Some(json!({ text: scalars, "other": true }))
        }
        _ => Some(picked),
    }
}

fn apply(document: &mut Value, cases: &[Case], changes: &[Change]) {
    for (index, seed, text) in changes {
        let case = index.get(cases);
        let whole =
            value(case, *seed, text).map_or_else(|| case.without(), |value| case.with(value));
        // A list is replaced as a whole, and a section member by member.
        let section = case.member.place.split('.').next().unwrap();
        let changed = whole.get(section).cloned();
        match (document.get_mut(section), changed) {
            (Some(Value::Object(own)), Some(Value::Object(changed))) => own.extend(changed),
            (_, changed) => set(document, section, changed),
        }
    }
}

fn policy(text: &str, environment: Option<&str>) -> Result<Vec<String>, Vec<String>> {
    let lookup = |name: &str| match name {
        "PORTCULLIS_ENV" => environment.map(str::to_owned),
        _ => variable(name),
    };
    match Policy::parse(text, lookup) {
        Ok(policy) => Ok(held(&policy)),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn generated_policies_survive_the_way_to_the_worker() {
    let cases = cases();
    let (valid, all) = (Cell::new(0_u32), Cell::new(0_u32));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) };
    proptest!(config, |(own in changes(), staging in changes(), name in "[a-z]{1,8}")| {
        let mut document = base();
        apply(&mut document, &cases, &own);
        let mut environment = Value::Object(Map::new());
        apply(&mut environment, &cases, &staging);
        document["env"] = json!({ name.as_str(): environment, "empty": {} });

        let file = toml::to_string(&document).unwrap();
        let read = sections("portcullis.toml", file).unwrap();
        prop_assert_eq!(&Value::Object(read.clone()), &document);
        let module = module(&read);
        let literal = module.strip_prefix("export default ").unwrap().strip_suffix(";\n").unwrap();
        let embedded: String = serde_json::from_str(literal).unwrap();
        for environment in [None, Some(name.as_str()), Some("empty"), Some("no such")] {
            let direct = policy(&document.to_string(), environment);
            valid.set(valid.get() + u32::from(direct.is_ok()));
            all.set(all.get() + 1);
            prop_assert_eq!(policy(&embedded, environment), direct);
        }
    });
    assert!(valid.get() * 5 > all.get(), "{} of {} are valid", valid.get(), all.get());
}
