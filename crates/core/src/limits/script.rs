//! The scripts of limits, as the Worker carries them. The store runs each atomically, by its own
//! clock.

use crate::policy::limit::Limit;
use crate::store::script;

/// The first line with which a script is sent. Without it, Upstash runs a script under a lock of
/// the whole database. The redis gateway removes it, and Redis itself refuses it.
pub const KEY_LOCKING: &str = "#!lua flags=allow-key-locking\n";

/// The script that counts one request by an algorithm with windows or a bucket.
pub const LIMIT_SCRIPT: &str = script::text(&LIMIT);
const LIMIT: [u8; script::bare_bytes(LIMIT_SOURCE)] = script::bare(LIMIT_SOURCE);
const LIMIT_SOURCE: &str = include_str!("limit.lua");

/// The script that counts one request by the calendar, or of credits.
pub const QUOTA_SCRIPT: &str = script::text(&QUOTA);
const QUOTA: [u8; script::bare_bytes(QUOTA_SOURCE)] = script::bare(QUOTA_SOURCE);
const QUOTA_SOURCE: &str = include_str!("quota.lua");

/// A script, and its names.
#[derive(Debug)]
pub struct CountingScript {
    /// The script without its first line.
    pub text: &'static str,
    /// The SHA-1 in hexadecimal of [`KEY_LOCKING`] and the script, by which `EVALSHA` calls it.
    pub locking_sha1: &'static str,
    /// The SHA-1 of the script alone, for stores that refuse the first line.
    pub sha1: &'static str,
}

/// All scripts that count requests.
pub static COUNTING_SCRIPTS: [CountingScript; 2] = [
    CountingScript {
        text: LIMIT_SCRIPT,
        locking_sha1: LOCKING_LIMIT_SCRIPT_SHA1,
        sha1: LIMIT_SCRIPT_SHA1,
    },
    CountingScript {
        text: QUOTA_SCRIPT,
        locking_sha1: LOCKING_QUOTA_SCRIPT_SHA1,
        sha1: QUOTA_SCRIPT_SHA1,
    },
];

/// The name of [`LIMIT_SCRIPT`] with key locking.
pub const LOCKING_LIMIT_SCRIPT_SHA1: &str = "21aacda2e83f43c6d9f23d46c4b2a873d8e36ee0";
/// The name of [`LIMIT_SCRIPT`] alone.
pub const LIMIT_SCRIPT_SHA1: &str = "da97f2f042696435d5332b982b35217dc7b840bc";
/// The name of [`QUOTA_SCRIPT`] with key locking.
pub const LOCKING_QUOTA_SCRIPT_SHA1: &str = "3c32e445441defa932c46c34dd912aa117bb4224";
/// The name of [`QUOTA_SCRIPT`] alone.
pub const QUOTA_SCRIPT_SHA1: &str = "8612fb350396677681ddabbe21a08ddb9692b827";

impl Limit {
    /// Returns the name of the script that counts the limit's requests.
    pub(super) fn script_sha1(&self) -> &'static str {
        match self.algorithm.is_calendar() {
            true => LOCKING_QUOTA_SCRIPT_SHA1,
            false => LOCKING_LIMIT_SCRIPT_SHA1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn script_hashes_match_the_scripts() {
        use sha1::Digest as _;
        let sha1 = |script: &str| -> String {
            sha1::Sha1::digest(script).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let tokens = include_str!("../../../../docs/redis-gateway-tokens.toml");
        for script in &COUNTING_SCRIPTS {
            assert_eq!(script.sha1, sha1(script.text));
            let locking = sha1(&format!("{KEY_LOCKING}{}", script.text));
            assert_eq!(script.locking_sha1, locking);
            assert!(tokens.contains(&locking), "the example's token may run another script");
        }
    }
}
