//! Retired names: old words for something that now has another name. They must not come back.

use std::path::PathBuf;

/// Each name, as a whole word. Ordinary English words are not in the list.
const RETIRED: &[&str] = &[
    // Error codes.
    "body_broken",
    "configuration_faulty",
    "failures_exceeded",
    "head_too_large",
    "introspection_faulty",
    "login_cooling",
    "origin_faulty",
    "origin_refused",
    "origin_timeout",
    "origin_unreachable",
    "route_unknown",
    "store_faulty",
    "store_not_asked",
    "store_not_told",
    "token_unknown",
    // Crates, programs, folders, files and variables.
    "ORIGIN_CONFIG",
    "ORIGIN_DEADLINE_MS",
    "ORIGIN_LISTEN",
    "ORIGIN_TOKEN",
    "ORIGIN_URL",
    "SEAL_KEY",
    "crates/gateway",
    "crates/origin",
    "entry.js",
    "gateway-tokens.toml",
    "host.js",
    "origin_config",
    "origin_url",
    "portcullis-gateway",
    "portcullis-origin",
    "portcullis_gateway",
    "portcullis_gateway_",
    "portcullis_origin_",
    "portcullis_origin",
    "seal_key",
    // Members of routes and limits.
    "store_outage",
    "unrevoked",
    // Types and functions.
    "LeftAlone",
    "TokenTravel",
    "charge_guesser",
    "heldValue",
    "holdPromise",
    "is_left_alone",
    "judge_guesser",
    "keep_at_last",
    "late_charges",
    "prove_now",
    "respent",
    "told_fields",
    "vouch_now",
    "vouch_record",
    "vouch_signature",
    "vouched_now",
];

/// Returns every place where a retired name occurs.
pub fn violations(files: &[(PathBuf, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in files {
        for (place, line) in text.lines().enumerate() {
            // The JSON of `cargo xtask stack` has its old members as well as the new ones.
            let old_member = line.contains("\", \"") && text.contains("const OLD_NAMES");
            for name in RETIRED.iter().filter(|name| !old_member && has_word(line, name)) {
                found.push(format!("{}:{}: {name} is a retired name", file.display(), place + 1));
            }
        }
    }
    found
}

/// Returns whether `word` occurs in `line` with no letter, digit, `_` or `-` next to it.
fn has_word(line: &str, word: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        // A name that ends in `_` is the prefix of names.
        !before.is_some_and(inner) && (word.ends_with('_') || !after.is_some_and(inner))
    })
}
