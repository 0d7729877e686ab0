//! The members that a policy file may have: what each means, and in which tables each belongs.

use portcullis_core::{ConfigError, ConfigErrorKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Returns an error as users read it. For a member that its table does not have, but that others
/// have, the text names these.
///
/// Only the tools name them. The Worker's policy was checked by them, so that the names of all
/// members would be dead weight there.
pub fn message(error: &ConfigError) -> String {
    let text = error.to_string();
    let ConfigErrorKind::Unknown(suggestion) = &error.kind else {
        return text;
    };
    let place = without_indices(&error.name);
    let (table, name) = split(&place);
    let Some(right) = right_places(table, name) else {
        return text;
    };
    match (suggestion, text.rsplit_once("; ")) {
        (None, Some((before, _))) => format!("{before}; it {right}"),
        _ => format!("{text} {name} {right}"),
    }
}

/// Returns one sentence for each place in the policy file, `store.url`. Entries of a list have the
/// same place. The tables of a route that are like a section have that section's sentences.
///
/// # Errors
///
/// members.toml is malformed.
pub fn descriptions() -> Result<BTreeMap<String, String>, toml::de::Error> {
    toml::from_str(include_str!("members.toml"))
}

/// Returns the place whose description also applies to `place`.
pub fn described_place(place: &str) -> String {
    let section =
        |(own, section): &(&str, &str)| Some(format!("{section}{}", place.strip_prefix(own)?));
    SHARED.iter().find_map(section).unwrap_or_else(|| place.to_owned())
}

/// Says where a member belongs that `table` does not have. Returns `None` if no table has it.
fn right_places(table: &str, name: &str) -> Option<String> {
    let is_right = |place: &&String| {
        let (other, own) = split(place);
        own == name && other != table
    };
    let (mut tables, mut others) = (Vec::new(), Vec::new());
    for place in PLACES.iter().filter(is_right) {
        match split(place).0 {
            "" if is_table(place) => others.push(format!("is the section {}", bracketed(place))),
            "" => others.push("belongs at the top of the file".to_owned()),
            table => tables.push(titled(table)),
        }
    }
    let last = tables.pop().map(|last| match tables.is_empty() {
        true => format!("belongs in {last}"),
        false => format!("belongs in {} or {last}", tables.join(", ")),
    });
    let phrases: Vec<String> = last.into_iter().chain(others).collect();
    (!phrases.is_empty()).then(|| phrases.join(", or "))
}

/// Returns `routes.limit` as `limit of [[routes]]`, and a section as the file has it.
fn titled(table: &str) -> String {
    match table.split_once('.') {
        Some((section, inner)) => format!("{inner} of {}", bracketed(section)),
        None => bracketed(table),
    }
}

fn bracketed(section: &str) -> String {
    if LISTS.contains(&section) { format!("[[{section}]]") } else { format!("[{section}]") }
}

fn is_table(place: &str) -> bool {
    PLACES.iter().any(|other| split(other).0 == place)
}

/// Returns the table of a place, which is empty for the file's own, and the member's name.
fn split(place: &str) -> (&str, &str) {
    place.rsplit_once('.').unwrap_or(("", place))
}

/// Returns `routes[2].limit` as `routes.limit`.
fn without_indices(place: &str) -> String {
    let parts = place.split('.').filter_map(|part| part.split('[').next());
    parts.collect::<Vec<_>>().join(".")
}

/// All places. A malformed members.toml leaves none, which a test would find.
static PLACES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let described: Vec<String> = descriptions().unwrap_or_default().into_keys().collect();
    let shared = SHARED.iter().flat_map(|(own, section)| {
        let inner = described.iter().filter_map(move |place| place.strip_prefix(section));
        inner.map(move |name| format!("{own}{name}")).filter(|place| place != NAMED_BY_ROUTE)
    });
    shared.chain(described.iter().cloned()).collect()
});

/// The tables of a route that are like a section.
const SHARED: [(&str, &str); 3] =
    [("routes.limit.", "limits."), ("routes.cors.", "cors."), ("routes.ip_rules.", "ip_rules.")];

/// A route's own limit has the route's name.
const NAMED_BY_ROUTE: &str = "routes.limit.name";

/// The sections that are lists of tables.
const LISTS: [&str; 4] = ["issuers", "limits", "resources", "routes"];

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::{MemberShape, Policy};

    #[test]
    fn places_are_those_that_core_reads() {
        let members = Policy::members();
        let read: BTreeSet<String> = members.iter().map(|member| member.place.clone()).collect();
        assert_eq!(*PLACES, read);
        for member in &members {
            let is_read_as_table = matches!(member.shape, MemberShape::Table | MemberShape::Tables);
            assert_eq!(is_table(&member.place), is_read_as_table, "{}", member.place);
            let is_list = LISTS.contains(&member.place.as_str());
            assert_eq!(is_list, member.shape == MemberShape::Tables, "{}", member.place);
        }
    }

    #[test]
    fn misplaced_member_is_reported_with_its_right_places() {
        let errors = |document: &str| {
            let errors = Policy::assume(document, |_| None).err().unwrap_or_default();
            errors.iter().map(message).collect::<Vec<_>>()
        };
        for (document, expect) in [
            (
                r#"{"store":{"delay_seconds_max":5}}"#,
                "store.delay_seconds_max: unknown member; it belongs in [revocation]",
            ),
            (
                r#"{"timeout_ms":5}"#,
                "timeout_ms: unknown member; it belongs in [auth], [introspection], [jwks], \
                 [[routes]], [store] or [upstream]",
            ),
            (
                r#"{"store":{"accept":[]}}"#,
                "store.accept: unknown member; it belongs in events of [[issuers]], or belongs at the \
                 top of the file",
            ),
            (
                r#"{"upstream":{"store":{}}}"#,
                "upstream.store: unknown member; it is the section [store]",
            ),
            (
                r#"{"store":{"cors":{}}}"#,
                "store.cors: unknown member; it belongs in [[routes]], or is the section [cors]",
            ),
            (
                r#"{"limit":{}}"#,
                "limit: unknown member; did you mean limits? limit belongs in [[routes]]",
            ),
            (
                r#"{"routes":[{"name":"api","plans":{}}]}"#,
                "routes[0].plans (route api): unknown member; it belongs in [[limits]] or limit of \
                 [[routes]]",
            ),
            (
                r#"{"store":{"colour":1}}"#,
                "store.colour: unknown member; see docs/configuration.md",
            ),
        ] {
            let found = errors(document);
            assert!(found.iter().any(|text| text == expect), "{expect}: {found:#?}");
        }
    }
}
