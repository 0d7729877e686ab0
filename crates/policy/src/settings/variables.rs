//! Texts of the policy file that are variables.

use super::{is_at, is_wrong, policy};
use crate::testing::base::variable;
use crate::testing::members::{Case, cases, held, parse_with};
use portcullis_core::{ConfigError, ConfigErrorKind};
use serde_json::Value;

#[test]
fn text_from_a_variable_means_what_it_means_in_the_file() {
    for case in texts() {
        for value in &case.values {
            let (by_variable, texts) = behind_variables(value);
            let document = case.with(by_variable);
            let found = parse_with(&document, |name| texts_lookup(&texts, name));
            let found = found.unwrap_or_else(|errors| panic!("{}: {errors:?}", case.place()));
            let expect = policy(&case.with(value.clone()));
            assert_eq!(held(&found), held(&expect), "{}", case.place());
        }
    }
}

#[test]
fn missing_variable_is_an_error_that_names_member_and_variable() {
    for case in texts() {
        let (by_variable, texts) = behind_variables(&case.values[0]);
        for missing in [None, Some(String::new()), Some(" ".to_owned())] {
            let lookup = |name: &str| match texts.iter().any(|(own, _)| own == name) {
                true => missing.clone(),
                false => variable(name),
            };
            let found =
                parse_with(&case.with(by_variable.clone()), lookup).err().unwrap_or_default();
            let (place, (name, _)) = (case.place(), &texts[0]);
            let is_missing = |error: &&ConfigError| {
                is_at(error, &place) && error.kind == ConfigErrorKind::NoSuchVariable(name.clone())
            };
            let error = found.iter().find(is_missing);
            let error = error.unwrap_or_else(|| panic!("{place}: {found:?}")).to_string();
            assert!(error.starts_with(&place) && error.contains(name), "{error}");
        }
    }
}

#[test]
fn invalid_text_from_a_variable_is_an_error_at_its_member() {
    let mut count = 0;
    for case in texts() {
        let Some(invalid) = case.invalid.as_ref().filter(|invalid| has_texts(invalid)) else {
            continue;
        };
        let (by_variable, texts) = behind_variables(invalid);
        let document = case.with(by_variable);
        let found = parse_with(&document, |name| texts_lookup(&texts, name));
        let (found, place) = (found.err().unwrap_or_default(), case.place());
        assert!(found.iter().any(|error| is_wrong(error, &place)), "{place}: {found:?}");
        count += 1;
    }
    assert!(count > 40, "{count}");
}

/// Returns the cases of members that hold texts, which may be variables.
fn texts() -> Vec<Case> {
    let all = cases().into_iter().filter(|case| has_texts(&case.values[0]));
    let all: Vec<Case> = all.collect();
    assert!(all.len() > 60, "{}", all.len());
    all
}

fn has_texts(value: &Value) -> bool {
    !behind_variables(value).1.is_empty()
}

/// Returns a value with a variable in place of each text, and what the variables hold.
fn behind_variables(value: &Value) -> (Value, Vec<(String, String)>) {
    fn replace(value: &mut Value, texts: &mut Vec<(String, String)>) {
        match value {
            Value::String(text) => {
                let name = format!("TEXT_{}", texts.len());
                let held = std::mem::replace(text, format!("${{{name}}}"));
                texts.push((name, held));
            }
            Value::Array(values) => values.iter_mut().for_each(|value| replace(value, texts)),
            Value::Object(table) => table.values_mut().for_each(|value| replace(value, texts)),
            _ => {}
        }
    }
    let (mut value, mut texts) = (value.clone(), Vec::new());
    replace(&mut value, &mut texts);
    (value, texts)
}

fn texts_lookup(texts: &[(String, String)], name: &str) -> Option<String> {
    let own = texts.iter().find(|(own, _)| own == name);
    own.map(|(_, text)| text.clone()).or_else(|| variable(name))
}
