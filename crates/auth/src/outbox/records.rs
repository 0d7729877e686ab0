//! The settings of the records of API keys.

use portcullis_core::Seal;

/// What the records of API keys need besides the keys' rows.
#[derive(Clone, Debug)]
pub struct RecordSettings {
    pub audience: String,
    /// The key that encrypts the records; `None` to store them as plain text.
    pub seal: Option<Seal>,
}
