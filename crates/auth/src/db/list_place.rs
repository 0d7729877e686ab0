//! Where a page of a list begins.

/// The place of an entry in a list by time, oldest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListPlace {
    pub at: u64,
    pub id: String,
}

impl ListPlace {
    /// Returns the place as a cursor.
    pub fn cursor(&self) -> String {
        format!("{}.{}", self.at, self.id)
    }

    /// Parses a cursor. Returns `None` if it is malformed.
    pub fn parse(cursor: &str) -> Option<Self> {
        let (at, id) = cursor.split_once('.')?;
        let is_id = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let is_valid = id.len() <= 64 && id.bytes().all(is_id);
        let at = at.parse().ok().filter(|at| i64::try_from(*at).is_ok())?;
        is_valid.then(|| Self { at, id: id.to_owned() })
    }
}
