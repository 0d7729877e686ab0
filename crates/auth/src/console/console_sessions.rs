//! The sessions of operators: how they begin and end, and what a request with their cookie may do.

use super::operator::Operator;
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::db::{Db, NewConsoleSession};
use crate::problem::Problem;
use crate::scope::ConsoleAccess;
use crate::sessions::VerifiedUser;
use crate::token::{OpaqueToken, token_hash};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::UnixSeconds;
use std::sync::Arc;

/// The sessions in the console.
pub struct ConsoleSessions {
    db: Arc<Db>,
    session_seconds: u64,
}

/// A session that has begun.
pub struct BegunConsoleSession {
    /// The value of its cookie.
    pub token: String,
    pub ends_at: u64,
    pub events: Vec<Event>,
}

impl ConsoleSessions {
    /// Creates the service.
    pub fn new(db: Arc<Db>, session_seconds: u64) -> Self {
        Self { db, session_seconds }
    }

    /// Returns the life of a session, even if it is used.
    pub fn session_seconds(&self) -> u64 {
        self.session_seconds
    }

    /// Begins a session. It has a new token, whatever cookie the browser has sent. The session of
    /// that cookie ends.
    ///
    /// # Errors
    ///
    /// [`Problem::ChangedMeanwhile`] if the user has changed since the password was verified.
    pub async fn begin(
        &self,
        verified: &VerifiedUser,
        replaces: Option<&str>,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<BegunConsoleSession, Problem> {
        let token = OpaqueToken::Console.generate();
        let ends_at = now.plus(self.session_seconds);
        let event = Event::new(EventKind::ConsoleLogin, Actor::User, client);
        let events = vec![event.user(&verified.user.id)];
        let replaces = replaces.map(token_hash);
        let new = NewConsoleSession {
            user: &verified.user,
            rehashed: verified.rehashed.as_deref(),
            hash: &token_hash(&token),
            ends_at,
            replaces: replaces.as_deref(),
        };
        match self.db.begin_console_session(&new, &events, now).await? {
            true => Ok(BegunConsoleSession { token, ends_at: ends_at.0, events }),
            false => Err(Problem::ChangedMeanwhile),
        }
    }

    /// Returns the operator of a request with this cookie. If it `is_use`, notes that the session
    /// is in use.
    ///
    /// # Errors
    ///
    /// [`Problem::SessionMissing`] if there is no such session, or it has ended.
    pub async fn authenticate(
        &self,
        token: &str,
        client: ClientInfo,
        is_use: bool,
        now: UnixSeconds,
    ) -> Result<Operator, Problem> {
        // Other texts were never issued.
        if !OpaqueToken::Console.is_well_formed(token) {
            return Err(Problem::SessionMissing);
        }
        let hash = token_hash(token);
        let session = self.db.console_session(&hash).await?.ok_or(Problem::SessionMissing)?;
        if is_over(session.seen_at, session.ends_at, now) {
            return Err(Problem::SessionMissing);
        }
        let access = ConsoleAccess::of(&session.scope).ok_or(Problem::SessionMissing)?;
        if is_use && session.seen_at + TOUCH_EACH_SECONDS <= now.0 {
            self.db.touch_console_session(&hash, now).await?;
        }
        Ok(Operator {
            user_id: session.user_id,
            username: session.username,
            may_act: access == ConsoleAccess::Act,
            client,
            session_hash: hash,
            ends_at: session.ends_at,
        })
    }

    /// Returns whether an operator's session goes on. Streams ask this, because it does not count
    /// as a use of the session.
    pub async fn is_active(&self, operator: &Operator, now: UnixSeconds) -> Result<bool, Problem> {
        // Its end is known also while the database does not answer.
        if now.0 >= operator.ends_at {
            return Ok(false);
        }
        let session = self.db.console_session(&operator.session_hash).await?;
        Ok(session.is_some_and(|session| {
            !is_over(session.seen_at, session.ends_at, now)
                && ConsoleAccess::of(&session.scope).is_some()
        }))
    }

    /// Ends an operator's session. Returns the event, unless it had ended before.
    pub async fn end(&self, operator: &Operator, now: UnixSeconds) -> Result<Vec<Event>, Problem> {
        let event = Event::new(EventKind::ConsoleLogout, Actor::User, &operator.client);
        let events = vec![event.user(&operator.user_id)];
        let ended = self.db.end_console_session(&operator.session_hash, &events, now).await?;
        Ok(if ended { events } else { Vec::new() })
    }
}

/// Returns whether a session is over: by its age, or because it was idle.
fn is_over(seen_at: u64, ends_at: u64, now: UnixSeconds) -> bool {
    now.0 >= ends_at || now.0 >= seen_at.saturating_add(IDLE_SECONDS)
}

/// Returns the token that each unsafe request of a session must repeat in a header. It is derived
/// from the cookie, which no script can read.
pub fn csrf_token(cookie: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, cookie.as_bytes());
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, b"portcullis console csrf"))
}

/// A session without a use for this long ends.
pub const IDLE_SECONDS: u64 = 900;
/// How precisely the last use of a session is known. Each request would cost a write otherwise.
const TOUCH_EACH_SECONDS: u64 = 60;
