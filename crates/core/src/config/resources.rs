//! `[resource]` and `[[resources]]`: the APIs that clients know by their URLs (RFC 9728).

use super::error::ConfigErrorKind;
use super::object::ObjectReader;
use super::record::TextFormat;
use super::settings::{SettingsReader, is_safe_name};
use crate::policy::issuer::Issuer;
use crate::policy::resource::{Audiences, Resource};
use crate::policy::route::Route;
use crate::url::BaseUrl;

/// Reads `[resource]`: the URL of the API whose routes name no resource.
pub(super) fn single(settings: &mut SettingsReader<'_>) -> Option<BaseUrl> {
    let mut section = settings.optional_section("resource")?;
    section.require(&["url"]);
    let url = section.url("url");
    section.finish();
    url
}

/// Reads `[[resources]]`. `single` is the URL in `[resource]`. Two resources of one name, URL or
/// audience are an error: a token for one would be one for the other, too.
pub(super) fn read(settings: &mut SettingsReader<'_>, single: Option<&BaseUrl>) -> Vec<Resource> {
    let mut resources: Vec<Resource> = Vec::new();
    let entries = settings.list("resources");
    if entries.len() > Audiences::RESOURCES_MAX {
        settings.add_error("resources", ConfigErrorKind::NotA("a list of at most 63 tables"));
    }
    for entry in entries {
        let Some(mut object) = settings.entry(entry, "resource", "name") else {
            continue;
        };
        let resource = resource(&mut object);
        if let Some(resource) = resource {
            if single == Some(&resource.url) {
                object.add_error("url", ConfigErrorKind::SameName("[resource]".to_owned()));
            }
            for (at, other) in resources.iter().enumerate() {
                let shares = |name: &String| other.audiences.contains(name);
                for (member, is_same) in [
                    ("name", other.name == resource.name),
                    ("url", other.url == resource.url),
                    ("audience", resource.audiences.iter().any(shares)),
                ] {
                    // Two resources of one URL have one audience by default.
                    if is_same && !(member == "audience" && other.url == resource.url) {
                        let kind = ConfigErrorKind::SameName(format!("resources[{at}]"));
                        object.add_error(member, kind);
                    }
                }
            }
            resources.push(resource);
        }
        object.finish();
    }
    resources
}

fn resource(object: &mut ObjectReader<'_, '_>) -> Option<Resource> {
    object.require(&["name", "url"]);
    object.record_format("name", TextFormat::Name);
    let name = object.text("name");
    if name.as_ref().is_some_and(|name| !is_safe_name(name)) {
        object.add_error("name", ConfigErrorKind::UnsafeName);
    }
    let url = object.url("url");
    let mut audiences = object.one_or_more("audience", AUDIENCE, |text| !text.is_empty());
    let url = url?;
    if audiences.is_empty() {
        audiences.push(url.as_str().to_owned());
        // Without a path, a URL with a slash at its end is the same one (RFC 3986 section 6.2.3).
        if url.has_no_path() {
            audiences.push(url.join("/"));
        }
    }
    Some(Resource { name: name?, url, audiences })
}

/// Gives each issuer the audiences of the resources whose routes accept its tokens.
pub(super) fn assign(issuers: &mut [Issuer], routes: &[Route], resources: &[Resource]) {
    for issuer in issuers {
        for (place, resource) in resources.iter().enumerate() {
            let is_used =
                |route: &Route| route.resource == Some(place) && route.accepts_issuer(issuer);
            if routes.iter().any(is_used) {
                issuer.resources.push((place, resource.audiences.clone()));
            }
        }
    }
}

const AUDIENCE: ConfigErrorKind =
    ConfigErrorKind::NotA("a text that is not empty, or a list of them");
