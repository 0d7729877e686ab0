//! `FAILURE_LIMIT`: how many invalid tokens an address may send.

use super::object::ObjectReader;
use super::settings::SettingsReader;
use crate::policy::limit::FailureLimit;

/// Reads the setting. Returns `None` if it is missing or invalid.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Option<FailureLimit> {
    let mut object = settings.object("FAILURE_LIMIT")?;
    let limit = members(&mut object);
    object.finish();
    limit
}

fn members(object: &mut ObjectReader<'_, '_>) -> Option<FailureLimit> {
    object.require(&["quota", "window_seconds"]);
    let quota = object.number("quota", 1, 1_000_000);
    let window_seconds = object.number("window_seconds", 1, 86_400);
    let shadow = object.flag("shadow");
    Some(FailureLimit { quota: quota?, window_seconds: window_seconds?, shadow })
}
