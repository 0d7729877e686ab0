//! Sessions and their refresh tokens.

use super::{Db, Pending, Purpose, Tx, User, seconds};
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::problem::Problem;
use crate::token::ACCESS_TOKEN_SECONDS_MAX;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// A login, for as long as it lasts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    pub id: String,
    pub user_id: String,
    pub client_id: String,
    pub scope: String,
    pub created_at: u64,
    pub expires_at: u64,
    /// When it was refreshed last, or begun.
    pub refreshed_at: u64,
    pub device: String,
    pub address: String,
}

/// A pair of tokens, as the database keeps it.
pub struct Issued {
    pub refresh_hash: String,
    pub access_hash: String,
    pub access_expires_at: u64,
    pub access_jti: String,
    pub access_scope: String,
    /// The whole answer, sealed for whoever asks the same again.
    pub answer: Option<String>,
    /// What the store must learn.
    pub commands: Vec<Command>,
}

/// A change: when it happens, and what the audit says of it.
pub struct Grant<'a> {
    pub now: UnixSeconds,
    pub events: &'a [Event],
}

/// What a refresh is judged by.
pub struct Asked<'a> {
    pub now: UnixSeconds,
    pub idle_seconds: u64,
    pub grace_seconds: u64,
    pub client_id: Option<&'a str>,
    pub client: &'a ClientInfo,
}

/// What became of a refresh token that was presented.
pub enum Rotation {
    /// It was good; the session has a new one.
    Rotated(Pending, Vec<Event>),
    /// It was spent a moment ago; this was the answer.
    Replayed(Session, String),
    /// It was spent before: the session is over.
    Reused(Ended, Vec<Event>),
    /// Nothing has changed, for this reason.
    Refused(Problem),
    /// The session is over, was revoked, or its user may not log in any more.
    Ended,
    /// Nobody was ever given it.
    Unknown,
}

/// Which sessions are meant.
#[derive(Clone, Copy)]
pub enum Which<'a> {
    One(&'a str),
    OfUser {
        user_id: &'a str,
        /// This one goes on.
        kept: Option<&'a str>,
    },
}

/// A session that is over now.
#[derive(Clone, Debug)]
pub struct Ended {
    pub id: String,
    pub user_id: String,
    /// The hashes of its access tokens that may still live.
    pub access_hashes: Vec<String>,
    /// The hashes of its refresh tokens that may have been answered a moment ago.
    pub refresh_hashes: Vec<String>,
    pub pending: Pending,
}

/// An access token that goes on, as the database knows it.
pub struct Live {
    pub session: Session,
    pub jti: String,
    pub scope: String,
    pub issued_at: u64,
    pub expires_at: u64,
}

impl Db {
    /// Begins a session with its first tokens, if the user's password is still the one that was verified, which
    /// `rehashed` takes the place of. Ends the oldest sessions beyond `most`.
    pub async fn begin_session(
        &self,
        session: &Session,
        (user, rehashed): (&User, Option<&str>),
        issued: Issued,
        most: u32,
        client: &ClientInfo,
        revoke: impl Fn(&Ended) -> Vec<Command>,
    ) -> Result<Option<(Vec<Pending>, Vec<Event>)>, sqlx::Error> {
        let now = UnixSeconds(session.created_at);
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        // It holds the user's row until the end: a password that is changed meanwhile waits, or has won.
        let same = sqlx::query(
            "UPDATE users SET password_hash = $1
             WHERE id = $2 AND password_hash = $3 AND disabled_at IS NULL",
        )
        .bind(rehashed.unwrap_or(&user.password_hash))
        .bind(user.id.as_str())
        .bind(user.password_hash.as_str())
        .execute(&mut *tx)
        .await?;
        if same.rows_affected() == 0 {
            return Ok(None);
        }
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO sessions (id, user_id, client_id, scope, created_at, expires_at,
             refreshed_at, device, address) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(session.id.as_str())
        .bind(session.user_id.as_str())
        .bind(session.client_id.as_str())
        .bind(session.scope.as_str())
        .bind(seconds(session.created_at))
        .bind(seconds(session.expires_at))
        .bind(seconds(session.created_at))
        .bind(session.device.as_str())
        .bind(session.address.as_str())
        .execute(&mut *tx)
        .await?;
        self.insert_refresh(&mut tx, &issued, &session.id, session.created_at).await?;
        let mut pending =
            vec![self.enqueue(&mut tx, &session.id, issued.commands, session.created_at).await?];
        let event = |kind| Event::new(kind, Actor::User, client).user(&session.user_id);
        let mut events = vec![event(EventKind::Login).session(&session.id)];
        for id in self.beyond(&mut tx, session, most).await? {
            let which = Which::One(&id);
            let ended = self.end_all(&mut tx, which, "sessions_over_max", now, &revoke).await?;
            pending.extend(ended.into_iter().map(|ended| ended.pending));
            let event = Event::new(EventKind::SessionsOverMax, Actor::Service, client);
            events.push(event.user(&session.user_id).session(&id));
        }
        if let Some(country) = &client.country
            && self.is_new_country(&mut tx, &session.user_id, country, now).await?
        {
            events.push(event(EventKind::CountryNew).session(&session.id).detail(country.clone()));
        }
        self.note(&mut tx, &events, now.0).await?;
        tx.commit().await?;
        Ok(Some((pending, events)))
    }

    /// The user's sessions beyond the `most` that were used last, of which `new` is one.
    async fn beyond(
        &self,
        tx: &mut Tx,
        new: &Session,
        most: u32,
    ) -> Result<Vec<String>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT id FROM sessions
             WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND id <> $3
             ORDER BY refreshed_at DESC, created_at DESC LIMIT 1000 OFFSET $4",
        )
        .bind(new.user_id.as_str())
        .bind(seconds(new.created_at))
        .bind(new.id.as_str())
        .bind(i64::from(most.saturating_sub(1)))
        .fetch_all(&mut **tx)
        .await?;
        rows.iter().map(|row| row.try_get("id")).collect()
    }

    /// Whether the user was never seen in this country before, but in others.
    async fn is_new_country(
        &self,
        tx: &mut Tx,
        user_id: &str,
        country: &str,
        now: UnixSeconds,
    ) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let added = sqlx::query(
            "INSERT INTO user_countries (user_id, country, first_seen_at) VALUES ($1, $2, $3)
             ON CONFLICT (user_id, country) DO NOTHING",
        )
        .bind(user_id)
        .bind(country)
        .bind(seconds(now.0))
        .execute(&mut **tx)
        .await?;
        if added.rows_affected() == 0 {
            return Ok(false);
        }
        self.count(Purpose::Request);
        let row = sqlx::query("SELECT COUNT(*) AS seen FROM user_countries WHERE user_id = $1")
            .bind(user_id)
            .fetch_one(&mut **tx)
            .await?;
        Ok(row.try_get::<i64, _>("seen")? > 1)
    }

    /// Spends a refresh token and puts a new one in its place, as `issue` makes it; or gives the same answer again
    /// within the grace; or ends the session of one that was spent before. One compare-and-swap decides: of two
    /// that come at once, one finds the token spent.
    pub async fn rotate(
        &self,
        old_hash: &str,
        asked: &Asked<'_>,
        issue: impl FnOnce(&Session) -> Result<Issued, Problem>,
        revoke: impl Fn(&Ended) -> Vec<Command>,
    ) -> Result<Rotation, sqlx::Error> {
        let now = asked.now.0;
        let mut tx = self.begin().await?;
        let Some(row) = self.refresh_row(&mut tx, old_hash, now).await? else {
            return Ok(Rotation::Unknown);
        };
        let session = session(&row)?;
        let idle_until = session.refreshed_at.saturating_add(asked.idle_seconds);
        let ended = row.try_get::<Option<i64>, _>("revoked_at")?.is_some()
            || row.try_get::<Option<i64>, _>("disabled_at")?.is_some()
            || session.expires_at <= now
            || idle_until <= now;
        if ended {
            return Ok(Rotation::Ended);
        }
        if asked.client_id.is_some_and(|client| client != session.client_id) {
            return Ok(Rotation::Refused(Problem::ClientMismatch));
        }
        if row.try_get::<Option<i64>, _>("spent_at")?.is_some() {
            return self.respent(tx, &row, session, asked, revoke).await;
        }
        let issued = match issue(&session) {
            Ok(issued) => issued,
            Err(problem) => return Ok(Rotation::Refused(problem)),
        };
        self.count(Purpose::Request);
        let swapped = sqlx::query(
            "UPDATE refresh_tokens SET spent_at = $1, answer = $2 WHERE hash = $3 AND spent_at IS NULL",
        )
        .bind(seconds(now))
        .bind(issued.answer.clone())
        .bind(old_hash)
        .execute(&mut *tx)
        .await?;
        if swapped.rows_affected() == 0 {
            // Somebody else was first, and has committed: what they left is to be read anew.
            return match self.refresh_row(&mut tx, old_hash, now).await? {
                Some(row) => self.respent(tx, &row, session, asked, revoke).await,
                None => Ok(Rotation::Unknown),
            };
        }
        self.count(Purpose::Request);
        // It holds the session's row until the end: who ends it meanwhile waits and finds the new tokens, or has
        // won.
        let goes_on = sqlx::query(
            "UPDATE sessions SET refreshed_at = $1, device = $2, address = $3
             WHERE id = $4 AND revoked_at IS NULL",
        )
        .bind(seconds(now))
        .bind(asked.client.device.as_str())
        .bind(asked.client.address.as_str())
        .bind(session.id.as_str())
        .execute(&mut *tx)
        .await?;
        if goes_on.rows_affected() == 0 {
            return Ok(Rotation::Ended);
        }
        self.insert_refresh(&mut tx, &issued, &session.id, now).await?;
        let pending = self.enqueue(&mut tx, &session.id, issued.commands, now).await?;
        let mut events = Vec::new();
        if row.try_get::<i64, _>("recent")? == BURST {
            let event = Event::new(EventKind::RefreshBurst, Actor::User, asked.client);
            let detail = format!("{BURST} in {BURST_SECONDS} s");
            events.push(event.user(&session.user_id).session(&session.id).detail(detail));
        }
        self.note(&mut tx, &events, now).await?;
        tx.commit().await?;
        Ok(Rotation::Rotated(pending, events))
    }

    /// What becomes of a token that was spent before.
    async fn respent(
        &self,
        mut tx: Tx,
        row: &AnyRow,
        session: Session,
        asked: &Asked<'_>,
        revoke: impl Fn(&Ended) -> Vec<Command>,
    ) -> Result<Rotation, sqlx::Error> {
        let spent_at = row.try_get::<Option<i64>, _>("spent_at")?.map_or(0, i64::unsigned_abs);
        let answer: Option<String> = row.try_get("answer")?;
        let grace = spent_at.saturating_add(asked.grace_seconds) > asked.now.0;
        if let Some(answer) = answer.filter(|_| grace) {
            return Ok(Rotation::Replayed(session, answer));
        }
        let which = Which::One(&session.id);
        let ended =
            self.end_all(&mut tx, which, "refresh_token_reused", asked.now, &revoke).await?;
        let event = Event::new(EventKind::RefreshTokenReused, Actor::User, asked.client);
        let age = asked.now.0.saturating_sub(spent_at);
        let event = event.user(&session.user_id).session(&session.id);
        let events = vec![event.detail(format!("spent {age} s before"))];
        self.note(&mut tx, &events, asked.now.0).await?;
        tx.commit().await?;
        Ok(match ended.into_iter().next() {
            Some(ended) => Rotation::Reused(ended, events),
            None => Rotation::Ended,
        })
    }

    async fn refresh_row(
        &self,
        tx: &mut Tx,
        hash: &str,
        now: u64,
    ) -> Result<Option<AnyRow>, sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query(
            "SELECT r.spent_at, r.answer, s.id, s.user_id, s.client_id, s.scope, s.created_at,
             s.expires_at, s.refreshed_at, s.device, s.address, s.revoked_at, u.disabled_at,
             (SELECT COUNT(*) FROM refresh_tokens b
              WHERE b.session_id = s.id AND b.created_at > $1) AS recent
             FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id
             JOIN users u ON u.id = s.user_id WHERE r.hash = $2",
        )
        .bind(seconds(now.saturating_sub(BURST_SECONDS)))
        .bind(hash)
        .fetch_optional(&mut **tx)
        .await
    }

    async fn insert_refresh(
        &self,
        tx: &mut Tx,
        issued: &Issued,
        session_id: &str,
        now: u64,
    ) -> Result<(), sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO refresh_tokens (hash, session_id, created_at, access_hash,
             access_expires_at, access_jti, access_scope) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(issued.refresh_hash.as_str())
        .bind(session_id)
        .bind(seconds(now))
        .bind(issued.access_hash.as_str())
        .bind(seconds(issued.access_expires_at))
        .bind(issued.access_jti.as_str())
        .bind(issued.access_scope.as_str())
        .execute(&mut **tx)
        .await
        .map(|_| ())
    }

    /// The session that a refresh token belongs to, spent or not.
    pub async fn session_of(&self, refresh_hash: &str) -> Result<Option<Session>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT s.id, s.user_id, s.client_id, s.scope, s.created_at, s.expires_at,
             s.refreshed_at, s.device, s.address
             FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id WHERE r.hash = $1",
        )
        .bind(refresh_hash)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(session).transpose()
    }

    /// Whether the session of a token goes on, its user may have one, and the token itself was not revoked.
    pub async fn token_lives(
        &self,
        sid: &str,
        jti: &str,
        now: UnixSeconds,
        idle_seconds: u64,
    ) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT 1 AS one FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > $2 AND s.refreshed_at > $3
             AND u.disabled_at IS NULL
             AND NOT EXISTS (SELECT 1 FROM revoked_tokens t WHERE t.jti = $4)",
        )
        .bind(sid)
        .bind(seconds(now.0))
        .bind(oldest(now, idle_seconds))
        .bind(jti)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.is_some())
    }

    /// The access token of that hash, if it was issued here; good or not.
    pub async fn access_token(&self, hash: &str) -> Result<Option<Live>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT s.id, s.user_id, s.client_id, s.scope, s.created_at, s.expires_at,
             s.refreshed_at, s.device, s.address,
             r.access_jti, r.access_scope, r.access_expires_at, r.created_at AS issued_at
             FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id WHERE r.access_hash = $1",
        )
        .bind(hash)
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let text = |name| row.try_get::<Option<String>, _>(name).map(Option::unwrap_or_default);
        Ok(Some(Live {
            session: session(&row)?,
            jti: text("access_jti")?,
            scope: text("access_scope")?,
            issued_at: row.try_get::<i64, _>("issued_at")?.unsigned_abs(),
            expires_at: row
                .try_get::<Option<i64>, _>("access_expires_at")?
                .map_or(0, i64::unsigned_abs),
        }))
    }

    /// Whether a session is over; none if there is none of that name.
    pub async fn is_over(&self, id: &str) -> Result<Option<bool>, sqlx::Error> {
        self.count(Purpose::Outbox);
        let row = sqlx::query("SELECT revoked_at FROM sessions WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| Ok(row.try_get::<Option<i64>, _>("revoked_at")?.is_some())).transpose()
    }

    /// The user's sessions that go on, the one that was used last first.
    pub async fn sessions(
        &self,
        user_id: &str,
        now: UnixSeconds,
        idle_seconds: u64,
    ) -> Result<Vec<Session>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT id, user_id, client_id, scope, created_at, expires_at, refreshed_at, device,
             address FROM sessions
             WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND refreshed_at > $3
             ORDER BY refreshed_at DESC, created_at DESC LIMIT 1000",
        )
        .bind(user_id)
        .bind(seconds(now.0))
        .bind(oldest(now, idle_seconds))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(session).collect()
    }

    /// Ends sessions, one also if it is over already, and says so to the store.
    pub async fn end_sessions(
        &self,
        which: Which<'_>,
        why: &str,
        grant: &Grant<'_>,
        revoke: impl Fn(&Ended) -> Vec<Command>,
    ) -> Result<Vec<Ended>, sqlx::Error> {
        let mut tx = self.begin().await?;
        let ended = self.end_all(&mut tx, which, why, grant.now, &revoke).await?;
        self.note(&mut tx, grant.events, grant.now.0).await?;
        tx.commit().await?;
        Ok(ended)
    }

    /// Revokes one access token, of that name and session. What the store was not told of the session yet is taken back:
    /// the token's record may be in it.
    pub async fn revoke_token(
        &self,
        (jti, session_id): (&str, &str),
        expires_at: u64,
        commands: Vec<Command>,
        grant: &Grant<'_>,
    ) -> Result<Pending, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO revoked_tokens (jti, revoked_at, expires_at) VALUES ($1, $2, $3)
             ON CONFLICT (jti) DO NOTHING",
        )
        .bind(jti)
        .bind(seconds(grant.now.0))
        .bind(seconds(expires_at))
        .execute(&mut *tx)
        .await?;
        self.forget(&mut tx, session_id).await?;
        let pending = self.enqueue(&mut tx, jti, commands, grant.now.0).await?;
        self.note(&mut tx, grant.events, grant.now.0).await?;
        tx.commit().await?;
        Ok(pending)
    }

    pub(super) async fn end_all(
        &self,
        tx: &mut Tx,
        which: Which<'_>,
        why: &str,
        now: UnixSeconds,
        revoke: &impl Fn(&Ended) -> Vec<Command>,
    ) -> Result<Vec<Ended>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = match which {
            Which::One(id) => {
                let update = sqlx::query(
                    "UPDATE sessions SET revoked_at = COALESCE(revoked_at, $1),
                     revoked_why = COALESCE(revoked_why, $2) WHERE id = $3 RETURNING id, user_id",
                );
                update.bind(seconds(now.0)).bind(why).bind(id).fetch_all(&mut **tx).await?
            }
            Which::OfUser { user_id, kept } => {
                // Whoever changes several sessions of a user has the user's row first, so that no two wait for each other.
                self.count(Purpose::Request);
                sqlx::query("UPDATE users SET disabled_at = disabled_at WHERE id = $1")
                    .bind(user_id)
                    .execute(&mut **tx)
                    .await?;
                let update = sqlx::query(
                    "UPDATE sessions SET revoked_at = $1, revoked_why = $2
                     WHERE user_id = $3 AND revoked_at IS NULL AND id <> $4 RETURNING id, user_id",
                );
                let update = update.bind(seconds(now.0)).bind(why).bind(user_id);
                update.bind(kept.unwrap_or_default()).fetch_all(&mut **tx).await?
            }
        };
        let mut all = Vec::new();
        for row in rows {
            let (id, user_id): (String, String) = (row.try_get("id")?, row.try_get("user_id")?);
            self.count(Purpose::Request);
            let tokens = sqlx::query(
                "SELECT hash, access_hash FROM refresh_tokens
                 WHERE session_id = $1 AND created_at > $2 ORDER BY created_at DESC LIMIT $3",
            )
            .bind(id.as_str())
            .bind(oldest(now, ACCESS_TOKEN_SECONDS_MAX))
            .bind(ISSUED_MAX)
            .fetch_all(&mut **tx)
            .await?;
            let hashes = |name| {
                let all = tokens.iter().map(|row| row.try_get::<Option<String>, _>(name));
                all.filter_map(Result::transpose).collect::<Result<Vec<String>, _>>()
            };
            let nothing = Pending::default();
            let mut ended = Ended {
                id,
                user_id,
                access_hashes: hashes("access_hash")?,
                refresh_hashes: hashes("hash")?,
                pending: nothing,
            };
            self.forget(tx, &ended.id).await?;
            ended.pending = self.enqueue(tx, &ended.id, revoke(&ended), now.0).await?;
            all.push(ended);
        }
        Ok(all)
    }
}

fn session(row: &AnyRow) -> Result<Session, sqlx::Error> {
    let moment = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    Ok(Session {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        client_id: row.try_get("client_id")?,
        scope: row.try_get("scope")?,
        created_at: moment("created_at")?,
        expires_at: moment("expires_at")?,
        refreshed_at: moment("refreshed_at")?,
        device: row.try_get("device")?,
        address: row.try_get("address")?,
    })
}

/// The moment that lies so long back.
fn oldest(now: UnixSeconds, age_seconds: u64) -> i64 {
    seconds(now.0.saturating_sub(age_seconds))
}

/// Of how many tokens of one session the records are deleted; the marker is for the rest.
const ISSUED_MAX: i64 = 100;
/// So many refreshes of one session within so many seconds are worth a look.
const BURST: i64 = 10;
const BURST_SECONDS: u64 = 60;
