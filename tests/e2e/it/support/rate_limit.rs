//! The `RateLimit` and `RateLimit-Policy` fields, read by a third-party parser of RFC 9651.

use reqwest::Response;
use sfv::{BareItem, Item, List, ListEntry, Parser};

/// Asserts that both fields of a response are lists of strings with the integers that the draft
/// defines. `policies` are the strings of `RateLimit-Policy`, in order.
pub fn assert_rate_limit_fields(response: &Response, policies: &[&str]) {
    let parse = |name: &str| -> List {
        let values = response.headers().get_all(name).iter();
        let values: Vec<&str> = values.map(|value| value.to_str().unwrap()).collect();
        let text = values.join(", ");
        Parser::new(&text).parse().unwrap_or_else(|error| panic!("{name}: {text}: {error}"))
    };
    let named: Vec<String> =
        parse("ratelimit-policy").iter().map(|entry| check(entry, ["q", "w"])).collect();
    assert_eq!(named, policies);
    for entry in &parse("ratelimit") {
        let name = check(entry, ["r", "t"]);
        assert!(named.contains(&name), "{name} is not among {named:?}");
    }
}

/// Returns the string of a list's entry, which must have these parameters with integer values.
fn check(entry: &ListEntry, parameters: [&str; 2]) -> String {
    let ListEntry::Item(Item { bare_item: BareItem::String(name), params }) = entry else {
        panic!("{entry:?} is not a string");
    };
    let names: Vec<&str> = params.keys().map(|key| key.as_str()).collect();
    assert_eq!(names, parameters, "{entry:?}");
    let are_counts = params
        .values()
        .all(|value| matches!(value, BareItem::Integer(number) if i64::from(*number) >= 0));
    assert!(are_counts, "{entry:?}");
    name.as_str().to_owned()
}
