//! The syntax of scopes.

/// Returns a scope (RFC 6749 section 3.3) with each name once, separated by single spaces.
///
/// # Errors
///
/// What is wrong with it, and how it should be.
pub fn normal_scope(scope: &str) -> Result<String, &'static str> {
    let mut names: Vec<&str> = Vec::new();
    for name in scope.split(' ').filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let is_allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let scope = names.join(" ");
    if scope.len() > SCOPE_BYTES_MAX || !names.iter().all(|name| name.bytes().all(is_allowed)) {
        return Err(
            "scope must be names separated by spaces, without \" and \\, at most 1024 bytes",
        );
    }
    Ok(scope)
}

/// What a scope allows in the console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConsoleAccess {
    /// To see everything.
    Read,
    /// To see and to change everything.
    Act,
}

impl ConsoleAccess {
    /// The name in a scope that allows to see.
    pub const READ: &str = "console:read";
    /// The name in a scope that allows to change, and to see.
    pub const ACT: &str = "console:act";

    /// Returns what a scope allows, or `None` if it does not allow the console.
    pub fn of(scope: &str) -> Option<Self> {
        let has = |wanted: &str| scope.split(' ').any(|name| name == wanted);
        match (has(Self::ACT), has(Self::READ)) {
            (true, _) => Some(Self::Act),
            (false, true) => Some(Self::Read),
            (false, false) => None,
        }
    }
}

const SCOPE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_has_each_name_once_and_only_allowed_characters() {
        assert_eq!(normal_scope("  b a  b:x a"), Ok("b a b:x".to_owned()));
        assert_eq!(normal_scope(""), Ok(String::new()));
        assert!(normal_scope(&"x".repeat(1024)).is_ok());
        let long = "x".repeat(1025);
        for bad in ["a\"", "a\\b", "é", "a\tb", "a\u{0}", "a\u{7f}", &long] {
            assert!(normal_scope(bad).is_err(), "{bad}");
        }
    }
}
