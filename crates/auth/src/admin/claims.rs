//! Custom claims on the command line.

use serde_json::{Map, Value};

/// Returns the change that `--claim name=value` and `--remove-claim name` ask for; `None` without
/// any. A value that is not JSON is a text.
pub fn claims_patch(
    set: &[String],
    removed: &[String],
) -> Result<Option<Map<String, Value>>, String> {
    let mut patch = Map::new();
    for text in set {
        let Some((name, value)) = text.split_once('=') else {
            return Err(format!("--claim {text} has no value; give name=value, as in plan=pro"));
        };
        let value = match serde_json::from_str(value) {
            Ok(Value::Null) => {
                return Err(format!("--claim {name} is null; remove it by --remove-claim {name}"));
            }
            Ok(value) => value,
            Err(_) => Value::from(value),
        };
        if patch.insert(name.to_owned(), value).is_some() {
            return Err(format!("--claim {name} is given twice; give one value"));
        }
    }
    for name in removed {
        if patch.insert(name.clone(), Value::Null).is_some() {
            return Err(format!("the claim {name} is given twice; set it or remove it"));
        }
    }
    Ok(Some(patch).filter(|patch| !patch.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn value_is_json_or_else_a_text() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let patch = |set: &[&str], removed: &[&str]| {
            claims_patch(&texts(set), &texts(removed)).map(|patch| patch.map(Value::Object))
        };
        let set =
            ["plan=pro", "level=5", "beta=true", "id=\"5\"", "org={\"a\":[1]}", "url=a=b", "e="];
        let expected = json!({ "plan": "pro", "level": 5, "beta": true, "id": "5",
            "org": { "a": [1] }, "url": "a=b", "e": "", "old": null });
        assert_eq!(patch(&set, &["old"]), Ok(Some(expected)));
        assert_eq!(patch(&[], &[]), Ok(None));
        for (set, removed) in [
            (&["plan"][..], &[][..]),
            (&["plan=null"], &[]),
            (&["a=1", "a=2"], &[]),
            (&["a=1"], &["a"]),
            (&[], &["a", "a"]),
        ] {
            assert!(patch(set, removed).is_err(), "{set:?} {removed:?}");
        }
    }
}
