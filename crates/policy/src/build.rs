//! The module that gives a policy to the Worker.

use crate::file::{module, sections};

/// Returns the text of the JavaScript module that gives a policy file to the Worker.
///
/// # Errors
///
/// The text is not TOML. The policy is not validated; `check` does that.
pub fn worker_module(policy_file: &str) -> Result<String, String> {
    Ok(module(&sections("portcullis.toml", policy_file.to_owned())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

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
