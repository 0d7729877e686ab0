//! `[cors]`, and the `cors` of a route.

use super::error::ConfigErrorKind;
use super::object::{Number, ObjectReader};
use super::settings::SettingsReader;
use crate::policy::cors::Cors;
use crate::request::syntax::{is_method, is_origin, is_token};

/// Reads the section. Returns `None` if it is missing.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Option<Cors> {
    settings.optional_section("cors").map(read_object)
}

/// Reads one CORS policy (the Fetch standard). A browser caches a preflight for at most 86,400 s.
pub(super) fn read_object(mut object: ObjectReader<'_, '_>) -> Cors {
    object.require(&["origins"]);
    let origins = object.texts("origins");
    if origins.as_ref().is_some_and(Vec::is_empty) {
        object.add_error("origins", ConfigErrorKind::Empty);
    }
    let defaults = Cors::default();
    let cors = Cors {
        origins: origins.unwrap_or_default(),
        methods: object.texts_or("methods", defaults.methods),
        headers: object.texts_or("headers", defaults.headers),
        expose: object.texts_or("expose", defaults.expose),
        credentials: object.flag("credentials"),
        max_age_seconds: object.number_or_default(&Number {
            name: "max_age_seconds",
            min: 0,
            max: 86_400,
            default: defaults.max_age_seconds,
        }),
    };
    if cors.origins != ["*"] && !cors.origins.iter().all(|origin| is_origin(origin)) {
        object.add_error("origins", ConfigErrorKind::NotAnOrigin);
    }
    if !cors.methods.iter().all(|method| is_method(method)) {
        object.add_error("methods", ConfigErrorKind::NotAMethod);
    }
    for (list, names) in [("headers", &cors.headers), ("expose", &cors.expose)] {
        if !names.iter().all(|name| is_token(name) && name != "*") {
            object.add_error(list, ConfigErrorKind::NotAField);
        }
    }
    if cors.credentials && cors.allows_all() {
        object.add_error("credentials", ConfigErrorKind::CredentialsForAll);
    }
    object.finish();
    cors
}
