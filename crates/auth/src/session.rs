//! The rules: who gets a session, how it goes on, and how it ends. What the store must learn of it is `publish.rs`'s.

use crate::accounts::LoginAttempts;
use crate::accounts::{Passwords, is_acceptable_password};
use crate::audit::{Actor, Audit, ClientInfo, Event, EventKind};
use crate::config::{AccessTokenFormat, Config};
use crate::db::{Asked, Db, Ended, Grant, Issued, Rotation, Session, User, Which};
use crate::error::BoxError;
use crate::keys::KeyRing;
use crate::problem::Problem;
use crate::publish::{Announcement, Delivery, Publisher};
use crate::random::nonce;
use crate::store::Store;
use crate::token::{AccessClaims, OpaqueToken, token_hash};
use portcullis_core::{ReplayKey, TokenHash, UnixSeconds};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Login, refresh, revocation, and what is asked about them.
pub struct Sessions {
    config: Config,
    db: Arc<Db>,
    publisher: Arc<Publisher>,
    attempts: LoginAttempts,
    passwords: Passwords,
    keys: Arc<KeyRing>,
    audit: Audit,
}

/// What a client receives (RFC 6749 section 5.1).
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tokens {
    pub access_token: String,
    pub token_type: String,
    pub expires_in: u64,
    pub refresh_token: String,
    pub scope: String,
    /// What is left of the session; a cookie ends with it.
    #[serde(default, skip_serializing)]
    pub session_seconds: u64,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({:?}, REDACTED)", self.scope)
    }
}

/// A session as its user sees it.
#[derive(Serialize)]
pub struct Listed {
    pub id: String,
    pub created_at: u64,
    pub last_seen_at: u64,
    pub expires_at: u64,
    pub device: String,
    pub address: String,
    /// Whether the request came by it.
    pub current: bool,
}

impl Sessions {
    /// The rules, with everything that they need.
    pub fn new(
        config: Config,
        db: Arc<Db>,
        store: &Arc<Store>,
        publisher: Arc<Publisher>,
        keys: Arc<KeyRing>,
    ) -> Result<Self, BoxError> {
        let attempts =
            LoginAttempts::new(Arc::clone(store), publisher.keys().clone(), config.attempts);
        let (passwords, audit) = (Passwords::new()?, Audit::new()?);
        Ok(Self { config, db, publisher, attempts, passwords, keys, audit })
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The keys that sign.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The counters of events.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Begins a session for whoever knows the password. A user that is not there costs the same time.
    pub async fn login(
        &self,
        username: &str,
        password: String,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Tokens, Problem> {
        let address = client.address_group();
        let attempt = self.attempts.begin(username, &address).await?;
        let found = match self.holder(username, password).await {
            Ok(found) => found,
            Err(problem) => {
                self.attempts.cancel(&attempt).await;
                return Err(problem);
            }
        };
        let Some((user, rehashed)) = found else {
            let event = Event::new(EventKind::LoginFailed, Actor::User, client);
            let events = [event.detail(TokenHash::of(username).to_string())];
            self.db.note_alone(&events, now).await?;
            self.audit.record(&events);
            return Err(Problem::CredentialsInvalid);
        };
        self.attempts.succeeded(&attempt).await;
        let session = Session {
            id: crate::random::random_id(),
            user_id: user.id.clone(),
            client_id: self.config.client_id.clone(),
            scope: user.scope.clone(),
            created_at: now.0,
            expires_at: now.plus(self.config.refresh_token_seconds).0,
            refreshed_at: now.0,
            device: client.device.clone(),
            address: client.address.clone(),
        };
        let (tokens, issued) = self.issue(&session, session.scope.clone(), None, now)?;
        let user = (&user, rehashed.as_deref());
        let most = self.config.sessions_per_user_max;
        let revoke = |ended: &Ended| self.publisher.revoked(ended, now);
        let begun = self.db.begin_session(&session, user, issued, most, client, revoke).await?;
        // The password was changed while it was verified.
        let (pending, events) = begun.ok_or(Problem::CredentialsInvalid)?;
        self.audit.record(&events);
        self.publisher.deliver(&pending).await;
        Ok(tokens)
    }

    /// The user of that name, if the password is theirs, and its hash anew if it was made otherwise than today.
    async fn holder(
        &self,
        username: &str,
        password: String,
    ) -> Result<Option<(User, Option<String>)>, Problem> {
        let user = self.db.user(username).await?.filter(|user| !user.disabled);
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let verified = self.passwords.verify(password, hash).await?;
        Ok(user.filter(|_| verified.is_correct).map(|user| (user, verified.rehashed)))
    }

    /// Spends a refresh token for a new pair; whoever asks again within the grace gets the same one. The pair is
    /// handed out also if the store can't be told yet: the old token is spent, so keeping the new one back would
    /// end the session. `scope` may narrow what the access token is for (RFC 6749 section 6).
    pub async fn refresh(
        &self,
        refresh_token: &str,
        scope: Option<&str>,
        client_id: Option<&str>,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Tokens, Problem> {
        if !OpaqueToken::Refresh.is_well_formed(refresh_token) {
            return Err(Problem::RefreshTokenInvalid);
        }
        let hash = token_hash(refresh_token);
        let replay = ReplayKey::derive(refresh_token, "");
        let asked = Asked {
            now,
            idle_seconds: self.config.refresh_idle_seconds,
            grace_seconds: self.config.refresh_grace_seconds,
            client_id,
            client,
        };
        let mut tokens = None;
        let issue = |session: &Session| {
            let scope = narrowed(&session.scope, scope)?;
            let (made, issued) = self.issue(session, scope, Some((&replay, &hash)), now)?;
            tokens = Some(made);
            Ok(issued)
        };
        let revoke = |ended: &Ended| self.publisher.revoked(ended, now);
        match self.db.rotate(&hash, &asked, issue, revoke).await? {
            Rotation::Rotated(pending, events) => {
                self.audit.record(&events);
                self.publisher.deliver(&[pending]).await;
                tokens.ok_or(Problem::Internal)
            }
            Rotation::Replayed(session, answer) => {
                let answer = replay.open(&answer, &hash);
                let answer = answer.and_then(|text| Kept::read(&text, &session, now));
                let tokens = answer.ok_or(Problem::Internal)?;
                let same = narrowed(&session.scope, scope)? == tokens.scope;
                tracing::info!(event = "refresh_replayed", session = session.id);
                if same { Ok(tokens) } else { Err(Problem::ScopeInvalid) }
            }
            Rotation::Reused(ended, events) => {
                self.audit.record(&events);
                self.publisher.deliver(&[ended.pending]).await;
                Err(Problem::RefreshTokenReused)
            }
            Rotation::Refused(problem) => Err(problem),
            Rotation::Ended => Err(Problem::SessionEnded),
            Rotation::Unknown => Err(Problem::RefreshTokenInvalid),
        }
    }

    /// Ends the session of a refresh token; of one that nobody was given there is nothing to end.
    pub async fn logout(
        &self,
        refresh_token: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        if !OpaqueToken::Refresh.is_well_formed(refresh_token) {
            return Err(Problem::RefreshTokenInvalid);
        }
        let session = self.db.session_of(&token_hash(refresh_token)).await?;
        let session = session.ok_or(Problem::RefreshTokenInvalid)?;
        let event = Event::new(EventKind::Logout, Actor::User, client).user(&session.user_id);
        self.end(Which::One(&session.id), "logout", event.session(&session.id), now).await
    }

    /// Ends the session of an access token, which may have expired.
    pub async fn logout_bearer(
        &self,
        access_token: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let claims = self.claims(access_token).await?.ok_or(Problem::AccessTokenInvalid)?;
        let event = Event::new(EventKind::Logout, Actor::User, client).user(&claims.sub);
        self.end(Which::One(&claims.sid), "logout", event.session(&claims.sid), now).await
    }

    /// Ends all sessions of whoever holds the access token, which must be good.
    pub async fn logout_everywhere(
        &self,
        access_token: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let claims = self.good(access_token, now).await?;
        let which = Which::OfUser { user_id: &claims.sub, kept: None };
        let event = Event::new(EventKind::Logout, Actor::User, client).user(&claims.sub);
        self.end(which, "logout", event.detail("everywhere"), now).await
    }

    /// Revokes a token (RFC 7009): with a refresh token its whole session, with an access token that one alone.
    /// There is nothing to do for one that is not ours.
    pub async fn revoke(
        &self,
        token: &str,
        client_id: Option<&str>,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let refuse = |own: &str| client_id.is_some_and(|client| client != own);
        if OpaqueToken::Refresh.is_well_formed(token) {
            let Some(session) = self.db.session_of(&token_hash(token)).await? else {
                return Ok(Delivery::Done);
            };
            if refuse(&session.client_id) {
                return Err(Problem::ClientMismatch);
            }
            let event = Event::new(EventKind::SessionRevoked, Actor::User, client);
            let event = event.user(&session.user_id).session(&session.id);
            return self.end(Which::One(&session.id), "revoked", event, now).await;
        }
        let Some(claims) = self.claims(token).await?.filter(|claims| claims.exp > now.0) else {
            return Ok(Delivery::Done);
        };
        if refuse(&claims.client_id) {
            return Err(Problem::ClientMismatch);
        }
        let event = Event::new(EventKind::TokenRevoked, Actor::User, client);
        let events = [event.user(&claims.sub).session(&claims.sid)];
        let commands = self.publisher.token_revoked(&claims.jti, &token_hash(token), now);
        let grant = Grant { now, events: &events };
        let (token, expires_at) = ((claims.jti.as_str(), claims.sid.as_str()), claims.exp);
        let pending = self.db.revoke_token(token, expires_at, commands, &grant).await?;
        self.audit.record(&events);
        Ok(self.publisher.deliver(&[pending]).await)
    }

    /// Changes the password of whoever holds the access token and knows the old one. All other sessions end.
    pub async fn change_password(
        &self,
        access_token: &str,
        (old, new): (String, String),
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        if !is_acceptable_password(&new) {
            return Err(Problem::PasswordUnacceptable);
        }
        let claims = self.good(access_token, now).await?;
        let user = self.db.user_of(&claims.sub).await?.ok_or(Problem::AccessTokenInvalid)?;
        let address = client.address_group();
        // Whoever has found a session open is not to guess the password by it: it counts as a login does.
        let attempt = self.attempts.begin(&user.username, &address).await?;
        let verified = match self.passwords.verify(old, Some(user.password_hash.clone())).await {
            Ok(verified) => verified,
            Err(overloaded) => {
                self.attempts.cancel(&attempt).await;
                return Err(overloaded.into());
            }
        };
        if !verified.is_correct {
            let event = Event::new(EventKind::LoginFailed, Actor::User, client).user(&user.id);
            let events = [event.session(&claims.sid).detail("a change of the password")];
            self.db.note_alone(&events, now).await?;
            self.audit.record(&events);
            return Err(Problem::CredentialsInvalid);
        }
        self.attempts.succeeded(&attempt).await;
        let new_hash = self.passwords.hash(new).await?;
        let event = Event::new(EventKind::PasswordChanged, Actor::User, client);
        let events = [event.user(&user.id).session(&claims.sid)];
        let grant = Grant { now, events: &events };
        let hashes = (Some(user.password_hash.as_str()), new_hash.as_str());
        let revoke = |ended: &Ended| self.publisher.revoked(ended, now);
        let ended =
            self.db.set_password(&user.id, hashes, Some(&claims.sid), &grant, revoke).await?;
        let ended = ended.ok_or(Problem::CredentialsInvalid)?;
        self.audit.record(&events);
        Ok(self.publisher.deliver_ended(&ended).await)
    }

    /// The sessions of whoever holds the access token.
    pub async fn list(&self, access_token: &str, now: UnixSeconds) -> Result<Vec<Listed>, Problem> {
        let claims = self.good(access_token, now).await?;
        let idle = self.config.refresh_idle_seconds;
        let sessions = self.db.sessions(&claims.sub, now, idle).await?;
        let ids: Vec<&str> = sessions.iter().map(|session| session.id.as_str()).collect();
        let seen = self.publisher.last_seen(&ids).await;
        let listed = sessions.into_iter().zip(seen).map(|(session, seen)| Listed {
            current: session.id == claims.sid,
            last_seen_at: seen.unwrap_or(0).max(session.refreshed_at),
            id: session.id,
            created_at: session.created_at,
            expires_at: session.expires_at,
            device: session.device,
            address: session.address,
        });
        Ok(listed.collect())
    }

    /// Ends one session of whoever holds the access token.
    pub async fn remove(
        &self,
        access_token: &str,
        id: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let claims = self.good(access_token, now).await?;
        let idle = self.config.refresh_idle_seconds;
        let sessions = self.db.sessions(&claims.sub, now, idle).await?;
        if !sessions.iter().any(|session| session.id == id) {
            return Err(Problem::SessionUnknown);
        }
        let event = Event::new(EventKind::SessionRevoked, Actor::User, client).user(&claims.sub);
        self.end(Which::One(id), "removed", event.session(id), now).await
    }

    /// The claims of an access token that is good: ours, in date, not revoked, and of a session that goes on.
    pub async fn introspect(
        &self,
        access_token: &str,
        now: UnixSeconds,
    ) -> Result<Option<AccessClaims>, Problem> {
        let claims = self.claims(access_token).await?.filter(|claims| claims.exp > now.0);
        let Some(claims) = claims else { return Ok(None) };
        let idle = self.config.refresh_idle_seconds;
        let lives = self.db.token_lives(&claims.sid, &claims.jti, now, idle).await?;
        Ok(lives.then_some(claims))
    }

    async fn good(&self, access_token: &str, now: UnixSeconds) -> Result<AccessClaims, Problem> {
        self.introspect(access_token, now).await?.ok_or(Problem::AccessTokenInvalid)
    }

    /// What an access token of ours says, also one that has expired.
    async fn claims(&self, access_token: &str) -> Result<Option<AccessClaims>, Problem> {
        let (issuer, audience) = (&self.config.link.issuer, &self.config.audience);
        if !OpaqueToken::Access.is_well_formed(access_token) {
            return Ok(self.keys.keys().verify(access_token, issuer, audience));
        }
        let live = self.db.access_token(&token_hash(access_token)).await?;
        Ok(live.map(|live| AccessClaims {
            iss: issuer.clone(),
            sub: live.session.user_id,
            aud: audience.clone(),
            exp: live.expires_at,
            iat: live.issued_at,
            jti: live.jti,
            sid: live.session.id,
            client_id: live.session.client_id,
            scope: live.scope,
        }))
    }

    async fn end(
        &self,
        which: Which<'_>,
        why: &str,
        event: Event,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let events = [event];
        let revoke = |ended: &Ended| self.publisher.revoked(ended, now);
        let grant = Grant { now, events: &events };
        let ended = self.db.end_sessions(which, why, &grant, revoke).await?;
        self.audit.record(&events);
        Ok(self.publisher.deliver_ended(&ended).await)
    }

    /// A new pair of tokens; with `replay`, kept for whoever asks the same again.
    fn issue(
        &self,
        session: &Session,
        scope: String,
        replay: Option<(&ReplayKey, &str)>,
        now: UnixSeconds,
    ) -> Result<(Tokens, Issued), Problem> {
        // No token outlives its session.
        let left = session.expires_at.saturating_sub(now.0);
        let life = self.config.access_token_seconds.min(left);
        let claims = AccessClaims {
            iss: self.config.link.issuer.clone(),
            sub: session.user_id.clone(),
            aud: self.config.audience.clone(),
            exp: now.plus(life).0,
            iat: now.0,
            jti: crate::random::random_id(),
            sid: session.id.clone(),
            client_id: session.client_id.clone(),
            scope,
        };
        let access_token = match self.config.access_token_format {
            AccessTokenFormat::Jwt => self.keys.keys().sign(&claims, now).ok_or_else(|| {
                tracing::error!(event = "signing_failed");
                Problem::Internal
            })?,
            AccessTokenFormat::Opaque => OpaqueToken::Access.generate(),
        };
        let tokens = Tokens {
            access_token,
            token_type: "Bearer".to_owned(),
            expires_in: life,
            refresh_token: OpaqueToken::Refresh.generate(),
            scope: claims.scope.clone(),
            session_seconds: left,
        };
        let answer = replay.filter(|_| self.config.refresh_grace_seconds > 0);
        let answer = answer
            .and_then(|(key, place)| key.seal(&Kept::of(&tokens, now).write(), place, nonce()));
        let access_hash = token_hash(&tokens.access_token);
        let announcement = Announcement {
            session,
            claims: &claims,
            access_hash: &access_hash,
            seal: self.config.seal.as_ref(),
        };
        let issued = Issued {
            refresh_hash: token_hash(&tokens.refresh_token),
            access_expires_at: claims.exp,
            access_jti: claims.jti.clone(),
            access_scope: claims.scope.clone(),
            answer,
            commands: self.publisher.announced(&announcement, now),
            access_hash,
        };
        Ok((tokens, issued))
    }
}

/// An answer as it is kept for the grace.
#[derive(Deserialize, Serialize)]
struct Kept {
    tokens: Tokens,
    at: u64,
}

impl Kept {
    fn of(tokens: &Tokens, now: UnixSeconds) -> Self {
        Self { tokens: tokens.clone(), at: now.0 }
    }

    fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn read(text: &str, session: &Session, now: UnixSeconds) -> Option<Tokens> {
        let mut kept: Self = serde_json::from_str(text).ok()?;
        kept.tokens.session_seconds = session.expires_at.saturating_sub(now.0);
        Some(kept.tokens)
    }
}

/// The scope that was asked for, which must be part of the session's; all of it, where none was.
fn narrowed(whole: &str, asked: Option<&str>) -> Result<String, Problem> {
    let Some(asked) = asked else { return Ok(whole.to_owned()) };
    let mut names: Vec<&str> = Vec::new();
    for name in asked.split(' ').filter(|name| !name.is_empty()) {
        if !whole.split(' ').any(|own| own == name) {
            return Err(Problem::ScopeInvalid);
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { Ok(whole.to_owned()) } else { Ok(names.join(" ")) }
}

#[cfg(test)]
mod tests;
