//! `[revocation]`, `[block]`, `[open_requests]`, `[client_address]` and `[breaker]`.

use super::object::Number;
use super::settings::SettingsReader;
use crate::breaker::BreakerPolicy;

/// Reads `[revocation]`: how long a revoked token may still be accepted, 0 to 86,400 s.
pub(super) fn revocation_delay_seconds_max(settings: &mut SettingsReader<'_>) -> u32 {
    let [seconds] = settings.numbers("revocation", &REVOCATION);
    seconds
}

/// Reads `[block]`: how often the list of blocked networks is fetched, 0 to 3,600 s.
pub(super) fn block_refresh_seconds(settings: &mut SettingsReader<'_>) -> u32 {
    let [seconds] = settings.numbers("block", &BLOCK);
    seconds
}

/// What `[open_requests]` says.
pub(super) struct OpenRequests {
    /// How many requests one isolate may hold open, 1 to 1,000,000.
    pub(super) count_max: u32,
    /// How many bytes of heads and bodies these may hold, 256 KiB to 4 GiB.
    pub(super) bytes_max: u32,
}

/// Reads `[open_requests]`.
pub(super) fn open_requests(settings: &mut SettingsReader<'_>) -> OpenRequests {
    let [count_max, bytes_max] = settings.numbers("open_requests", &OPEN_REQUESTS);
    OpenRequests { count_max, bytes_max }
}

/// Reads `[client_address]`: how many proxies in front of the edge are trusted, 0 to 10.
pub(super) fn trusted_proxy_hops(settings: &mut SettingsReader<'_>) -> u32 {
    let [hops] = settings.numbers("client_address", &CLIENT_ADDRESS);
    hops
}

/// What `[breaker]` says.
pub(super) struct BreakerSection {
    /// After how many failures in a row calls stop, 0 to 1,000, and for at most how many ms.
    pub(super) policy: BreakerPolicy,
    /// Whether new isolates take over the breakers of their location.
    pub(super) shared: bool,
}

/// Reads `[breaker]`.
pub(super) fn breaker(settings: &mut SettingsReader<'_>) -> BreakerSection {
    let mut section = settings.section("breaker");
    let [failures, pause_ms_max] = BREAKER.map(|number| section.number_or_default(&number));
    let shared = section.flag("shared");
    section.finish();
    BreakerSection { policy: BreakerPolicy { failures, pause_ms_max }, shared }
}

const REVOCATION: [Number; 1] =
    [Number { name: "delay_seconds_max", min: 0, max: 86_400, default: 0 }];
const BLOCK: [Number; 1] = [Number { name: "refresh_seconds", min: 0, max: 3600, default: 5 }];
const OPEN_REQUESTS: [Number; 2] = [
    Number { name: "count_max", min: 1, max: 1_000_000, default: 4_000 },
    Number { name: "bytes_max", min: 262_144, max: u32::MAX, default: 16_777_216 },
];
const CLIENT_ADDRESS: [Number; 1] =
    [Number { name: "trusted_proxy_hops", min: 0, max: 10, default: 0 }];
const BREAKER: [Number; 2] = [
    Number { name: "failures", min: 0, max: 1_000, default: 5 },
    Number { name: "open_ms_max", min: 1, max: 300_000, default: 30_000 },
];
