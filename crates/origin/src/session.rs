//! The rules: who gets a session, how it goes on, and how it ends.

use crate::attempts::Attempts;
use crate::config::{ACCESS_TOKEN_SECONDS_MAX, Config};
use crate::db::{Db, Rotation, Session, User};
use crate::error::Problem;
use crate::password::Passwords;
use crate::publish::{Delivery, Publisher};
use crate::store::Store;
use crate::token::{self, AccessClaims, SigningKey};
use portcullis_core::{Keys, TokenHash, TokenRecord, UnixSeconds};
use redis_rest::Command;
use serde::Serialize;
use std::sync::Arc;

/// Login, refresh and logout.
pub struct Sessions {
    config: Config,
    keys: Keys,
    db: Arc<Db>,
    publisher: Arc<Publisher>,
    attempts: Attempts,
    passwords: Passwords,
    signing: SigningKey,
}

/// What a client receives (RFC 6749 section 5.1).
#[derive(Serialize)]
pub struct Tokens {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: String,
    scope: String,
}

impl Sessions {
    /// The rules, with everything that they need.
    pub fn new(
        config: Config,
        db: Arc<Db>,
        store: Arc<Store>,
        publisher: Arc<Publisher>,
        passwords: Passwords,
        signing: SigningKey,
    ) -> Self {
        let keys = Keys::new(&config.key_prefix);
        let attempts = Attempts::new(store, keys.clone(), config.attempts);
        Self { config, keys, db, publisher, attempts, passwords, signing }
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The key that signs.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// Begins a session for whoever knows the password. A user that is not there costs the same time.
    pub async fn login(
        &self,
        username: &str,
        password: String,
        address: &str,
        now: UnixSeconds,
    ) -> Result<Tokens, Problem> {
        self.attempts.begin(username, address).await?;
        let user = match self.holder(username, password).await {
            Ok(user) => user.ok_or(Problem::CredentialsInvalid)?,
            Err(problem) => {
                self.attempts.take_back(username, address).await;
                return Err(problem);
            }
        };
        self.attempts.succeeded(username, address).await;
        let session = Session {
            id: token::random_name(),
            user_id: user.id,
            client_id: self.config.client_id.clone(),
            scope: user.scope,
            created_at: now.0,
            expires_at: now.plus(self.config.refresh_token_seconds).0,
        };
        let refresh_token = token::random_secret();
        let access_token = self.sign(&session, now)?;
        let commands = self.announce(&session, &access_token, now);
        let hashes = (hash_of(&refresh_token), hash_of(&access_token));
        let pending = self.db.begin_session(&session, &hashes.0, &hashes.1, commands).await?;
        self.publisher.deliver(&pending).await;
        Ok(self.tokens(session, access_token, refresh_token))
    }

    /// The user of that name, if the password is theirs.
    async fn holder(&self, username: &str, password: String) -> Result<Option<User>, Problem> {
        let user = self.db.user(username).await?.filter(|user| !user.disabled);
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let holds = self.passwords.verify(password, hash).await?;
        Ok(user.filter(|_| holds))
    }

    /// Spends a refresh token for a new pair. The pair is handed out also if the store can't be told
    /// yet: the old token is spent, so keeping the new one back would end the session.
    pub async fn refresh(&self, refresh_token: &str, now: UnixSeconds) -> Result<Tokens, Problem> {
        let next = token::random_secret();
        let mut signed = Err(Problem::Internal);
        let rotation = self
            .db
            .rotate(
                &hash_of(refresh_token),
                &hash_of(&next),
                now,
                |session| {
                    signed = self.sign(session, now);
                    let access_token = signed.as_ref().ok()?;
                    Some((hash_of(access_token), self.announce(session, access_token, now)))
                },
                |session, issued| self.revoke(session, issued, now),
            )
            .await?;
        match rotation {
            Rotation::Rotated(session, pending) => {
                let access_token = signed?;
                self.publisher.deliver(&pending).await;
                Ok(self.tokens(session, access_token, next))
            }
            Rotation::Reused(session, pending) => {
                tracing::warn!(
                    event = "refresh_token_reused",
                    session = session.id,
                    user = session.user_id
                );
                self.publisher.deliver(&pending).await;
                Err(Problem::RefreshTokenReused)
            }
            Rotation::Unsigned => Err(Problem::Internal),
            Rotation::Ended => Err(Problem::SessionEnded),
            Rotation::Unknown => Err(Problem::RefreshTokenInvalid),
        }
    }

    /// Ends the session of a refresh token; of one that nobody was given there is nothing to end.
    pub async fn logout(&self, refresh_token: &str, now: UnixSeconds) -> Result<Delivery, Problem> {
        let session = self.db.session_of(&hash_of(refresh_token)).await?;
        self.end(session.ok_or(Problem::RefreshTokenInvalid)?, now).await
    }

    /// Ends the session of an access token, which may have expired.
    pub async fn logout_bearer(
        &self,
        access_token: &str,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let claims = self.signing.verify(access_token, &self.config.issuer, &self.config.audience);
        let claims = claims.ok_or(Problem::AccessTokenInvalid)?;
        let session = Session {
            id: claims.sid,
            user_id: claims.sub,
            client_id: claims.client_id,
            scope: claims.scope,
            created_at: claims.iat,
            expires_at: claims.exp,
        };
        self.end(session, now).await
    }

    /// The claims of an access token that is good: ours, in date, and of a session that goes on.
    pub async fn introspect(
        &self,
        access_token: &str,
        now: UnixSeconds,
    ) -> Result<Option<AccessClaims>, Problem> {
        let claims = self.signing.verify(access_token, &self.config.issuer, &self.config.audience);
        let Some(claims) = claims.filter(|claims| claims.exp > now.0) else {
            return Ok(None);
        };
        let lives = self.db.session_lives(&claims.sid, now).await?;
        Ok(lives.then_some(claims))
    }

    async fn end(&self, session: Session, now: UnixSeconds) -> Result<Delivery, Problem> {
        let revoke = |issued| self.revoke(&session, issued, now);
        let pending = self.db.end_session(&session.id, "logout", now, revoke).await?;
        Ok(self.publisher.deliver(&pending).await)
    }

    fn sign(&self, session: &Session, now: UnixSeconds) -> Result<String, Problem> {
        let claims = AccessClaims {
            iss: self.config.issuer.clone(),
            sub: session.user_id.clone(),
            aud: self.config.audience.clone(),
            exp: now.plus(self.config.access_token_seconds).0,
            iat: now.0,
            jti: token::random_name(),
            sid: session.id.clone(),
            client_id: session.client_id.clone(),
            scope: session.scope.clone(),
        };
        self.signing.sign(&claims).map_err(|error| {
            tracing::error!(event = "signing_failed", %error);
            Problem::Internal
        })
    }

    fn tokens(&self, session: Session, access_token: String, refresh_token: String) -> Tokens {
        Tokens {
            access_token,
            token_type: "Bearer",
            expires_in: self.config.access_token_seconds,
            refresh_token,
            scope: session.scope,
        }
    }

    /// What the store learns of a new access token. Each key ends with what it is about.
    fn announce(&self, session: &Session, access_token: &str, now: UnixSeconds) -> Vec<Command> {
        let (issuer, life) = (&self.config.issuer, self.config.access_token_seconds);
        let record = TokenRecord {
            sub: session.user_id.clone(),
            sid: Some(session.id.clone()),
            client_id: Some(session.client_id.clone()),
            scope: session.scope.clone(),
            exp: Some(now.plus(life).0),
            ..TokenRecord::default()
        };
        let token_key = self.keys.token(&TokenHash::of(access_token));
        let session_key = self.keys.session(issuer, &session.id);
        let sessions_key = self.keys.sessions(issuer, &session.user_id);
        let left = session.expires_at.saturating_sub(now.0).max(1);
        let seal = self.config.seal.as_ref();
        let holder = TokenRecord { exp: None, ..record.clone() };
        vec![
            Command::new("SET")
                .arg(&token_key)
                .arg(record.encode(&token_key, seal, nonce()))
                .arg("EX")
                .arg(life + BUFFER_SECONDS),
            Command::new("HSET")
                .arg(&session_key)
                .arg("holder")
                .arg(holder.encode(&session_key, seal, nonce()))
                .arg("created_at")
                .arg(session.created_at)
                .arg("last_seen_at")
                .arg(now),
            Command::new("EXPIRE").arg(&session_key).arg(left),
            Command::new("ZADD").arg(&sessions_key).arg(now).arg(&session.id),
            Command::new("EXPIRE").arg(&sessions_key).arg(self.config.refresh_token_seconds),
        ]
    }

    /// What the store learns of a session's end. The marker outlives every access token of it, also one
    /// that was issued while tokens lived longer; the records go as well, so that a store which forgets the
    /// marker has nobody to let in.
    fn revoke(&self, session: &Session, issued: Vec<String>, now: UnixSeconds) -> Vec<Command> {
        let issuer = &self.config.issuer;
        let mut commands = vec![
            Command::new("SET")
                .arg(self.keys.revoked_sid(issuer, &session.id))
                .arg(now)
                .arg("EX")
                .arg(ACCESS_TOKEN_SECONDS_MAX + BUFFER_SECONDS),
            Command::new("DEL").arg(self.keys.session(issuer, &session.id)),
            Command::new("ZREM").arg(self.keys.sessions(issuer, &session.user_id)).arg(&session.id),
        ];
        let records = issued.iter().map(|hash| Command::new("DEL").arg(self.keys.token_of(hash)));
        commands.extend(records);
        commands
    }
}

fn nonce() -> [u8; 12] {
    let mut nonce = [0; 12];
    token::fill_random(&mut nonce);
    nonce
}

/// Refresh tokens are kept by their hash alone.
fn hash_of(refresh_token: &str) -> String {
    TokenHash::of(refresh_token).to_string()
}

/// How much longer than a token its record and its session's marker live: more than the leeway that
/// an edge may grant.
const BUFFER_SECONDS: u64 = 360;
