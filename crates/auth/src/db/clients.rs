//! Clients and their secrets.

pub mod tokens;

use super::api_keys::{KeyCommands, Owner};
use super::audit::AuditedChange;
use super::outbox::OutboxRow;
use super::pool::{Db, Purpose, Tx, to_i64};
use crate::audit::Event;
use crate::clients::{AuthMethod, OAuthClient};
use crate::custom_claims::CustomClaims;
use crate::db::list_place::ListPlace;
use crate::problem::Problem;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A change of a client.
pub struct ClientChange<'a, Edit, Events, Commands> {
    pub id: &'a str,
    /// Returns the changed client, or why the change is refused.
    pub edit: Edit,
    /// Whether the tokens that were issued before are revoked.
    pub revokes_tokens: bool,
    /// Returns the events of the change from the first to the second client.
    pub events: Events,
    /// Returns the commands that give the store the state of one of the client's API keys.
    pub keys: KeyCommands<'a>,
    /// Returns the commands for the store if the state of the client's tokens changes: from the
    /// client and the hashes of tokens whose records are deleted.
    pub commands: Commands,
    pub now: UnixSeconds,
}

/// The result of a change.
pub enum Changed<T, E> {
    /// It was made, or there was nothing to change: then there are no events.
    Done {
        after: T,
        events: Vec<Event>,
        outbox_rows: Vec<OutboxRow>,
    },
    Refused(E),
    Unknown,
}

/// A new secret of a client.
pub struct NewSecret<'a> {
    pub client_id: &'a str,
    pub hash: &'a str,
    /// How long the previous secret still works.
    pub grace_seconds: u64,
}

impl Db {
    /// Adds a client, with its secret if it has one.
    pub async fn add_client(
        &self,
        client: &OAuthClient,
        secret_hash: Option<&str>,
        change: &AuditedChange<'_>,
    ) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO clients (id, name, scope, token_seconds, plan, claims, auth_method, jwks,
             created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(client.id.as_str())
        .bind(client.name.as_str())
        .bind(client.scope.as_str())
        .bind(client.token_seconds.map(to_i64))
        .bind(client.plan.clone())
        .bind(client.claims.encode())
        .bind(client.auth_method.name())
        .bind(client.jwks.clone())
        .bind(to_i64(client.created_at))
        .execute(&mut *tx)
        .await?;
        if let Some(hash) = secret_hash {
            self.insert_secret(&mut tx, &client.id, hash, change.now).await?;
        }
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await
    }

    /// Returns a client that is not deleted.
    pub async fn client_by_id(&self, id: &str) -> Result<Option<OAuthClient>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query("SELECT * FROM clients WHERE id = $1 AND deleted_at IS NULL")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(read_client).transpose()
    }

    /// Returns the hashes of a client's secrets that are valid at `now`, whether or not the client
    /// exists or is disabled.
    pub async fn client_secret_hashes(
        &self,
        id: &str,
        now: UnixSeconds,
    ) -> Result<Vec<String>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT hash FROM client_secrets
             WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $2) LIMIT $3",
        )
        .bind(id)
        .bind(to_i64(now.0))
        .bind(SECRETS_MAX)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| row.try_get("hash")).collect()
    }

    /// Returns at most `limit` clients that follow `after`, oldest first.
    pub async fn clients(
        &self,
        after: Option<&ListPlace>,
        limit: u32,
    ) -> Result<Vec<OAuthClient>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT * FROM clients WHERE deleted_at IS NULL
             AND (created_at > $1 OR (created_at = $1 AND id > $2))
             ORDER BY created_at, id LIMIT $3",
        )
        .bind(after.map_or(-1, |place| to_i64(place.at)))
        .bind(after.map_or("", |place| place.id.as_str()))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(read_client).collect()
    }

    /// Changes a client. When it is disabled, enabled, or its tokens are revoked, the undelivered
    /// rows about it are discarded, since they contain records of its tokens or its former state.
    pub async fn change_client<E>(
        &self,
        change: ClientChange<
            '_,
            impl FnOnce(OAuthClient) -> Result<OAuthClient, E>,
            impl FnOnce(&OAuthClient, &OAuthClient) -> Vec<Event>,
            impl FnOnce(&OAuthClient, &[String]) -> Vec<Command>,
        >,
    ) -> Result<Changed<OAuthClient, E>, sqlx::Error> {
        let now = change.now;
        let mut tx = self.begin().await?;
        let Some(before) = self.lock_client(&mut tx, change.id).await? else {
            return Ok(Changed::Unknown);
        };
        let mut after = match (change.edit)(before.clone()) {
            Ok(after) => after,
            Err(error) => return Ok(Changed::Refused(error)),
        };
        let is_switched = before.disabled_at.is_some() != after.disabled_at.is_some();
        let revokes = change.revokes_tokens || is_switched && after.disabled_at.is_some();
        if revokes {
            after.tokens_revoked_at =
                Some(self.newest_client_token(&mut tx, change.id, now).await?);
        } else if is_switched {
            // A store that lost the enabling is corrected like one that lost a revocation.
            after.tokens_revoked_at = Some(before.tokens_revoked_at.unwrap_or(0).max(now.0));
        }
        if after == before {
            tx.rollback().await?;
            return Ok(Changed::Done { after, events: Vec::new(), outbox_rows: Vec::new() });
        }
        self.count(Purpose::Request);
        sqlx::query(
            "UPDATE clients SET name = $1, scope = $2, token_seconds = $3, plan = $4, claims = $5,
             jwks = $6, disabled_at = $7, tokens_revoked_at = $8 WHERE id = $9",
        )
        .bind(after.name.as_str())
        .bind(after.scope.as_str())
        .bind(after.token_seconds.map(to_i64))
        .bind(after.plan.clone())
        .bind(after.claims.encode())
        .bind(after.jwks.clone())
        .bind(after.disabled_at.map(to_i64))
        .bind(after.tokens_revoked_at.map(to_i64))
        .bind(change.id)
        .execute(&mut *tx)
        .await?;
        let mut outbox_rows = Vec::new();
        let of_keys = |client: &OAuthClient| (client.scope.clone(), client.token_claims());
        if revokes || is_switched || of_keys(&after) != of_keys(&before) {
            let owner = Owner::client(change.id);
            outbox_rows = self.publish_keys_of_owner(&mut tx, &owner, now, change.keys).await?;
        }
        if revokes || is_switched {
            let hashes = match revokes {
                true => self.recent_client_tokens(&mut tx, change.id, now).await?,
                false => Vec::new(),
            };
            let commands = (change.commands)(&after, &hashes);
            self.discard_outbox_rows(&mut tx, change.id).await?;
            outbox_rows.push(self.enqueue(&mut tx, change.id, commands, now).await?);
        }
        let events = (change.events)(&before, &after);
        self.append_events(&mut tx, &events, now).await?;
        tx.commit().await?;
        Ok(Changed::Done { after, events, outbox_rows })
    }

    /// Adds a secret, and lets the previous one end after the grace. Those before it end when their
    /// own grace does, so that a repeated roll does not end the secret in use. Without a grace, all
    /// of them end now, whatever the clocks of other auth services say.
    pub async fn roll_client_secret(
        &self,
        secret: &NewSecret<'_>,
        change: &AuditedChange<'_>,
    ) -> Result<Result<(), Problem>, sqlx::Error> {
        let mut tx = self.begin().await?;
        let client = self.lock_client(&mut tx, secret.client_id).await?;
        if client.is_none_or(|client| client.auth_method != AuthMethod::ClientSecret) {
            return Ok(Err(Problem::ClientUnknown));
        }
        self.count(Purpose::Request);
        let ended = sqlx::query(
            "DELETE FROM client_secrets WHERE client_id = $1 AND ($2 = 0 OR expires_at <= $3)",
        );
        let ended = ended.bind(secret.client_id).bind(to_i64(secret.grace_seconds));
        ended.bind(to_i64(change.now.0)).execute(&mut *tx).await?;
        self.count(Purpose::Request);
        let count = sqlx::query("SELECT COUNT(*) AS kept FROM client_secrets WHERE client_id = $1");
        let kept = count.bind(secret.client_id).fetch_one(&mut *tx).await?;
        if kept.try_get::<i64, _>("kept")? >= SECRETS_MAX {
            return Ok(Err(Problem::ClientRolledTooOften));
        }
        self.count(Purpose::Request);
        sqlx::query(
            "UPDATE client_secrets SET expires_at = $1 WHERE client_id = $2 AND expires_at IS NULL",
        )
        .bind(to_i64(change.now.plus(secret.grace_seconds).0))
        .bind(secret.client_id)
        .execute(&mut *tx)
        .await?;
        self.insert_secret(&mut tx, secret.client_id, secret.hash, change.now).await?;
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Deletes a client with its secrets, and ends its API keys. Its row stays without a name until
    /// its tokens and their revocation have expired. Returns `None` if there is no such client.
    /// `commands` returns those that revoke its tokens.
    pub async fn delete_client(
        &self,
        id: &str,
        commands: impl FnOnce(&[String]) -> Vec<Command>,
        change: &AuditedChange<'_>,
        keys: KeyCommands<'_>,
    ) -> Result<Option<Vec<OutboxRow>>, sqlx::Error> {
        let mut tx = self.begin().await?;
        if self.lock_client(&mut tx, id).await?.is_none() {
            return Ok(None);
        }
        self.count(Purpose::Request);
        sqlx::query(
            "UPDATE clients SET deleted_at = $1, disabled_at = $1, name = '', scope = '',
             plan = NULL, claims = NULL, jwks = NULL WHERE id = $2",
        )
        .bind(to_i64(change.now.0))
        .bind(id)
        .execute(&mut *tx)
        .await?;
        self.count(Purpose::Request);
        sqlx::query("DELETE FROM client_secrets WHERE client_id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        let owner = Owner::client(id);
        let mut rows = self.end_keys_of_owner(&mut tx, &owner, change.now, keys).await?;
        let hashes = self.recent_client_tokens(&mut tx, id, change.now).await?;
        self.discard_outbox_rows(&mut tx, id).await?;
        rows.push(self.enqueue(&mut tx, id, commands(&hashes), change.now).await?);
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(Some(rows))
    }

    /// Returns a client, even a deleted one, which is disabled.
    pub async fn client_state(&self, id: &str) -> Result<Option<OAuthClient>, sqlx::Error> {
        self.count(Purpose::Outbox);
        let row = sqlx::query("SELECT * FROM clients WHERE id = $1").bind(id);
        row.fetch_optional(&self.readers).await?.as_ref().map(read_client).transpose()
    }

    /// Locks the row of a client that is not deleted, and returns it.
    async fn lock_client(&self, tx: &mut Tx, id: &str) -> Result<Option<OAuthClient>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "UPDATE clients SET name = name WHERE id = $1 AND deleted_at IS NULL RETURNING *",
        )
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
        row.as_ref().map(read_client).transpose()
    }

    async fn insert_secret(
        &self,
        tx: &mut Tx,
        client_id: &str,
        hash: &str,
        now: UnixSeconds,
    ) -> Result<(), sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query("INSERT INTO client_secrets (hash, client_id, created_at) VALUES ($1, $2, $3)")
            .bind(hash)
            .bind(client_id)
            .bind(to_i64(now.0))
            .execute(&mut **tx)
            .await
            .map(|_| ())
    }
}

/// The most secrets of a client that work at once. Each is compared with the one of a request.
const SECRETS_MAX: i64 = 8;

fn read_client(row: &AnyRow) -> Result<OAuthClient, sqlx::Error> {
    let claims: Option<String> = row.try_get("claims")?;
    let auth_method: String = row.try_get("auth_method")?;
    Ok(OAuthClient {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        scope: row.try_get("scope")?,
        token_seconds: time(row, "token_seconds")?,
        plan: row.try_get("plan")?,
        claims: CustomClaims::decode(claims.as_deref()),
        auth_method: AuthMethod::named(&auth_method),
        jwks: row.try_get("jwks")?,
        created_at: time(row, "created_at")?.unwrap_or_default(),
        disabled_at: time(row, "disabled_at")?,
        tokens_revoked_at: time(row, "tokens_revoked_at")?,
    })
}

/// Returns a time or a number of seconds; `None` for NULL.
pub(super) fn time(row: &AnyRow, name: &str) -> Result<Option<u64>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(name)?.map(i64::unsigned_abs))
}
