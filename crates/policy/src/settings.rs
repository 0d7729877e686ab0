//! Each member of the policy file: set, unset and wrong, in the file and by a variable. The cases
//! come from what core reads, so that a member without a case fails.

mod variables;

use crate::members::message;
use crate::testing::base::{base, variable};
use crate::testing::members::{cases, held, indexed, is_table, parse, parse_with, set};
use portcullis_core::{ConfigError, ConfigErrorKind, MemberShape, Policy, PolicyMember};
use serde_json::{Value, json};

fn errors(document: &Value) -> Vec<ConfigError> {
    parse(document).err().unwrap_or_default()
}

fn policy(document: &Value) -> Policy {
    parse(document).unwrap_or_else(|errors| panic!("{errors:?}: {document:#}"))
}

/// Returns whether an error is about a place, or about one within it.
fn is_at(error: &ConfigError, place: &str) -> bool {
    let rest = error.name.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', ':']))
}

#[test]
fn set_member_is_held_by_the_policy() {
    for case in cases() {
        let before = held(&policy(&case.before()));
        let mut outcomes = vec![before.clone()];
        for value in &case.values {
            let after = held(&policy(&case.with(value.clone())));
            let place = case.place();
            assert!(!outcomes.contains(&after), "{place} = {value} changes nothing");
            // What of the value can be recognized.
            let shown = match value {
                Value::Number(number) => number.to_string(),
                // A URL has no slash at its end, a pattern no `/*`.
                Value::String(text) if matches!(case.member.shape, MemberShape::Text(_)) => {
                    text.trim_matches(['/', '*']).to_owned()
                }
                _ => String::new(),
            };
            let is_new = |line: &&String| !before.contains(line);
            // Names of secrets; a key, of which Debug shows only the algorithm; and a name, of
            // which the place is held.
            let named =
                ["client_secret_variable", "jwks_variable", "public_key", "routes[0].resource"];
            let is_name = named.iter().any(|name| place.ends_with(name));
            let is_held = after.iter().filter(is_new).any(|line| line.contains(&shown));
            assert!(shown.is_empty() || is_held || is_name, "{place} = {value} is not held");
            outcomes.push(after);
        }
    }
}

#[test]
fn unset_member_is_its_default() {
    for case in cases() {
        let (place, without) = (case.place(), case.without());
        let needed = NEEDED.iter().find(|(needed, ..)| *needed == case.member.place);
        let missing = match (case.member.is_required, needed) {
            (true, _) => Some((place.as_str(), ConfigErrorKind::Missing)),
            (false, Some((_, "", kind))) => Some((place.as_str(), kind.clone())),
            (false, Some((_, at, kind))) => Some((*at, kind.clone())),
            (false, None) => None,
        };
        if let Some((at, kind)) = missing {
            let found = errors(&without);
            let is_it = |error: &ConfigError| error.name == at && error.kind == kind;
            assert!(found.iter().any(is_it), "{place}: {found:?}");
            continue;
        }
        let unset = held(&policy(&without));
        if let Some(default) = &case.member.default {
            let mut stated = case.without();
            set(&mut stated, &place, Some(default.clone()));
            assert_eq!(unset, held(&policy(&stated)), "{place}: its default is {default}");
        }
    }
}

#[test]
fn value_of_another_type_is_an_error_at_its_place() {
    let check = |place: &str, wrong: &Value, document: &Value| {
        let found = errors(document);
        assert!(found.iter().any(|error| is_at(error, place)), "{place} = {wrong}: {found:?}");
    };
    for case in cases() {
        for wrong in wrong_types(&case.member.shape) {
            check(&case.place(), &wrong, &case.with(wrong.clone()));
        }
    }
    for table in Policy::members().iter().filter(|member| is_table(member)) {
        let place = indexed(&table.place, 0);
        for wrong in wrong_types(&table.shape) {
            let mut document = base();
            set(&mut document, &place, Some(wrong.clone()));
            check(&place, &wrong, &document);
        }
    }
}

/// Returns values that a member of this shape can't have.
fn wrong_types(shape: &MemberShape) -> Vec<Value> {
    let [flag, number, float, text] = [json!(true), json!(7), json!(1.5), json!("two words")];
    let [list, table] = [json!([]), json!({})];
    match shape {
        MemberShape::Any | MemberShape::Scalar => vec![],
        MemberShape::Flag => vec![number, float, text, list, table],
        MemberShape::Number { .. } => vec![flag, float, text, list, table],
        MemberShape::Text(_) | MemberShape::OneOf(_) => vec![flag, number, float, list, table],
        MemberShape::OneOrMore(_) => vec![flag, number, float, list, table, json!([[]])],
        MemberShape::List(of) => {
            let wrong =
                if matches!(**of, MemberShape::Number { .. }) { "x".into() } else { json!(1) };
            vec![flag, number, float, text, table, json!([wrong]), json!([[]])]
        }
        MemberShape::Map { .. } | MemberShape::Table => vec![flag, number, float, text, list],
        MemberShape::Tables => vec![flag, number, float, text, list, table, json!([1])],
    }
}

#[test]
fn number_beyond_a_bound_is_an_error() {
    let mut count = 0;
    for case in cases() {
        let MemberShape::Number { min, max } = case.member.shape else {
            continue;
        };
        let (min, max) = (i64::from(min), i64::from(max));
        for (number, is_valid) in [(min - 1, false), (min, true), (max, true), (max + 1, false)] {
            let found = errors(&case.with(json!(number)));
            let is_out = |error: &ConfigError| {
                error.name == case.place() && matches!(error.kind, ConfigErrorKind::NotInRange(..))
            };
            assert_eq!(!found.iter().any(is_out), is_valid, "{} = {number}", case.place());
        }
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[test]
fn invalid_value_is_an_error_at_its_place() {
    for case in cases() {
        let place = case.place();
        let Some(invalid) = &case.invalid else {
            let is_free =
                matches!(case.member.shape, MemberShape::Flag | MemberShape::Number { .. })
                    || ANY_TEXT.contains(&case.member.place.as_str());
            assert!(is_free, "{place} has no invalid value; add one to its case");
            continue;
        };
        let found = errors(&case.with(invalid.clone()));
        assert!(found.iter().any(|error| is_wrong(error, &place)), "{place}: {found:?}");
    }
    for (place, empty) in [("assertion.issuer", ""), ("issuers[0].audience", "")] {
        let mut document = base();
        set(&mut document, place, Some(json!(empty)));
        assert!(errors(&document).iter().any(|error| error.name == place), "{place}");
    }
}

/// Returns whether an error is about a member, or about the secret that it names.
fn is_wrong(error: &ConfigError, place: &str) -> bool {
    is_at(error, place) || (place.ends_with("_variable") && error.name == "NO_SUCH_SECRET")
}

#[test]
fn misspelt_member_is_an_error_with_the_right_name() {
    let members = Policy::members();
    let mut count = 0;
    for member in &members {
        let (table, name) = member.place.rsplit_once('.').unwrap_or(("", &member.place));
        for misspelt in misspellings(name) {
            let at =
                if table.is_empty() { misspelt.clone() } else { format!("{table}.{misspelt}") };
            // It may be another member, or as near to one.
            let others = members.iter().filter_map(|other| other.place.strip_prefix(table));
            let others = others.map(|other| other.trim_start_matches('.'));
            let is_near =
                |other: &str| other != name && (other == misspelt || is_cut(other, &misspelt));
            if others.filter(|other| !other.contains('.')).any(is_near) {
                continue;
            }
            count += 1;
            let (mut document, place) = (base(), indexed(&member.place, 0));
            let at = indexed(&at, 0);
            set(&mut document, &place, None);
            set(&mut document, &at, Some(json!(1)));
            let found = errors(&document);
            let is_suggested = |error: &ConfigError| {
                error.name == at && error.kind == ConfigErrorKind::Unknown(Some(name.to_owned()))
            };
            assert!(found.iter().any(is_suggested), "{at}: {found:?}");
            let text = found.iter().find(|error| is_suggested(error)).unwrap().to_string();
            assert!(text.ends_with(&format!("did you mean {name}?")), "{text}");
        }
    }
    assert!(count > members.len() * 5 / 2, "{count} of {} members", members.len());
}

/// Returns whether a name without one of its letters is another one.
fn is_cut(name: &str, other: &str) -> bool {
    (0..name.len()).any(|at| format!("{}{}", &name[..at], &name[at + 1..]) == other)
}

/// Returns a name with one letter too few, too many, and another one.
fn misspellings(name: &str) -> [String; 3] {
    let (before, after) = name.split_at(name.len() / 2);
    [
        format!("{before}{}", &after[1..]),
        format!("{before}q{after}"),
        format!("{before}q{}", &after[1..]),
    ]
}

#[test]
fn member_in_another_table_is_an_error_that_names_the_right_tables() {
    let members = Policy::members();
    let tables: Vec<&PolicyMember> = members.iter().filter(|member| is_table(member)).collect();
    let cases = cases();
    for member in &members {
        let name = name_of(&member.place);
        let case = cases.iter().find(|case| case.member.place == member.place);
        let value = case.map_or(json!(1), |case| case.values[0].clone());
        let mut document = base();
        let places = tables.iter().map(|table| format!("{}.{name}", table.place));
        let foreign = |place: &String| !members.iter().any(|member| member.place == *place);
        let places: Vec<String> = places
            .chain([name.to_owned()])
            .filter(foreign)
            .map(|place| indexed(&place, 0))
            .collect();
        for place in &places {
            set(&mut document, place, Some(value.clone()));
        }
        let namesakes = members.iter().filter(|other| name_of(&other.place) == name);
        let namesakes: Vec<&PolicyMember> = namesakes.collect();
        let found = errors(&document);
        for place in &places {
            let is_unknown = |error: &&ConfigError| {
                error.name == *place && matches!(error.kind, ConfigErrorKind::Unknown(_))
            };
            // A route's own limit has its name, which has an error of its own.
            let is_named = |error: &ConfigError| {
                error.name == *place && error.kind == ConfigErrorKind::NamedByRoute
            };
            let Some(error) = found.iter().find(is_unknown) else {
                assert!(found.iter().any(is_named), "{place}: {found:?}");
                continue;
            };
            let text = message(error);
            for namesake in &namesakes {
                let home = home(namesake);
                assert!(text.contains(&home), "{home} of {}: {text}", namesake.place);
            }
        }
    }
}

fn name_of(place: &str) -> &str {
    place.rsplit('.').next().unwrap()
}

/// Returns how an error calls the table that has a member.
fn home(member: &PolicyMember) -> String {
    let section = |name: &str| match name {
        "issuers" | "limits" | "resources" | "routes" => format!("[[{name}]]"),
        _ => format!("[{name}]"),
    };
    match member.place.rsplit_once('.') {
        Some((table, _)) => match table.split_once('.') {
            Some((list, table)) => format!("{table} of {}", section(list)),
            None => section(table),
        },
        None if is_table(member) => format!("the section {}", section(&member.place)),
        None => "the top of the file".to_owned(),
    }
}

/// Dates and times are TOML, but JSON has none, and so no member either.
#[test]
fn date_is_an_error_at_its_place() {
    for (text, line) in [
        ("store = 2026-01-31\n", 1),
        ("[store]\nurl = 2026-01-31T10:00:00Z\n", 2),
        ("[identity]\nclaims = 10:00:00\n", 2),
        ("[[issuers]]\njwks = 2026-01-31\n", 2),
        ("accept = [2026-01-31]\n", 1),
    ] {
        let errors = crate::file::PolicyFile::parse(text.to_owned()).err().unwrap_or_default();
        assert_eq!(errors.len(), 1, "{text}");
        assert_eq!(errors[0].position.line, line, "{text}");
        assert!(errors[0].message.contains("date"), "{}", errors[0].message);
    }
}

#[test]
fn secret_is_held_and_a_wrong_one_is_an_error_at_its_name() {
    let key = |letter: &str| format!("{}=", letter.repeat(43));
    let named = |name: &str| format!("{name}:{}", key("A"));
    let other_key = variable("ASSERTION_KEY").unwrap().replace("e1", "e2");
    let with_current = [("RECORD_ENCRYPTION_KEY", named("k2"))];
    for (name, good, bad, besides, is_required) in [
        ("STORE_TOKEN", "other".to_owned(), "two words", &[][..], true),
        ("ASSERTION_KEY", other_key, "{}", &[], true),
        ("SECRET", "other".to_owned(), "", &[], true),
        ("EDGE_AUTH_KEY", key("A"), "short", &[], false),
        ("RECORD_ENCRYPTION_KEY", named("k1"), "short", &[], false),
        ("RECORD_ENCRYPTION_KEY_PREVIOUS", named("k1"), "short", &with_current, false),
    ] {
        let parse = |value: Option<&str>| {
            parse_with(&base(), |asked| match besides.iter().find(|(own, _)| *own == asked) {
                _ if asked == name => value.map(str::to_owned),
                Some((_, text)) => Some(text.clone()),
                None => variable(asked),
            })
        };
        let errors = |value| parse(value).err().unwrap_or_default();
        let is_at_name = |error: &ConfigError| error.name == name;
        let unset = match is_required {
            true => variable(name),
            false => None,
        };
        let unset = held(&parse(unset.as_deref()).unwrap());
        assert_ne!(held(&parse(Some(&good)).unwrap()), unset, "{name}");
        assert!(errors(Some(bad)).iter().any(is_at_name), "{name}");
        for missing in [None, Some(""), Some(" ")] {
            assert_eq!(errors(missing).iter().any(is_at_name), is_required, "{name}");
        }
        let text = format!("{:?}", errors(Some(bad)));
        assert!(bad.is_empty() || !text.contains(bad), "{text}");
    }
}

/// Members that the base needs though no table must have them, and the error without them: its
/// place, if that is another, and its kind.
const NEEDED: [(&str, &str, ConfigErrorKind); 8] = [
    ("auth.url", "auth.url", ConfigErrorKind::Missing),
    ("issuers.audience", "issuers[0].audience", ConfigErrorKind::Missing),
    ("issuers.algorithms", "issuers[0].algorithms", ConfigErrorKind::Empty),
    ("issuers.jwks_url", "issuers[0]", ConfigErrorKind::KeysUnclear),
    ("limits.quota", "", ConfigErrorKind::Missing),
    ("limits.window_seconds", "", ConfigErrorKind::Missing),
    ("routes.limit.quota", "", ConfigErrorKind::Missing),
    ("routes.limit.window_seconds", "", ConfigErrorKind::Missing),
];

/// Members that may hold any text that is not empty.
const ANY_TEXT: [&str; 8] = [
    "accept",
    "assertion.audience",
    "assertion.issuer",
    "issuers.events.audience",
    "issuers.events.issuer",
    "issuers.introspection.client_id",
    "resources.audience",
    "routes.assertion_audience",
];
