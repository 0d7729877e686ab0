//! What an issuer requires of its tokens' claims, and of the header of its JWTs.

use super::error::ConfigErrorKind;
use super::object::ObjectReader;
use super::record::MemberShape;
use crate::json::path::is_place;
use crate::policy::requirements::Requirements;
use serde_json::Value;

/// Reads the member `part` with the values, and next to it `part_required` and `part_forbidden`.
pub(super) fn read(object: &mut ObjectReader<'_, '_>, part: &str) -> Requirements {
    let places = |object: &mut ObjectReader<'_, '_>, end: &str| {
        object.one_or_more(&[part, end].concat(), ConfigErrorKind::NotAPlace, is_place)
    };
    Requirements {
        values: values(object, part),
        required: places(object, "_required"),
        forbidden: places(object, "_forbidden"),
    }
}

/// Reads a table of places, each with its allowed values.
fn values(object: &mut ObjectReader<'_, '_>, name: &str) -> Vec<(String, Vec<Value>)> {
    let mut found = Vec::new();
    let values = || Box::new(MemberShape::OneOrMore(Box::new(MemberShape::Scalar)));
    let members = match object.value(name, || MemberShape::Map { of: values(), min: 0 }) {
        None => return found,
        Some(Value::Object(members)) => members,
        Some(_) => {
            object.add_error(name, ConfigErrorKind::NotA("a table"));
            return found;
        }
    };
    for (place, value) in members {
        let allowed = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        let scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
        let kind = match is_place(&place) {
            false => Some(ConfigErrorKind::NotAPlace),
            true if allowed.is_empty() || !allowed.iter().all(scalar) => {
                Some(ConfigErrorKind::NotAClaim)
            }
            true => None,
        };
        if let Some(kind) = kind {
            object.add_error(&format!("{name}.{place}"), kind);
        }
        found.push((place, allowed));
    }
    found
}
