//! What the origin writes to the store about tokens and sessions, and the edge reads.

use serde::{Deserialize, Serialize};

/// The record of an access token under [`crate::Keys::token`]. That it is there says that the origin
/// issued the token; it holds nothing that would let anybody make one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TokenRecord {
    /// The subject.
    pub sub: String,
    /// The session.
    pub sid: String,
    /// The client.
    pub client_id: String,
    /// The scope, space-separated.
    pub scope: String,
    /// The end of the token's life.
    pub exp: u64,
}

impl TokenRecord {
    /// The record as it is stored.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The record, if the text is one.
    pub fn decode(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// The moment up to which a revocation marker revokes; a marker that is no number revokes everything.
pub fn revoked_before(marker: &str) -> u64 {
    marker.parse().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_record_survives_the_store() {
        let record = TokenRecord {
            sub: "alice\"\n".into(),
            sid: "s".into(),
            client_id: "web".into(),
            scope: "a b".into(),
            exp: 1_800_000_000,
        };
        assert_eq!(TokenRecord::decode(&record.encode()), Some(record));
        assert_eq!(TokenRecord::decode(""), None);
        assert_eq!(TokenRecord::decode(r#"{"sub":"x"}"#), None);
    }

    #[test]
    fn an_unreadable_marker_revokes_everything() {
        assert_eq!(revoked_before("1700000000"), 1_700_000_000);
        assert_eq!(revoked_before(""), u64::MAX);
        assert_eq!(revoked_before("-1"), u64::MAX);
        assert_eq!(revoked_before("soon"), u64::MAX);
    }
}
