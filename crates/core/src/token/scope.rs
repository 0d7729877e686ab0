//! The scope of a token: the names in the claims that its issuer uses for scopes, permissions and
//! roles.

use crate::json::path;
use serde_json::{Map, Value};

/// Returns the names in the claims at `places`, in their order and each once, space-separated (RFC
/// 6749 section 3.3). A claim is a text with a name between spaces, a list of names, or an object
/// whose members' names are the names. A claim that is missing has none. Returns `None` if one has
/// another type.
///
/// The text of a single claim is returned as it is. Otherwise a name is left out if the scope would
/// become longer than [`SCOPE_BYTES_MAX`], or if it has a space or a control character. It is one
/// name, such as a group's, and would be read as several scopes.
pub(super) fn of(members: &Map<String, Value>, places: &[String]) -> Option<String> {
    let (mut scope, mut known) = (String::new(), Map::new());
    let mut add = |name: &str| {
        let is_one = !name.is_empty() && !name.bytes().any(|b| b <= b' ');
        let fits = scope.len() + name.len() < SCOPE_BYTES_MAX;
        if is_one && fits && known.insert(name.to_owned(), Value::Null).is_none() {
            if !scope.is_empty() {
                scope.push(' ');
            }
            scope.push_str(name);
        }
    };
    // One call for all kinds, since a closure is compiled at each of its calls.
    let mut add_all = |names: &mut dyn Iterator<Item = &str>| names.for_each(&mut add);
    for place in places {
        match path::find(members, place) {
            None => {}
            Some(Value::String(text)) if places.len() == 1 && text.len() <= SCOPE_BYTES_MAX => {
                return Some(text.clone());
            }
            Some(Value::String(text)) => add_all(&mut text.split(' ')),
            Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
                add_all(&mut names.iter().filter_map(Value::as_str));
            }
            // The claim `scope` itself is a text (RFC 8693 section 4.2).
            Some(Value::Object(roles)) if place != "scope" => {
                // `{"admin": false}` grants nothing.
                let is_held = |value: &Value| {
                    matches!(value, Value::Bool(true) | Value::Object(_) | Value::Array(_))
                };
                let held = roles.iter().filter(|(_, value)| is_held(value));
                add_all(&mut held.map(|(name, _)| name.as_str()));
            }
            Some(_) => return None,
        }
    }
    Some(scope)
}

/// The length of a scope: what a JWT, which has no more bytes than a credential, can hold anyway.
const SCOPE_BYTES_MAX: usize = 8192;

#[cfg(test)]
mod tests;
