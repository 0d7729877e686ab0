//! Values for the tests of this layer and those above.

use super::issuer::{AudienceClaim, Issuer, KeyLocation, TokenType};
use super::path::Pattern;
use super::requirements::Requirements;
use super::route::{Access, Route, StoreOutage, TokenRequirement};
use crate::jose::algorithm::Algorithm;

/// An issuer of JWTs.
pub(crate) fn issuer() -> Issuer {
    Issuer {
        issuer: "https://issuer.example".into(),
        aliases: Vec::new(),
        tenants: None,
        audiences: vec!["api".into()],
        audience_claim: AudienceClaim::Aud,
        authorized_parties: Vec::new(),
        claims: Requirements::default(),
        header: Requirements::default(),
        reading: String::new(),
        algorithms: vec![Algorithm::EdDsa],
        keys: Some(KeyLocation::Url("https://issuer.example/jwks".into())),
        token_type: TokenType::AtJwt,
        leeway_seconds: 30,
        scope_claims: vec!["scope".into()],
        sessions_in_store: false,
        api_key_prefixes: Vec::new(),
        introspection: None,
        resources: Vec::new(),
    }
}

/// A protected route of every path.
pub(crate) fn route() -> Route {
    Route {
        name: "api".into(),
        access: Access::Protected,
        methods: Vec::new(),
        pattern: Pattern::parse("/*").unwrap(),
        suffixes: None,
        scopes: Vec::new(),
        scopes_any: Vec::new(),
        claims: Vec::new(),
        acr_values: Vec::new(),
        max_age_seconds: None,
        issuers: Vec::new(),
        resource: None,
        require: TokenRequirement::Record,
        limits: Vec::new(),
        anonymous_limits: Vec::new(),
        cost: 1,
        on_store_outage: StoreOutage::Deny,
        enforce: true,
        ip_rules: None,
        timeout_ms: None,
        stream_seconds_max: None,
        stream_recheck_seconds: None,
        endpoint: None,
        upstream: None,
        cookie: None,
        api_key_header: None,
        forward_token: false,
        assertion: false,
        assertion_audience: None,
        cors: None,
    }
}
