//! `ISSUERS`: whose tokens are accepted, and who vouches for them.

use super::Secret;
use super::fault::Fault;
use super::reader::Reader;
use crate::introspection::{ClientAuth, Introspection};
use crate::issuer::{Issuer, KeyLocation, TokenType, is_url};
use crate::jwks::{Algorithm, Jwks, KeyFault, KeySource};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    issuer: String,
    audience: String,
    #[serde(default)]
    algorithms: Vec<Algorithm>,
    jwks_url: Option<String>,
    metadata_url: Option<String>,
    jwks: Option<Value>,
    jwks_variable: Option<String>,
    #[serde(default)]
    token_type: TokenType,
    #[serde(default = "leeway_seconds")]
    leeway_seconds: u32,
    #[serde(default = "scope_claim")]
    scope_claim: String,
    #[serde(default)]
    sessions_in_store: bool,
    introspection: Option<RawIntrospection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIntrospection {
    url: String,
    client_id: String,
    client_secret_variable: String,
    #[serde(default)]
    client_auth: ClientAuth,
    #[serde(default)]
    revocations_in_store: bool,
    #[serde(default)]
    token_prefix: String,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    pub(super) fn issuers(&mut self) -> Vec<Issuer> {
        let mut issuers: Vec<Issuer> = Vec::new();
        for (place, raw) in self.list::<RawIssuer>("ISSUERS") {
            for (name, text) in [
                ("issuer", &raw.issuer),
                ("audience", &raw.audience),
                ("scope_claim", &raw.scope_claim),
            ] {
                if text.is_empty() {
                    self.fault(format!("{place}.{name}"), Fault::Empty);
                }
            }
            self.within(
                format!("{place}.leeway_seconds"),
                raw.leeway_seconds,
                0,
                LEEWAY_SECONDS_MAX,
            );
            if raw.sessions_in_store && !self.has_scripts() {
                self.fault(format!("{place}.sessions_in_store"), Fault::NotWithMemcached);
            }
            let keys = self.key_location(&place, &raw);
            // One issuer may have JWTs and opaque tokens, each with an entry of their own.
            let alike = |other: &Issuer| {
                other.issuer == raw.issuer && other.keys.is_some() == keys.is_some()
            };
            if issuers.iter().any(alike) {
                self.fault(format!("{place}.issuer"), Fault::Duplicate);
            }
            let introspection = raw.introspection.map(|raw| self.introspection(&place, raw));
            if let (None, Some(provider)) = (&keys, &introspection) {
                let taken = |other: &Issuer| {
                    other.keys.is_none()
                        && other.introspection.as_ref().is_some_and(|other| {
                            provider.token_prefix.starts_with(&other.token_prefix)
                        })
                };
                if issuers.iter().any(taken) {
                    self.fault(format!("{place}.introspection.token_prefix"), Fault::TokenPrefix);
                }
            }
            issuers.push(Issuer {
                issuer: raw.issuer,
                audience: raw.audience,
                algorithms: raw.algorithms,
                keys,
                token_type: raw.token_type,
                leeway_seconds: raw.leeway_seconds.into(),
                scope_claim: raw.scope_claim,
                sessions_in_store: raw.sessions_in_store,
                introspection,
            });
        }
        issuers
    }

    /// The one way to the issuer's keys.
    fn key_location(&mut self, place: &str, raw: &RawIssuer) -> Option<KeyLocation> {
        let ways = [
            raw.jwks_url.is_some(),
            raw.metadata_url.is_some(),
            raw.jwks.is_some(),
            raw.jwks_variable.is_some(),
        ];
        let count = ways.into_iter().filter(|given| *given).count();
        let opaque = count == 0 && raw.introspection.is_some() && raw.algorithms.is_empty();
        if count != 1 && !opaque {
            self.fault(place, Fault::KeysUnclear);
            return None;
        }
        if opaque {
            return None;
        }
        if raw.algorithms.is_empty() {
            self.fault(format!("{place}.algorithms"), Fault::Empty);
        }
        if raw.jwks_variable.is_none() && raw.algorithms.iter().any(|alg| alg.is_secret()) {
            self.fault(format!("{place}.algorithms"), Fault::Key(KeyFault::SecretPublished));
        }
        let mut url = |name: &str, url: &String| {
            if !is_url(url) {
                self.fault(format!("{place}.{name}"), Fault::NotAUrl);
            }
            url.clone()
        };
        if let Some(text) = &raw.jwks_url {
            return Some(KeyLocation::Url(url("jwks_url", text)));
        }
        if let Some(text) = &raw.metadata_url {
            return Some(KeyLocation::Metadata(url("metadata_url", text)));
        }
        let (name, text, source) = match (&raw.jwks, &raw.jwks_variable) {
            (Some(set), _) => (format!("{place}.jwks"), set.to_string(), KeySource::Published),
            (None, Some(variable)) => {
                (variable.clone(), self.required(variable)?, KeySource::Secret)
            }
            (None, None) => return None,
        };
        match Jwks::parse(&text, &raw.algorithms, source) {
            Ok((keys, faults)) => {
                if keys.keys().is_empty() && faults.is_empty() {
                    self.fault(format!("{name}.keys"), Fault::Empty);
                }
                for (key, fault) in faults {
                    self.fault(format!("{name}.keys[{key}]"), Fault::Key(fault));
                }
                let kids: Vec<_> = keys.keys().iter().map(|key| &key.kid).collect();
                if kids.iter().enumerate().any(|(at, kid)| kids.iter().take(at).any(|k| k == kid)) {
                    self.fault(format!("{name}.keys: kid"), Fault::Duplicate);
                }
                Some(KeyLocation::Inline(keys))
            }
            Err(fault) => {
                self.fault(name, Fault::Shape(format!("{fault:?}")));
                None
            }
        }
    }

    fn introspection(&mut self, place: &str, raw: RawIntrospection) -> Introspection {
        if !is_url(&raw.url) {
            self.fault(format!("{place}.introspection.url"), Fault::NotAUrl);
        }
        if raw.client_id.is_empty() {
            self.fault(format!("{place}.introspection.client_id"), Fault::Empty);
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_~+/".contains(&b);
        if !raw.token_prefix.bytes().all(fits) {
            self.fault(format!("{place}.introspection.token_prefix"), Fault::NotATokenPrefix);
        }
        let secret = self.required(&raw.client_secret_variable).unwrap_or_default();
        Introspection {
            url: raw.url,
            client_id: raw.client_id,
            client_secret: Secret::new(secret),
            client_auth: raw.client_auth,
            revocations_in_store: raw.revocations_in_store,
            token_prefix: raw.token_prefix,
        }
    }
}

fn leeway_seconds() -> u32 {
    30
}

fn scope_claim() -> String {
    "scope".to_owned()
}

const LEEWAY_SECONDS_MAX: u32 = 300;
