//! `[auth]`, `[upstream]`, `[jwks]` and `[introspection]`: the servers that the edge calls, and its
//! timeouts.

use super::object::Number;
use super::settings::SettingsReader;
use crate::policy::key_sets::KeySetPolicy;
use crate::url::BaseUrl;

/// What `[auth]` says.
pub(super) struct AuthSection {
    /// `None` if it is missing or malformed.
    pub(super) url: Option<BaseUrl>,
    /// Until the head of the response arrives, 1 to 60,000 ms.
    pub(super) timeout_ms: u32,
    /// The longest body of a request, 1 B to 1 MiB.
    pub(super) body_bytes_max: u32,
    /// How long the response to a refresh is given again, 0 to 60 s.
    pub(super) refresh_replay_seconds: u32,
}

/// Reads `[auth]`. The URL is required if a route leads to the auth service.
pub(super) fn auth(settings: &mut SettingsReader<'_>, is_needed: bool) -> AuthSection {
    let mut section = settings.section("auth");
    if is_needed {
        section.require(&["url"]);
    }
    let [timeout_ms, body_bytes_max, refresh_replay_seconds] =
        AUTH.map(|number| section.number_or_default(&number));
    let url = section.url_or_binding("url");
    section.finish();
    AuthSection { url, timeout_ms, body_bytes_max, refresh_replay_seconds }
}

/// What `[upstream]` says.
pub(super) struct UpstreamSection {
    /// `None` if it is missing or malformed, which is an error.
    pub(super) url: Option<BaseUrl>,
    /// Until the head of the response arrives, 1 to 300,000 ms.
    pub(super) timeout_ms: u32,
}

/// Reads `[upstream]`.
pub(super) fn upstream(settings: &mut SettingsReader<'_>) -> UpstreamSection {
    let mut section = settings.section("upstream");
    section.require(&["url"]);
    let upstream = UpstreamSection {
        url: section.url_or_binding("url"),
        timeout_ms: section.number_or_default(&UPSTREAM_TIMEOUT),
    };
    section.finish();
    upstream
}

/// What `[jwks]` says.
pub(super) struct JwksSection {
    /// For one fetch of a key set or of metadata, 1 to 10,000 ms.
    pub(super) timeout_ms: u32,
    /// How long a key set is fresh and usable, in seconds.
    pub(super) key_sets: KeySetPolicy,
}

/// Reads `[jwks]`: how the key sets of all issuers (RFC 7517 section 5) are fetched.
pub(super) fn jwks(settings: &mut SettingsReader<'_>) -> JwksSection {
    let [timeout_ms, fresh_seconds, stale_seconds_max, cool_down_seconds] =
        settings.numbers("jwks", &JWKS);
    let key_sets = KeySetPolicy { fresh_seconds, stale_seconds_max, cool_down_seconds };
    JwksSection { timeout_ms, key_sets }
}

/// What `[introspection]` says.
pub(super) struct IntrospectionSection {
    /// For one introspection, 1 to 60,000 ms.
    pub(super) timeout_ms: u32,
    /// How many introspections one isolate sends in a second for each reason, 1 to 100,000.
    pub(super) per_second_max: u32,
}

/// Reads `[introspection]`: what holds for the introspections of all issuers (RFC 7662).
pub(super) fn introspection(settings: &mut SettingsReader<'_>) -> IntrospectionSection {
    let [timeout_ms, per_second_max] = settings.numbers("introspection", &INTROSPECTION);
    IntrospectionSection { timeout_ms, per_second_max }
}

const AUTH: [Number; 3] = [
    Number { name: "timeout_ms", min: 1, max: 60_000, default: 5_000 },
    Number { name: "body_bytes_max", min: 1, max: 1_048_576, default: 16_384 },
    Number { name: "refresh_replay_seconds", min: 0, max: 60, default: 10 },
];
const UPSTREAM_TIMEOUT: Number =
    Number { name: "timeout_ms", min: 1, max: 300_000, default: 30_000 };
const JWKS: [Number; 4] = [
    Number { name: "timeout_ms", min: 1, max: 10_000, default: 2_000 },
    Number { name: "fresh_seconds", min: 1, max: 86_400, default: 600 },
    Number { name: "stale_seconds_max", min: 0, max: 604_800, default: 86_400 },
    Number { name: "cool_down_seconds", min: 1, max: 3_600, default: 30 },
];
const INTROSPECTION: [Number; 2] = [
    Number { name: "timeout_ms", min: 1, max: 60_000, default: 1_000 },
    Number { name: "per_second_max", min: 1, max: 100_000, default: 50 },
];
