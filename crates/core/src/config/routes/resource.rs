//! The `resource` of a route.

use crate::config::error::ConfigErrorKind;
use crate::config::object::ObjectReader;
use crate::config::record::TextFormat;
use crate::policy::resource::Resource;

/// Reads which of the resources a route belongs to, and returns its place. `is_open` says that the
/// route checks no tokens.
pub(super) fn read(
    object: &mut ObjectReader<'_, '_>,
    known: &[Resource],
    is_open: bool,
) -> Option<usize> {
    object.record_format("resource", TextFormat::Name);
    let name = object.text("resource")?;
    if is_open {
        object.add_error("resource", ConfigErrorKind::NotForAccess);
    }
    let place = known.iter().position(|resource| resource.name == name);
    // A malformed resource has errors of its own.
    if place.is_none() && !object.settings.has_error("resources") {
        object.add_error("resource", ConfigErrorKind::NoSuchResource);
    }
    place
}
