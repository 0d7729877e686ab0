//! `[invalid_token_limit]`: how many invalid tokens an address may send.

use super::object::ObjectReader;
use super::settings::SettingsReader;
use crate::policy::limit::InvalidTokenLimit;

/// Reads the section: 1 to 1,000,000 invalid tokens in 1 to 86,400 s. Returns `None` if it is
/// missing or invalid.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Option<InvalidTokenLimit> {
    let mut object = settings.optional_section("invalid_token_limit")?;
    let limit = members(&mut object);
    object.finish();
    limit
}

fn members(object: &mut ObjectReader<'_, '_>) -> Option<InvalidTokenLimit> {
    object.require(&["quota", "window_seconds"]);
    let quota = object.number("quota", 1, 1_000_000);
    let window_seconds = object.number("window_seconds", 1, 86_400);
    let shadow = object.flag("shadow");
    Some(InvalidTokenLimit { quota: quota?, window_seconds: window_seconds?, shadow })
}
