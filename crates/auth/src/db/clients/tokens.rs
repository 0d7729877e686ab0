//! The access tokens of clients, and the assertions for which they were issued.

use super::{read_client, time};
use crate::clients::{OAuthClient, UsedAssertion};
use crate::db::audit::AuditedChange;
use crate::db::outbox::OutboxRow;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use crate::problem::Problem;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;

/// A new access token of a client, as the database stores it.
pub struct NewClientToken {
    pub hash: String,
    pub jti: String,
    pub scope: String,
    /// The custom claims, where the token itself does not carry them.
    pub claims: Option<String>,
    pub issued_at: u64,
    pub expires_at: u64,
    /// The commands that add the token to the store.
    pub commands: Vec<Command>,
}

/// The result of a client's request for a token.
pub enum ClientGrant {
    Issued(OutboxRow),
    /// The assertion was used before.
    Replayed,
    Refused(Problem),
    /// The client was disabled or deleted meanwhile.
    Ended,
    /// Its tokens were revoked meanwhile, or what it authenticated by was replaced.
    Changed,
}

/// What a client has authenticated by.
pub enum UsedCredential {
    /// The hash of a secret.
    Secret(String),
    Assertion(UsedAssertion),
}

/// An access token of a client, as stored in the database.
pub struct StoredClientToken {
    pub client_id: String,
    pub jti: String,
    pub scope: String,
    pub claims: Option<String>,
    pub issued_at: u64,
    pub expires_at: u64,
}

impl Db {
    /// Adds the token that `issue` makes for a client, as it was when it authenticated, and uses up
    /// its assertion. Of two concurrent requests with one assertion, the insertion decides which
    /// one uses it.
    pub async fn issue_client_token(
        &self,
        authenticated: &OAuthClient,
        used: &UsedCredential,
        now: UnixSeconds,
        issue: impl FnOnce(&OAuthClient) -> Result<NewClientToken, Problem>,
    ) -> Result<ClientGrant, sqlx::Error> {
        let mut tx = self.begin().await?;
        // The lock orders this token and a revocation of the client's tokens.
        self.count(Purpose::Request);
        let select = self.sharing_lock(
            "SELECT * FROM clients WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL
             /* for share */",
        );
        let client_id = authenticated.id.as_str();
        let row = sqlx::query(select).bind(client_id).fetch_optional(&mut *tx).await?;
        let Some(client) = row.as_ref().map(read_client).transpose()? else {
            return Ok(ClientGrant::Ended);
        };
        // A token issued now would outlive a revocation of those before.
        let state = |client: &OAuthClient| (client.tokens_revoked_at, client.jwks.clone());
        if state(&client) != state(authenticated) {
            return Ok(ClientGrant::Changed);
        }
        if let UsedCredential::Secret(hash) = used
            && !self.is_client_secret(&mut tx, client_id, hash, now).await?
        {
            return Ok(ClientGrant::Changed);
        }
        let token = match issue(&client) {
            Ok(token) => token,
            Err(problem) => return Ok(ClientGrant::Refused(problem)),
        };
        if let UsedCredential::Assertion(assertion) = used {
            self.count(Purpose::Request);
            let inserted = sqlx::query(
                "INSERT INTO used_assertions (hash, expires_at) VALUES ($1, $2)
                 ON CONFLICT (hash) DO NOTHING",
            )
            .bind(assertion.hash.as_str())
            .bind(to_i64(assertion.expires_at))
            .execute(&mut *tx)
            .await?;
            if inserted.rows_affected() == 0 {
                return Ok(ClientGrant::Replayed);
            }
        }
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO client_tokens (hash, client_id, jti, scope, claims, issued_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(token.hash.as_str())
        .bind(client_id)
        .bind(token.jti.as_str())
        .bind(token.scope.as_str())
        .bind(token.claims.clone())
        .bind(to_i64(token.issued_at))
        .bind(to_i64(token.expires_at))
        .execute(&mut *tx)
        .await?;
        let row = self.enqueue(&mut tx, client_id, token.commands, now).await?;
        tx.commit().await?;
        Ok(ClientGrant::Issued(row))
    }

    /// Returns whether a secret works. The lock of the client's row keeps it so.
    async fn is_client_secret(
        &self,
        tx: &mut Tx,
        client_id: &str,
        hash: &str,
        now: UnixSeconds,
    ) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT 1 FROM client_secrets WHERE client_id = $1 AND hash = $2
             AND (expires_at IS NULL OR expires_at > $3)",
        )
        .bind(client_id)
        .bind(hash)
        .bind(to_i64(now.0))
        .fetch_optional(&mut **tx)
        .await?;
        Ok(row.is_some())
    }

    /// Returns the access token of a client with a hash, even if it is expired or revoked.
    pub async fn client_token_by_hash(
        &self,
        hash: &str,
    ) -> Result<Option<StoredClientToken>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query("SELECT * FROM client_tokens WHERE hash = $1").bind(hash);
        let Some(row) = row.fetch_optional(&self.readers).await? else { return Ok(None) };
        Ok(Some(StoredClientToken {
            client_id: row.try_get("client_id")?,
            jti: row.try_get("jti")?,
            scope: row.try_get("scope")?,
            claims: row.try_get("claims")?,
            issued_at: time(&row, "issued_at")?.unwrap_or_default(),
            expires_at: time(&row, "expires_at")?.unwrap_or_default(),
        }))
    }

    /// Returns whether a client is enabled, and its token that was issued at `issued_at` is not
    /// revoked.
    pub async fn is_client_token_active(
        &self,
        client_id: &str,
        jti: &str,
        issued_at: u64,
    ) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT 1 AS one FROM clients c
             WHERE c.id = $1 AND c.disabled_at IS NULL AND c.deleted_at IS NULL
             AND (c.tokens_revoked_at IS NULL OR c.tokens_revoked_at < $2)
             AND NOT EXISTS (SELECT 1 FROM revoked_tokens t WHERE t.jti = $3)",
        )
        .bind(client_id)
        .bind(to_i64(issued_at))
        .bind(jti)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.is_some())
    }

    /// Revokes one access token of a client. Returns `None`, and writes nothing, if it was revoked
    /// before.
    pub async fn revoke_client_token(
        &self,
        jti: &str,
        expires_at: u64,
        commands: Vec<Command>,
        change: &AuditedChange<'_>,
    ) -> Result<Option<OutboxRow>, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        let inserted = sqlx::query(
            "INSERT INTO revoked_tokens (jti, revoked_at, expires_at) VALUES ($1, $2, $3)
             ON CONFLICT (jti) DO NOTHING",
        )
        .bind(jti)
        .bind(to_i64(change.now.0))
        .bind(to_i64(expires_at))
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(None);
        }
        let row = self.enqueue(&mut tx, jti, commands, change.now).await?;
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(Some(row))
    }

    /// Returns the time up to which a revocation at `now` revokes a client's tokens: not before the
    /// newest one, which another process may have issued by a clock that is ahead.
    pub(super) async fn newest_client_token(
        &self,
        tx: &mut Tx,
        client_id: &str,
        now: UnixSeconds,
    ) -> Result<u64, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT MAX(issued_at) AS issued_at FROM client_tokens WHERE client_id = $1",
        );
        let row = row.bind(client_id).fetch_one(&mut **tx).await?;
        let newest = time(&row, "issued_at")?.unwrap_or_default();
        Ok(newest.clamp(now.0, now.plus(CLOCK_SKEW_SECONDS).0))
    }

    /// Returns the hashes of a client's newest tokens that have not expired.
    pub(super) async fn recent_client_tokens(
        &self,
        tx: &mut Tx,
        client_id: &str,
        now: UnixSeconds,
    ) -> Result<Vec<String>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT hash FROM client_tokens WHERE client_id = $1 AND expires_at > $2
             ORDER BY issued_at DESC LIMIT 100",
        )
        .bind(client_id)
        .bind(to_i64(now.0))
        .fetch_all(&mut **tx)
        .await?;
        rows.iter().map(|row| row.try_get("hash")).collect()
    }
}

/// How far the clocks of two auth services may differ.
pub(crate) const CLOCK_SKEW_SECONDS: u64 = 30;
