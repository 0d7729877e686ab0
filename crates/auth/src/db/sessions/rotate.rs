//! Rotates refresh tokens.

use super::end::{EndedSession, SessionSelector};
use super::issued::{IssuedTokens, TokenHolder};
use super::{Session, seconds_before};
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::custom_claims::CustomClaims;
use crate::db::clients::time;
use crate::db::outbox::OutboxRow;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use crate::problem::Problem;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// The data that decides about a refresh.
pub struct RefreshRequest<'a> {
    pub now: UnixSeconds,
    pub idle_seconds: u64,
    pub grace_seconds: u64,
    pub client_id: Option<&'a str>,
    pub client: &'a ClientInfo,
}

/// The result of presenting a refresh token.
pub enum Rotation {
    /// The token is now used, and the session has a new one.
    Rotated { outbox_row: OutboxRow, events: Vec<Event> },
    /// The token was used before, within the grace period. This is the stored response.
    Replayed { session: Session, answer: String },
    /// The token was used before the grace period, so its session has ended.
    Reused { session: EndedSession, events: Vec<Event> },
    /// The request is rejected and nothing has changed.
    Refused(Problem),
    /// The session is expired, idle or revoked, or its user is disabled.
    Ended,
    /// The token was never issued, or has been deleted.
    Unknown,
}

impl Db {
    /// Uses up a refresh token and adds the new tokens that `issue` makes. For a used token,
    /// returns the stored response within the grace period, and ends the session after it. Of two
    /// concurrent requests, a compare-and-swap decides which one uses the token.
    ///
    /// `revoke` returns the commands for the store that follow from the end of a session.
    pub async fn rotate_refresh_token(
        &self,
        old_hash: &str,
        request: &RefreshRequest<'_>,
        issue: impl FnOnce(&Session, &TokenHolder) -> Result<IssuedTokens, Problem>,
        revoke: impl Fn(&EndedSession) -> Vec<Command>,
    ) -> Result<Rotation, sqlx::Error> {
        let now = request.now;
        let mut tx = self.begin().await?;
        let Some(row) = self.refresh_token_row(&mut tx, old_hash, now).await? else {
            return Ok(Rotation::Unknown);
        };
        let session = Session::read(&row)?;
        let idle_until = session.refreshed_at.saturating_add(request.idle_seconds);
        let is_over = row.try_get::<Option<i64>, _>("revoked_at")?.is_some()
            || row.try_get::<Option<i64>, _>("disabled_at")?.is_some()
            || session.expires_at <= now.0
            || idle_until <= now.0;
        if is_over {
            return Ok(Rotation::Ended);
        }
        if request.client_id.is_some_and(|client| client != session.client_id) {
            return Ok(Rotation::Refused(Problem::ClientMismatch));
        }
        if row.try_get::<Option<i64>, _>("spent_at")?.is_some() {
            return self.handle_reuse(tx, &row, session, request, revoke).await;
        }
        let claims: Option<String> = row.try_get("claims")?;
        let holder = TokenHolder {
            claims: CustomClaims::decode(claims.as_deref()),
            tokens_revoked_at: time(&row, "tokens_revoked_at")?,
        };
        let issued = match issue(&session, &holder) {
            Ok(issued) => issued,
            Err(problem) => return Ok(Rotation::Refused(problem)),
        };
        self.count(Purpose::Request);
        let spent = sqlx::query(
            "UPDATE refresh_tokens SET spent_at = $1, answer = $2 WHERE hash = $3 AND spent_at IS NULL",
        )
        .bind(to_i64(now.0))
        .bind(issued.answer.clone())
        .bind(old_hash)
        .execute(&mut *tx)
        .await?;
        if spent.rows_affected() == 0 {
            // A concurrent request has committed first. Read the response that it stored.
            return match self.refresh_token_row(&mut tx, old_hash, now).await? {
                Some(row) => self.handle_reuse(tx, &row, session, request, revoke).await,
                None => Ok(Rotation::Unknown),
            };
        }
        self.count(Purpose::Request);
        // This locks the session's row. A concurrent revocation waits and then finds the new
        // tokens, or has committed before.
        let continued = sqlx::query(
            "UPDATE sessions SET refreshed_at = $1, device = $2, address = $3,
             country = CASE WHEN $5 = '' THEN country ELSE $5 END
             WHERE id = $4 AND revoked_at IS NULL",
        )
        .bind(to_i64(now.0))
        .bind(request.client.device.as_str())
        .bind(request.client.address.as_str())
        .bind(session.id.as_str())
        .bind(request.client.country.as_deref().unwrap_or_default())
        .execute(&mut *tx)
        .await?;
        if continued.rows_affected() == 0 {
            return Ok(Rotation::Ended);
        }
        self.insert_refresh_token(&mut tx, &issued, &session.id, now.0).await?;
        let outbox_row = self.enqueue(&mut tx, &session.id, issued.commands, now).await?;
        let mut events = Vec::new();
        if row.try_get::<i64, _>("recent")? == BURST {
            let event = Event::new(EventKind::RefreshBurst, Actor::User, request.client);
            let detail = format!("{BURST} in {BURST_SECONDS} s");
            events.push(event.user(&session.user_id).session(&session.id).detail(detail));
        }
        self.append_events(&mut tx, &events, now).await?;
        tx.commit().await?;
        Ok(Rotation::Rotated { outbox_row, events })
    }

    /// Handles a used token: returns the stored response, or ends the session.
    async fn handle_reuse(
        &self,
        mut tx: Tx,
        row: &AnyRow,
        session: Session,
        request: &RefreshRequest<'_>,
        revoke: impl Fn(&EndedSession) -> Vec<Command>,
    ) -> Result<Rotation, sqlx::Error> {
        let spent_at = row.try_get::<Option<i64>, _>("spent_at")?.map_or(0, i64::unsigned_abs);
        let answer: Option<String> = row.try_get("answer")?;
        let is_within_grace = spent_at.saturating_add(request.grace_seconds) > request.now.0;
        if let Some(answer) = answer.filter(|_| is_within_grace) {
            return Ok(Rotation::Replayed { session, answer });
        }
        let selector = SessionSelector::One(&session.id);
        let ended =
            self.end_in(&mut tx, selector, "refresh_token_reused", request.now, &revoke).await?;
        let Some(ended) = ended.into_iter().next() else {
            // A concurrent request has ended the session.
            tx.rollback().await?;
            return Ok(Rotation::Ended);
        };
        let event = Event::new(EventKind::RefreshTokenReused, Actor::User, request.client);
        let age = request.now.0.saturating_sub(spent_at);
        let event = event.user(&session.user_id).session(&session.id);
        let events = vec![event.detail(format!("spent {age} s before"))];
        self.append_events(&mut tx, &events, request.now).await?;
        tx.commit().await?;
        Ok(Rotation::Reused { session: ended, events })
    }

    /// Returns a refresh token with its session, its user's state and the number of recent
    /// refreshes. The user's scope and claims can't change before the transaction ends. The scope
    /// is that of the locked row: Postgres may return an older row of the session.
    async fn refresh_token_row(
        &self,
        tx: &mut Tx,
        hash: &str,
        now: UnixSeconds,
    ) -> Result<Option<AnyRow>, sqlx::Error> {
        self.count(Purpose::Request);
        let select = self.sharing_lock(
            "SELECT r.spent_at, r.answer, s.id, s.user_id, s.client_id, u.scope, s.created_at,
             s.expires_at, s.refreshed_at, s.device, s.address, s.revoked_at, u.disabled_at,
             u.claims, u.tokens_revoked_at,
             (SELECT COUNT(*) FROM refresh_tokens b
              WHERE b.session_id = s.id AND b.created_at > $1) AS recent
             FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id
             JOIN users u ON u.id = s.user_id WHERE r.hash = $2 /* for share of u */",
        );
        let query = sqlx::query(select).bind(seconds_before(now, BURST_SECONDS)).bind(hash);
        query.fetch_optional(&mut **tx).await
    }
}

/// The number of refreshes of one session within [`BURST_SECONDS`] that are recorded as an event.
const BURST: i64 = 10;
const BURST_SECONDS: u64 = 60;
