//! Adjustments of limits: other quotas, and credits.

pub mod credits;
pub mod quotas;

/// One caller of a limit: what the limit counts apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitCaller {
    pub limit: String,
    /// The issuer of the caller's tokens.
    pub issuer: String,
    /// The parts of the counted key, as JSON.
    pub parts: String,
    /// The hash of the counted key, in base64url.
    pub hash: String,
}

impl LimitCaller {
    /// Returns the id of the caller's row.
    pub fn id(&self) -> String {
        format!("{}:{}", self.limit, self.hash)
    }

    fn read(row: &sqlx::any::AnyRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row as _;
        Ok(Self {
            limit: row.try_get("limit_name")?,
            issuer: row.try_get("issuer")?,
            parts: row.try_get("parts")?,
            hash: row.try_get("hash")?,
        })
    }
}
