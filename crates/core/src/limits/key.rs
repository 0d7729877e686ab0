//! The text of what a limit counts. The edge makes it from requests, and the auth service from
//! names.

use crate::json;
use crate::policy::limit::{Limit, LimitBy};
use crate::request::head::RequestHead;
use crate::token::claims::Claims;
use serde_json::Value;

/// The parts of a request that limits can count.
pub(crate) struct LimitInput<'a> {
    pub(crate) head: &'a RequestHead<'a>,
    pub(crate) address: &'a str,
    pub(crate) route: &'a str,
    pub(crate) claims: Option<&'a Claims>,
}

impl LimitInput<'_> {
    /// Returns the client's country; an empty text if it is unknown.
    fn country(&self) -> String {
        self.head.location().country().map_or(String::new(), |own| own.as_str().to_owned())
    }

    /// Returns the number of the client's autonomous system; an empty text if it is unknown.
    fn asn(&self) -> String {
        self.head.location().asn().map_or(String::new(), |own| own.to_string())
    }
}

/// Returns the counted key of these parts, in the order of the limit's `by`. `issuer` is that of
/// the token; parts that are not of a token do without it. An address is that of
/// [`crate::address_group`]. The hash of the result is [`crate::StoreKeys::limit_hash`].
pub fn limit_key_text(issuer: &str, parts: &[(LimitBy, &str)]) -> String {
    let mut key = String::new();
    for (by, value) in parts {
        push_part(&mut key, if by.needs_token() { issuer } else { "" }, "", value);
    }
    key
}

impl Limit {
    /// Returns the counted key of a request.
    pub(crate) fn key(&self, input: &LimitInput<'_>) -> String {
        let mut key = String::new();
        let claims = input.claims;
        for by in &self.by {
            let (issuer, name) = match by {
                LimitBy::Address => ("", input.address.to_owned()),
                LimitBy::Route => ("", input.route.to_owned()),
                LimitBy::Header(name) => {
                    ("", input.head.header(name).unwrap_or_default().to_owned())
                }
                LimitBy::Subject => with_issuer(claims, |claims| {
                    claims.subject().map(str::to_owned).or_else(|| claims.client_id.clone())
                }),
                LimitBy::Client => with_issuer(claims, |claims| claims.client_id.clone()),
                LimitBy::Session => with_issuer(claims, |claims| claims.sid.clone()),
                LimitBy::Key => {
                    with_issuer(claims, |claims| claims.key.as_ref().and(claims.jti.clone()))
                }
                LimitBy::Country => ("", input.country()),
                LimitBy::Asn => ("", input.asn()),
                LimitBy::Claim(name) => {
                    with_issuer(claims, |claims| claims.others.get(name).map(plain))
                }
            };
            // A client that acts for itself may have the same name as a user. No escaped name
            // begins like this.
            let is_client =
                *by == LimitBy::Subject && claims.is_some_and(|claims| claims.subject().is_none());
            push_part(&mut key, issuer, if is_client { "\\client:" } else { "" }, &name);
        }
        // An API key with a quota of its own is counted by itself, so that neither it nor others
        // are counted by the wrong quota. No other key has one part more.
        if let Some(claims) = claims.filter(|claims| self.own_quota(claims).is_some()) {
            push_part(&mut key, &claims.iss, "\\key:", claims.jti.as_deref().unwrap_or_default());
        }
        key
    }
}

/// Adds a part. A line break ends it: no header field can contain one, and in a claim it is
/// escaped.
fn push_part(key: &mut String, issuer: &str, mark: &str, name: &str) {
    let name = name.replace('\\', "\\\\").replace('\n', "\\n");
    for part in [issuer, "\n", mark, &name, "\n"] {
        key.push_str(part);
    }
}

/// Returns a claim together with its issuer, because two issuers may use the same names.
fn with_issuer(
    claims: Option<&Claims>,
    name: impl Fn(&Claims) -> Option<String>,
) -> (&str, String) {
    match claims {
        Some(claims) => (&claims.iss, name(claims).unwrap_or_default()),
        None => ("", String::new()),
    }
}

/// Returns a claim's value as a plan or a counted name.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| json::write::text(value), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::fixtures::{claims, limit};
    use crate::store::keys::StoreKeys;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn key(by: &[&str], claims: Option<&Claims>, fields: Vec<(&str, &str)>) -> String {
        let by = by.iter().map(|text| LimitBy::parse(text).unwrap()).collect();
        let head = RequestHead::new("GET", "https://a/", fields);
        let input = LimitInput { head: &head, address: "192.0.2.1", route: "api", claims };
        Limit { by, ..limit() }.key(&input)
    }

    fn of(by: &[&str], sub: &str, fields: Vec<(&str, &str)>) -> String {
        let claims = claims(sub, &[("plan", "pro".into()), ("level", 3.into())]);
        key(by, Some(&claims), fields)
    }

    #[test]
    fn limit_key_differs_for_each_combination() {
        assert_eq!(of(&["claim:level"], "a", vec![]), "https://issuer.example\n3\n");
        let both = of(&["subject", "route"], "a", vec![]);
        assert_ne!(both, of(&["subject"], "a", vec![]));
        // Two different pairs of a claim and a field never give the same key.
        assert_ne!(
            of(&["subject", "header:x-a"], "a", vec![("x-a", "b")]),
            of(&["subject", "header:x-a"], "a\n\nb", vec![("x-a", "")])
        );
        assert_ne!(of(&["subject"], "a\\n", vec![]), of(&["subject"], "a\n", vec![]));
        for text in ["", "claim:", "header:", "addresses", "claim"] {
            assert!(LimitBy::parse(text).is_none(), "{text}");
        }
    }

    /// Keys that stores have already. The auth service makes the same ones from names.
    #[test]
    fn limit_key_stays_the_same() {
        const ISSUER: &str = "https://issuer.example";
        let golden: [(&[&str], &[&str], &str, &str); 5] = [
            (
                &["address"],
                &["192.0.2.1"],
                "\n192.0.2.1\n",
                "urr4X1JK0KM8fYXpl6fq3QVzflvg8GHxrzIJaLZUEEw",
            ),
            (&["subject"], &["a"], "https://issuer.example\na\n", ""),
            (
                &["subject", "route", "header:X-Tenant"],
                &["b\\\nc", "api", "t"],
                "https://issuer.example\nb\\\\\\nc\n\napi\n\nt\n",
                "",
            ),
            (&["session"], &["sid"], "https://issuer.example\nsid\n", ""),
            (
                &["claim:plan", "client"],
                &["pro", ""],
                "https://issuer.example\npro\nhttps://issuer.example\n\n",
                "",
            ),
        ];
        for (by, values, text, hash) in golden {
            let sub = if values[0] == "b\\\nc" { values[0] } else { "a" };
            assert_eq!(of(by, sub, vec![("x-tenant", "t")]), text);
            let by = by.iter().map(|text| LimitBy::parse(text).unwrap());
            let parts: Vec<(LimitBy, &str)> = by.zip(values.iter().copied()).collect();
            assert_eq!(limit_key_text(ISSUER, &parts), text);
            if !hash.is_empty() {
                let own = URL_SAFE_NO_PAD.encode(StoreKeys::limit_hash("api", text));
                assert_eq!(own, hash);
            }
        }
        // A client that acts for itself is not a user of its name.
        let client = Claims { client_id: Some("svc".into()), ..claims("", &[]) };
        let key = key(&["subject"], Some(&client), vec![]);
        assert_eq!(key, "https://issuer.example\n\\client:svc\n");
        assert_ne!(limit_key_text(ISSUER, &[(LimitBy::Subject, "\\client:svc")]), key);
    }
}
