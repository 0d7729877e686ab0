//! Logins.

use super::service::Sessions;
use super::tokens::Tokens;
use crate::accounts::PASSWORD_BYTES_MAX;
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::db::{EndedSession, NewSession, Session, TokenHolder, User};
use crate::problem::Problem;
use crate::random::random_id;
use crate::steps::database;
use portcullis_core::{TokenHash, UnixSeconds};
use portcullis_server::step;
use tracing::Instrument as _;

/// A user whose password was verified.
pub struct VerifiedUser {
    pub user: User,
    /// A new hash of the password, if the old one was made with outdated parameters.
    pub rehashed: Option<String>,
}

impl Sessions {
    /// Begins a session if the password is correct. Takes the same time for an unknown username.
    pub async fn login(
        &self,
        username: &str,
        password: String,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Tokens, Problem> {
        let verified = self.verify_login(username, password, client, EventKind::LoginFailed, now);
        let VerifiedUser { user, rehashed } = verified.await?;
        let session = Session {
            id: random_id(),
            user_id: user.id.clone(),
            client_id: self.config.client_id.clone(),
            scope: user.scope.clone(),
            created_at: now.0,
            expires_at: now.plus(self.config.refresh_token_seconds).0,
            refreshed_at: now.0,
            device: client.device.clone(),
            address: client.address.clone(),
        };
        let holder =
            TokenHolder { claims: user.claims.clone(), tokens_revoked_at: user.tokens_revoked_at };
        let (tokens, issued) = self.issue(&session, &holder, session.scope.clone(), None, now)?;
        let new = NewSession {
            session: &session,
            user: &user,
            rehashed: rehashed.as_deref(),
            sessions_max: self.config.sessions_per_user_max,
            client,
        };
        let revoke = |ended: &EndedSession| self.publisher.commands().session_ended(ended, now);
        let begun = self.db.begin_session(&new, issued, revoke);
        let begun = begun.instrument(database("begin_session")).await?;
        // `None` if the password or the scope was changed meanwhile, or tokens were revoked.
        let begun = begun.ok_or(Problem::ChangedMeanwhile)?;
        self.audit.record(&begun.events);
        self.publisher.deliver(begun.outbox_rows).await;
        Ok(tokens)
    }

    /// Returns the user with this name if the password is correct, within the limits of login
    /// attempts. Otherwise audits `failure`. Takes the same time for an unknown username.
    pub async fn verify_login(
        &self,
        username: &str,
        password: String,
        client: &ClientInfo,
        failure: EventKind,
        now: UnixSeconds,
    ) -> Result<VerifiedUser, Problem> {
        // Postgres rejects a NUL in a query, and usernames can't contain one.
        let is_impossible = username.len() > USERNAME_BYTES_MAX || username.contains('\0');
        if is_impossible || password.len() > PASSWORD_BYTES_MAX {
            return Err(Problem::CredentialsInvalid);
        }
        let address = client.address_group();
        let attempt = self.attempts.begin(username, &address).instrument(step!("throttle")).await?;
        let verified = match self.verify_user(username, password).await {
            Ok(verified) => verified,
            Err(problem) => {
                self.attempts.cancel(&attempt).await;
                return Err(problem);
            }
        };
        let Some(verified) = verified else {
            let event = Event::new(failure, Actor::User, client);
            let events = [event.detail(TokenHash::of(username).to_string())];
            let recorded = self.db.record_events(&events, now);
            recorded.instrument(database("record_events")).await?;
            self.audit.record(&events);
            return Err(Problem::CredentialsInvalid);
        };
        self.attempts.succeeded(&attempt).await;
        Ok(verified)
    }

    /// Returns the user with this name; `None` if the password is wrong or the user is disabled.
    async fn verify_user(
        &self,
        username: &str,
        password: String,
    ) -> Result<Option<VerifiedUser>, Problem> {
        let user = self.db.user_by_name(username).instrument(database("user_by_name")).await?;
        let user = user.filter(|user| !user.disabled);
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let check = self.passwords.verify(password, hash).await?;
        let user = user.filter(|_| check.is_correct);
        Ok(user.map(|user| VerifiedUser { user, rehashed: check.rehashed }))
    }
}

/// The longest username.
const USERNAME_BYTES_MAX: usize = 256;
