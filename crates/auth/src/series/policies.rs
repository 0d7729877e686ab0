//! The limits of a policy, as the edges report it.

use portcullis_core::TokenHash;
use serde_json::Value;

/// The settings of a limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitSettings {
    pub name: String,
    /// The routes that it counts.
    pub routes: Vec<String>,
    pub algorithm: String,
    pub quota: Option<u64>,
    /// The window; `None` for a period of the calendar and for credits.
    pub window_seconds: Option<u64>,
    pub period: Option<String>,
    pub by: Vec<String>,
    pub overrides: bool,
    pub shadow: bool,
}

/// Returns the hash of a policy's text, as the edges make it. What the store has under another hash
/// was not written by an edge.
pub fn policy_hash(text: &str) -> String {
    let mut hash = TokenHash::of(text).to_string();
    hash.truncate(HASH_LENGTH);
    hash
}

/// Returns the limits of a policy: those that routes share, and the routes' own. Skips what has
/// another form than expected, since a newer edge may have written it.
pub fn limits_of(document: &Value) -> Vec<LimitSettings> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut limits: Vec<LimitSettings> = list(&document["limits"])
        .iter()
        .filter_map(|limit| Some(read(limit["name"].as_str()?, limit)))
        .collect();
    for route in &list(&document["routes"]) {
        let Some(name) = route["name"].as_str() else { continue };
        let named = [&route["limits"], &route["anonymous_limits"]];
        let named: Vec<String> = named.into_iter().flat_map(texts).collect();
        for limit in limits.iter_mut().filter(|limit| named.contains(&limit.name)) {
            if limit.routes.iter().all(|own| own != name) {
                limit.routes.push(name.to_owned());
            }
        }
        if route["limit"].is_object() {
            let mut own = read(name, &route["limit"]);
            own.routes.push(name.to_owned());
            limits.push(own);
        }
    }
    limits.truncate(LIMITS_MAX);
    limits
}

fn read(name: &str, limit: &Value) -> LimitSettings {
    let period = limit["period"].as_str().map(str::to_owned);
    let default = if period.is_some() { "period" } else { "gcra" };
    LimitSettings {
        name: name.to_owned(),
        routes: Vec::new(),
        algorithm: limit["algorithm"].as_str().unwrap_or(default).to_owned(),
        quota: limit["quota"].as_u64(),
        window_seconds: limit["window_seconds"].as_u64(),
        period,
        by: texts(&limit["by"]),
        overrides: limit["overrides"].as_bool().unwrap_or(false),
        shadow: limit["shadow"].as_bool().unwrap_or(false),
    }
}

/// Returns one text or a list of them.
fn texts(value: &Value) -> Vec<String> {
    let one = value.as_str().into_iter();
    let many = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    one.chain(many).map(str::to_owned).collect()
}

/// More than any policy has.
const LIMITS_MAX: usize = 1000;
/// How many characters of the hash the edges use.
const HASH_LENGTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_are_those_of_the_routes_and_the_shared_ones() {
        let document = json!({
            "limits": [
                {"name": "api", "quota": 100, "window_seconds": 60, "by": ["subject", "route"],
                 "overrides": true},
                {"name": "month", "quota": 9, "period": "month", "by": "client", "shadow": true},
                {"quota": 1}, 7,
            ],
            "routes": [
                {"name": "a", "limits": ["api", "month"], "anonymous_limits": ["api"]},
                {"name": "b", "limits": "api",
                 "limit": {"quota": 5, "window_seconds": 1, "by": "address",
                           "algorithm": "fixed_window"}},
                {"limit": {}}, "x",
            ],
        });
        let limits = limits_of(&document);
        let expect = [
            ("api", vec!["a", "b"], "gcra", Some(100), Some(60), vec!["subject", "route"]),
            ("month", vec!["a"], "period", Some(9), None, vec!["client"]),
            ("b", vec!["b"], "fixed_window", Some(5), Some(1), vec!["address"]),
        ];
        assert_eq!(limits.len(), expect.len());
        for (limit, (name, routes, algorithm, quota, window, by)) in limits.iter().zip(expect) {
            assert_eq!(limit.name, name);
            assert_eq!(limit.routes, routes);
            assert_eq!(limit.algorithm, algorithm);
            assert_eq!((limit.quota, limit.window_seconds), (quota, window));
            assert_eq!(limit.by, by);
        }
        assert!(limits[0].overrides && limits[1].shadow && !limits[2].shadow);
        for odd in [json!(null), json!([]), json!({"limits": {}, "routes": 5})] {
            assert_eq!(limits_of(&odd), []);
        }
    }

    /// `printf '{}' | openssl dgst -sha256 -binary | basenc --base64url` begins so.
    #[test]
    fn hash_is_the_begin_of_the_digest() {
        assert_eq!(policy_hash("{}"), "RBNvo1WzZ4oRRq0W");
        assert_ne!(policy_hash("{} "), policy_hash("{}"));
    }
}
