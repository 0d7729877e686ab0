//! `[identity]`: the names of the header fields that identify the caller.

use super::error::ConfigErrorKind;
use super::object::ObjectReader;
use super::record::{MemberShape, TextFormat};
use super::settings::SettingsReader;
use crate::policy::identity::IdentityFields;
use crate::policy::issuer::Issuer;
use crate::request::field_names::{self, IDENTITY_PREFIX};

/// Reads the section. `assertion_field` is the field of the signed assertion, which is taken. With
/// more than one of `issuers`, the upstream receives the caller's issuer. A name that HTTP or the
/// edge uses otherwise, and one that occurs twice, is an error.
pub(super) fn read(
    settings: &mut SettingsReader<'_>,
    assertion_field: Option<&String>,
    issuers: &[Issuer],
) -> IdentityFields {
    let mut fields = settings.optional_section("identity").map(read_object).unwrap_or_default();
    // Issuers may give the same subject to different callers.
    let several = issuers.windows(2).any(|pair| matches!(pair, [a, b] if a.issuer != b.issuer))
        || issuers.iter().any(|issuer| issuer.tenants.is_some());
    if several && fields.issuer.is_none() {
        fields.issuer = Some(format!("{IDENTITY_PREFIX}issuer"));
    }
    let members = ["subject", "scope", "session", "client"].map(str::to_owned).into_iter();
    let members = members.chain(fields.issuer.iter().map(|_| "issuer".to_owned()));
    let members = members.chain(fields.claims.keys().map(|claim| format!("claims.{claim}")));
    let mut taken: Vec<&String> = assertion_field.into_iter().collect();
    for (member, name) in members.zip(fields.names()) {
        if !field_names::is_available(name) {
            settings.add_error(format!("identity.{member}"), ConfigErrorKind::NotAField);
        }
        if taken.contains(&name) {
            settings.add_error(format!("identity.{member}"), ConfigErrorKind::Duplicate);
        }
        taken.push(name);
    }
    fields
}

fn read_object(mut object: ObjectReader<'_, '_>) -> IdentityFields {
    let mut fields = IdentityFields::default();
    for (member, name) in [
        ("subject", &mut fields.subject),
        ("scope", &mut fields.scope),
        ("session", &mut fields.session),
        ("client", &mut fields.client),
    ] {
        let text = object.text_or(member, name);
        *name = text;
    }
    fields.issuer = object.text("issuer");
    let text = || Box::new(MemberShape::Text(TextFormat::Any));
    object.record("claims", || MemberShape::Map { of: text(), min: 0 });
    if let Some(mut claims) = object.object("claims") {
        for claim in claims.names() {
            claims.check_place(&claim, &claim);
            let name = claims.text(&claim);
            fields.claims.extend(name.map(|name| (claim, name)));
        }
        claims.finish();
    }
    object.finish();
    fields
}
