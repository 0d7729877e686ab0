//! The module that gives a policy to the Worker.

use serde_json::{Map, Value};

/// Returns the text of the JavaScript module that gives a policy file to the Worker.
///
/// # Errors
///
/// The text is not TOML. The policy is not validated; `check` does that.
pub fn worker_module(policy_file: &str) -> Result<String, String> {
    let sections: Map<String, Value> =
        toml::from_str(policy_file).map_err(|error| error.to_string())?;
    Ok(module_of(&sections))
}

/// Does the same for the sections of a policy.
pub fn module_of(sections: &Map<String, Value>) -> String {
    let text = Value::Object(sections.clone()).to_string();
    format!("export default {};\n", Value::String(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_holds_the_policy_as_a_string_literal() {
        let module = worker_module("[store]\nurl = \"a\\\"\\u2028b\"\n").unwrap();
        let literal = module.strip_prefix("export default ").unwrap().strip_suffix(";\n").unwrap();
        let text: String = serde_json::from_str(literal).unwrap();
        let policy: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(policy["store"]["url"], "a\"\u{2028}b");
        assert!(worker_module("[store").is_err());
    }
}
