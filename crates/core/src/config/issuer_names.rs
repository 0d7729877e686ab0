//! The names of an issuer: the values of `iss` that its tokens may have.

use super::error::ConfigErrorKind;
use super::object::ObjectReader;
use crate::policy::issuer::Issuer;
use crate::policy::tenants::{TENANT, is_tenant};

/// The names of one issuer.
pub(super) struct Names {
    pub(super) issuer: Option<String>,
    pub(super) aliases: Vec<String>,
    pub(super) tenants: Option<Vec<String>>,
}

/// Reads the issuer, its aliases, and its tenants if the issuer has a place for them.
pub(super) fn read(object: &mut ObjectReader<'_, '_>) -> Names {
    let issuer = object.nonempty_text("issuer");
    let is_template = issuer.as_ref().is_some_and(|issuer| issuer.contains(TENANT));
    let without_mark = issuer.as_ref().map(|issuer| issuer.replacen(TENANT, "_", 1));
    if without_mark.is_some_and(|text| !text.is_empty() && !is_literal(&text)) {
        object.add_error("issuer", ConfigErrorKind::NotA("without braces, but for one {tenant}"));
    }
    let aliases = object.one_or_more("issuer_aliases", LITERAL, is_literal);
    if is_template && !aliases.is_empty() {
        let kind = ConfigErrorKind::NotThere("where issuer has {tenant}");
        object.add_error("issuer_aliases", kind);
    }
    let tenants = object.one_or_more("tenants", ConfigErrorKind::NotATenant, is_tenant);
    let may_have_tenants = is_template || object.settings.is_assumed(&object.at("issuer"));
    if !may_have_tenants && !tenants.is_empty() {
        let kind = ConfigErrorKind::NotThere("where issuer has no {tenant}");
        object.add_error("tenants", kind);
    }
    Names { issuer, aliases, tenants: is_template.then_some(tenants) }
}

fn is_literal(text: &str) -> bool {
    !text.is_empty() && !text.contains(['{', '}'])
}

/// Adds an error for each name that an earlier issuer has. One issuer may have an entry for its
/// JWTs and one for its opaque tokens.
pub(super) fn check(object: &mut ObjectReader<'_, '_>, issuer: &Issuer, earlier: &[Issuer]) {
    let aliases = issuer.aliases.iter().map(|alias| ("issuer_aliases", alias.clone()));
    let mut names: Vec<_> = issuer.names().into_iter().map(|name| ("issuer", name)).collect();
    if names.is_empty() {
        names.push(("issuer", issuer.issuer.replace(TENANT, ANY_TENANT)));
    }
    names.extend(aliases);
    if issuer.aliases.contains(&issuer.issuer) {
        object.add_error("issuer_aliases", ConfigErrorKind::Duplicate);
    }
    for (at, other) in earlier.iter().enumerate() {
        let same_kind = other.keys.is_some() == issuer.keys.is_some();
        let same_name = || ConfigErrorKind::SameName(format!("issuers[{at}]"));
        if other.issuer == issuer.issuer {
            if same_kind {
                object.add_error("issuer", same_name());
            }
            continue;
        }
        let kind = match (&other.tenants, &issuer.tenants) {
            (None, None) => same_name(),
            (Some(_), _) if same_kind => ConfigErrorKind::IssuerShadowed(other.issuer.clone()),
            // One tenant may have an entry before that of all tenants.
            (None, Some(_)) | (Some(_), _) => continue,
        };
        if let Some((member, _)) = names.iter().find(|(_, name)| other.accepts(name)) {
            object.add_error(member, kind);
        }
    }
}

const LITERAL: ConfigErrorKind = ConfigErrorKind::NotA("a text without braces");
/// A tenant that stands for all, in the form that most providers use.
const ANY_TENANT: &str = "00000000-0000-0000-0000-000000000000";
