//! The names of the header fields that identify the caller to an upstream.

use crate::request::field_names::IDENTITY_PREFIX;
use std::collections::BTreeMap;

/// The names of the identity fields.
#[derive(Clone, Debug)]
pub struct IdentityFields {
    pub(crate) subject: String,
    pub(crate) scope: String,
    pub(crate) session: String,
    pub(crate) client: String,
    /// The field of the issuer; omitted if there is only one issuer, unless it is named.
    pub(crate) issuer: Option<String>,
    /// The places of other claims, each with its field.
    pub(crate) claims: BTreeMap<String, String>,
}

impl Default for IdentityFields {
    fn default() -> Self {
        let [subject, scope, session, client] = ["subject", "scope", "session", "client"]
            .map(|name| format!("{IDENTITY_PREFIX}{name}"));
        Self { subject, scope, session, client, issuer: None, claims: BTreeMap::new() }
    }
}

impl IdentityFields {
    /// Returns the claims that have a field, beyond those that always have one.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &str> {
        self.claims.keys().map(String::as_str)
    }

    /// Returns the name of each field.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        [&self.subject, &self.scope, &self.session, &self.client]
            .into_iter()
            .chain(&self.issuer)
            .chain(self.claims.values())
    }
}
