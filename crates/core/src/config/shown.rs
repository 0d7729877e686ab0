//! The policy as operators may see it: its sections, with variables and without secrets.

use crate::json::write::map_text;
use crate::policy::operator::PolicyDocument;
use crate::token_hash::TokenHash;
use serde_json::{Map, Value};

/// Returns the sections as a document. The file has no secrets, but a variable may. So each text
/// with a value of `secrets` is hidden. Users and queries of URLs are hidden, too, and private
/// members of keys.
pub(super) fn document(mut sections: Map<String, Value>, secrets: &[String]) -> PolicyDocument {
    sections.values_mut().for_each(|value| hide(value, secrets));
    let text = map_text(&sections);
    let mut hash = TokenHash::of(&text).to_string();
    hash.truncate(HASH_LENGTH);
    PolicyDocument { text, hash }
}

fn hide(value: &mut Value, secrets: &[String]) {
    match value {
        Value::String(text) => {
            let is_in = |secret: &String| text.contains(secret.as_str());
            if secrets.iter().any(is_in) || text.contains("PRIVATE KEY") {
                HIDDEN.clone_into(text);
            }
            hide_in_urls(text);
        }
        Value::Array(values) => values.iter_mut().for_each(|value| hide(value, secrets)),
        Value::Object(members) => {
            let is_key = members.contains_key("kty");
            for (name, value) in members {
                if is_key && PRIVATE.contains(&name.as_str()) {
                    *value = HIDDEN.into();
                }
                hide(value, secrets);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Hides the user (RFC 3986 section 3.2.1) of each URL in a text, and all that follows the first
/// `?`, as it may be a query.
fn hide_in_urls(text: &mut String) {
    if !text.contains("://") {
        return;
    }
    if let Some(query) = text.find('?') {
        text.truncate(query + 1);
        text.push_str(HIDDEN);
    }
    let mut host = 0;
    while let Some(at) = text.get(host..).and_then(|rest| rest.find("://")) {
        host += at + 3;
        let rest = text.get(host..).unwrap_or_default();
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if let Some(at) = rest.get(..end).and_then(|authority| authority.rfind('@')) {
            text.replace_range(host..=host + at, "");
        }
    }
}

const HIDDEN: &str = "hidden";
/// The private members of keys (RFC 7518 section 6).
const PRIVATE: [&str; 8] = ["d", "dp", "dq", "k", "oth", "p", "q", "qi"];
const HASH_LENGTH: usize = 16;

#[cfg(test)]
mod tests {
    use crate::config::fixtures::{lookup, policy_with};
    use crate::policy::Policy;
    use serde_json::{Value, json};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn shown(changes: &[(&str, &str)]) -> Value {
        let all = [&[("metrics.interval_seconds", "10")], changes].concat();
        serde_json::from_str(&policy_with(&all).document.unwrap().text).unwrap()
    }

    #[test]
    fn document_has_the_variables_and_the_environment_that_apply() {
        let changes = [
            ("env.staging", r#"{"revocation":{"delay_seconds_max":7}}"#),
            ("revocation.delay_seconds_max", "60"),
            ("upstream.url", "${UPSTREAM}"),
            ("UPSTREAM", "https://inner.example/v1"),
            ("PORTCULLIS_ENV", "staging"),
        ];
        let document = shown(&changes);
        assert_eq!(document["upstream"]["url"], "https://inner.example/v1");
        assert_eq!(document["revocation"]["delay_seconds_max"], 7);
        assert_eq!(document.get("env"), None);
        // It can be read again.
        let text = document.to_string();
        assert!(Policy::parse(&text, lookup(&[])).is_ok(), "{text}");
    }

    #[test]
    fn document_has_no_secret() {
        let issuers = r#"[{"issuer":"https://i","audience":"${STORE_TOKEN}","algorithms":["HS256"],
            "jwks_variable":"KEYS"},{"issuer":"https://j?key=a","audience":"x","introspection":
            {"url":"https://j/introspect?key=query-secret","client_id":"edge","client_secret_variable":"PASS"}},
            {"issuer":"https://k","audience":"x","algorithms":["ES256"],"jwks":{"keys":[{"kty":"EC",
            "crv":"P-256","kid":"1","d":"private-secret",
            "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}}]"#;
        let key = format!(
            r#"{{"keys":[{{"kty":"oct","alg":"HS256","kid":"1","k":"{}"}}]}}"#,
            "A".repeat(43)
        );
        let changes = [
            ("issuers", issuers),
            ("KEYS", &key),
            ("PASS", "provider-secret"),
            ("accept", r#"["at https://u:user-secret@a.example/x provider-secret"]"#),
            ("metrics.path", "/metrics"),
            ("METRICS_TOKEN", "metrics-secret-0123456789"),
            ("resource.url", "${SITE}"),
            ("SITE", "https://a.example/metrics-secret-0123456789"),
        ];
        let text = shown(&changes).to_string();
        for secret in ["-secret", "AAAA", "u:"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        for part in ["https://j/introspect?hidden", r#""client_secret_variable":"PASS""#, "MKBCTN"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        for (text, expect) in [
            ("x https://u:p@h/a@b?c#d", "x https://h/a@b?hidden"),
            ("https://a/b https://u:p@c, https://v@d", "https://a/b https://c, https://d"),
            ("https://u@a,wss://ü:p@b/?c https://v@d", "https://a,wss://b/?hidden"),
            ("c? https://u:p@d", "c?hidden"),
            ("https://u:p@", "https://"),
            ("u:p@h?c", "u:p@h?c"),
        ] {
            let mut shown = text.to_owned();
            super::hide_in_urls(&mut shown);
            assert_eq!(shown, expect);
        }
    }

    #[test]
    fn document_is_made_only_where_it_is_shown() {
        assert!(policy_with(&[]).document.is_none());
        assert!(policy_with(&[("metrics", "{}")]).document.is_none());
        let of = |changes: &[(&str, &str)]| policy_with(changes).document.unwrap();
        let (one, other) = (of(&[("health.path", "/healthz")]), of(&[("health.path", "/health")]));
        assert_eq!((one.hash.len(), other.hash.len()), (16, 16));
        assert_ne!(one.hash, other.hash);
        assert_eq!(
            json!({ "path": "/health" }),
            serde_json::from_str::<Value>(&other.text).unwrap()["health"]
        );
    }
}
