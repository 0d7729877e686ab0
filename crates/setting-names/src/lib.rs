//! Finds variables whose names are misspelt names of settings. Such a variable would otherwise be
//! ignored, and the setting would keep its default.
//!
//! ```
//! let settings = ["STORE_URL", "KEY_PREFIX"];
//! assert_eq!(setting_names::misspelt("STORE_ULR", &settings, &[]), Some("STORE_URL"));
//! assert_eq!(setting_names::misspelt("STORE_URL", &settings, &[]), None);
//! assert_eq!(setting_names::misspelt("HOME", &settings, &[]), None);
//! // A name that begins as the program's own names do always means a setting.
//! assert!(setting_names::misspelt("KEY_NAMESPACE", &settings, &["KEY_"]).is_some());
//! ```

/// Returns the setting that the variable `name` seems to mean: one as near as [`nearest`] finds it,
/// or the nearest of all if the name begins like a program's own (`namespaces`). Returns `None` for
/// a setting itself, and for a variable that has nothing to do with the program.
pub fn misspelt<'s>(name: &str, settings: &[&'s str], namespaces: &[&str]) -> Option<&'s str> {
    if settings.contains(&name) {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    if let Some(setting) = nearest(&upper, settings) {
        return Some(setting);
    }
    let is_own = namespaces.iter().any(|namespace| upper.starts_with(namespace));
    if !is_own || is_service_variable(&upper) {
        return None;
    }
    settings.iter().min_by_key(|setting| edits(&upper, setting)).copied()
}

/// Returns the one of `known` that is nearest to `name`, within two edits, or within one for names
/// of fewer than eight letters. Returns `None` if there is none.
pub fn nearest<'s>(name: &str, known: &[&'s str]) -> Option<&'s str> {
    let near = known.iter().filter(|known| edits(name, known) <= edits_max(known));
    near.min_by_key(|known| edits(name, known)).copied()
}

/// Two edits make many other words of a short name.
fn edits_max(setting: &str) -> usize {
    if setting.len() < 8 { 1 } else { 2 }
}

/// Returns whether Kubernetes sets such a variable for each service of a namespace.
fn is_service_variable(name: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"].iter().any(|part| name.contains(part))
        || name.ends_with("_PORT")
}

/// Returns how many letters must be inserted, removed or replaced to make `b` of `a`.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (place, letter) in a.bytes().enumerate() {
        let (mut diagonal, mut left) = (place, place + 1);
        for (above, other) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = *above;
            left = replaced.min(*above + 1).min(left + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = place + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn misspelt_name_is_found_and_foreign_names_are_not() {
        fn check(name: &str, expect: Option<&str>) {
            let settings = ["LOG", "STORE_URL", "REVOCATION_SECONDS_MAX", "ISSUER", "KEY_PREFIX"];
            assert_eq!(misspelt(name, &settings, &["REVOCATION_"]), expect, "{name}");
        }
        check("REVOCATION_SECONDS_MAX", None);
        check("REVOCATION_SECOND_MAX", Some("REVOCATION_SECONDS_MAX"));
        check("REVOCATION_SECNODS_MAX", Some("REVOCATION_SECONDS_MAX"));
        check("revocation_seconds_max", Some("REVOCATION_SECONDS_MAX"));
        check("REVOCATION_DELAY", Some("REVOCATION_SECONDS_MAX"));
        check("REVOCATION_SERVICE_HOST", None);
        check("REVOCATION_PORT_8080_TCP", None);
        check("STORE_URLS", Some("STORE_URL"));
        check("STORE_URL_S", Some("STORE_URL"));
        check("STORE_URL_OF", None);
        check("KEY_PREFIXES", Some("KEY_PREFIX"));
        check("LOGS", Some("LOG"));
        for foreign in
            ["BLOB", "USER", "PATH", "HOME", "LANG", "LOGNAME", "DATABASE", "KV", "", "É"]
        {
            check(foreign, None);
        }
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, expect) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "ac", 1),
            ("abc", "xabc", 1),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edits(a, b), expect, "{a} {b}");
        }
    }
}
