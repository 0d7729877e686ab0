//! Policies for the tests of the floors above, read from a document with some changes.

use crate::policy::Policy;
use serde_json::{Map, Value, json};

const ISSUERS: &str = r#"[{"issuer":"https://issuer.example","audience":"api",
    "algorithms":["EdDSA"],"jwks_url":"https://issuer.example/jwks"}]"#;
const ROUTES: &str = r#"[
    {"name":"health","path":"/health","access":"public","limit":{"quota":5,"window_seconds":1,"by":"address"}},
    {"name":"auth","path":"/auth/*","access":"auth"},
    {"name":"write","path":"/api/*","access":"protected","methods":["POST"],"scopes":["api:write"]},
    {"name":"read","path":"/api/*","access":"protected","methods":["GET","DELETE","OPTIONS"],"require":"not_revoked","upstream":"http://read.example/v1/"},
    {"name":"limited","path":"/limited","access":"protected","limit":{"quota":2,"window_seconds":60,"by":"subject"}}]"#;

/// Returns a valid policy file with some places changed, such as `store.url`. A value is JSON, or
/// else a text. Names in capitals are variables, which [`lookup`] returns.
pub(crate) fn document(changes: &[(&str, &str)]) -> String {
    let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    let mut sections = Map::new();
    let defaults = [
        ("issuers", ISSUERS),
        ("routes", ROUTES),
        ("upstream.url", "https://upstream.example"),
        ("auth.url", "https://auth.example/"),
        ("store.url", "https://store.example"),
    ];
    for (place, text) in defaults.iter().chain(changes) {
        if is_variable(place) {
            continue;
        }
        match place.split_once('.') {
            None => sections.insert((*place).to_owned(), json(text)),
            Some((section, member)) => {
                let section = sections.entry(section).or_insert_with(|| json!({}));
                section.as_object_mut().unwrap().insert(member.to_owned(), json(text))
            }
        };
    }
    Value::Object(sections).to_string()
}

/// Returns a lookup of the variables among some changes, and of the store's token.
pub(crate) fn lookup<'a>(changes: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| {
        let changed = changes.iter().filter(|(changed, _)| is_variable(changed));
        let changed = changed.into_iter().find(|(changed, _)| *changed == name);
        let default = (name == "STORE_TOKEN").then_some("store-secret");
        changed.map(|(_, text)| *text).or(default).map(str::to_owned)
    }
}

/// Returns whether a change is one of a variable.
pub(crate) fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
}

/// Returns a policy with one issuer and a route of each kind.
pub(crate) fn policy() -> Policy {
    policy_with(&[])
}

/// Returns the same policy with some places and variables changed.
pub(crate) fn policy_with(changes: &[(&str, &str)]) -> Policy {
    Policy::parse(&document(changes), lookup(changes)).unwrap()
}

/// Returns the names of the errors when some places and variables are changed.
pub(crate) fn error_names(changes: &[(&str, &str)]) -> Vec<String> {
    let errors = Policy::parse(&document(changes), lookup(changes)).err().unwrap_or_default();
    errors.into_iter().map(|error| error.name).collect()
}
