//! Issued tokens: the rows of refresh tokens, each with the access token of the same response.

use crate::custom_claims::CustomClaims;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use redis_rest::Command;

/// A pair of new tokens, as the database stores it.
pub struct IssuedTokens {
    pub refresh_hash: String,
    pub access_hash: String,
    pub access_issued_at: u64,
    pub access_expires_at: u64,
    pub access_jti: String,
    pub access_scope: String,
    /// The custom claims of an opaque access token; a JWT carries them itself.
    pub access_claims: Option<String>,
    /// The whole response, encrypted under the refresh token that was exchanged for it.
    pub answer: Option<String>,
    /// The commands that add the access token to the store.
    pub commands: Vec<Command>,
}

/// What a session's access tokens take from its user.
#[derive(Clone, Debug, Default)]
pub struct TokenHolder {
    pub claims: CustomClaims,
    /// The last time up to which the user's access tokens are revoked.
    pub tokens_revoked_at: Option<u64>,
}

impl Db {
    /// Adds the row of a new refresh token.
    pub(crate) async fn insert_refresh_token(
        &self,
        tx: &mut Tx,
        issued: &IssuedTokens,
        session_id: &str,
        now: u64,
    ) -> Result<(), sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO refresh_tokens (hash, session_id, created_at, access_hash,
             access_expires_at, access_jti, access_scope, access_claims, access_issued_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(issued.refresh_hash.as_str())
        .bind(session_id)
        .bind(to_i64(now))
        .bind(issued.access_hash.as_str())
        .bind(to_i64(issued.access_expires_at))
        .bind(issued.access_jti.as_str())
        .bind(issued.access_scope.as_str())
        .bind(issued.access_claims.clone())
        .bind(to_i64(issued.access_issued_at))
        .execute(&mut **tx)
        .await
        .map(|_| ())
    }
}
