//! Brings the store in step with the database: what is committed to the outbox is sent at once, and again until the
//! store has it; and all that stands for a revocation is sent anew when the store has lost its content.

use crate::config::Link;
use crate::db::{Db, Ended, Pending, Revoked, RevokedKind, Session};
use crate::random::nonce;
use crate::store::{Store, StoreError};
use crate::token::ACCESS_TOKEN_SECONDS_MAX;
use crate::token::AccessClaims;
use portcullis_core::{Seal, StoreKeys, TokenRecord, UnixSeconds};
use redis_rest::{Command, Reply};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Delivers what the outbox holds.
pub struct Publisher {
    db: Arc<Db>,
    store: Arc<Store>,
    issuer: String,
    keys: StoreKeys,
    left_over: Notify,
}

/// Whether the store has what was published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    Done,
    Pending,
}

/// What became of a look at the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Look {
    /// It has what it was told.
    Fine,
    /// It had lost something, and was told so many things again.
    Told(usize),
    /// It does not say.
    Unsaid,
}

/// A new access token, and whose it is.
pub struct Announcement<'a> {
    pub session: &'a Session,
    pub claims: &'a AccessClaims,
    pub access_hash: &'a str,
    pub seal: Option<&'a Seal>,
}

impl Publisher {
    /// A publisher of what is in the database's outbox.
    pub fn new(db: Arc<Db>, store: Arc<Store>, link: &Link) -> Self {
        let keys = StoreKeys::new(&link.key_prefix);
        Self { db, store, issuer: link.issuer.clone(), keys, left_over: Notify::new() }
    }

    /// The names in the store.
    pub fn keys(&self) -> &StoreKeys {
        &self.keys
    }

    /// What the store learns of a new access token. Each key ends with what it is about.
    pub fn announced(&self, new: &Announcement<'_>, now: UnixSeconds) -> Vec<Command> {
        let (session, claims) = (new.session, new.claims);
        let holder = TokenRecord {
            sub: claims.sub.clone(),
            sid: Some(session.id.clone()),
            client_id: Some(session.client_id.clone()),
            scope: session.scope.clone(),
            ..TokenRecord::default()
        };
        let record = TokenRecord {
            exp: Some(claims.exp),
            scope: claims.scope.clone(),
            jti: Some(claims.jti.clone()),
            iat: Some(claims.iat),
            ..holder.clone()
        };
        let token_key = self.keys.token_of(new.access_hash);
        let session_key = self.keys.session(&self.issuer, &session.id);
        let sessions_key = self.keys.sessions(&self.issuer, &session.user_id);
        let left = session.expires_at.saturating_sub(now.0).max(1);
        vec![
            Command::new("SET")
                .arg(&token_key)
                .arg(record.encode(&token_key, new.seal, nonce()))
                .arg("EX")
                .arg(claims.exp.saturating_sub(now.0) + BUFFER_SECONDS),
            Command::new("HSET")
                .arg(&session_key)
                .arg("holder")
                .arg(holder.encode(&session_key, new.seal, nonce()))
                .arg("created_at")
                .arg(session.created_at)
                .arg("last_seen_at")
                .arg(now),
            Command::new("EXPIRE").arg(&session_key).arg(left),
            Command::new("ZADD").arg(&sessions_key).arg(now).arg(&session.id),
            Command::new("EXPIRE").arg(&sessions_key).arg(left),
        ]
    }

    /// What the store learns of a session's end. The marker outlives every access token of it, also one
    /// that was issued while tokens lived longer; the records go as well, so that a store which forgets the
    /// marker has nobody to let in, and so do the answers that are kept for whoever refreshes twice.
    pub fn revoked(&self, ended: &Ended, now: UnixSeconds) -> Vec<Command> {
        let mut commands =
            vec![self.marker(self.keys.revoked_sid(&self.issuer, &ended.id), now, now)];
        commands.extend(self.left(&ended.user_id, &ended.id));
        let delete = |key: String| Command::new("DEL").arg(key);
        commands.extend(ended.access_hashes.iter().map(|hash| delete(self.keys.token_of(hash))));
        commands.extend(ended.refresh_hashes.iter().map(|hash| delete(self.keys.refresh_of(hash))));
        commands
    }

    /// What the store learns of a session that ran out.
    pub fn left(&self, user_id: &str, id: &str) -> Vec<Command> {
        vec![
            Command::new("DEL").arg(self.keys.session(&self.issuer, id)),
            Command::new("ZREM").arg(self.keys.sessions(&self.issuer, user_id)).arg(id),
        ]
    }

    /// What the store learns of one revoked access token.
    pub fn token_revoked(&self, jti: &str, access_hash: &str, now: UnixSeconds) -> Vec<Command> {
        vec![
            self.marker(self.keys.revoked_jti(&self.issuer, jti), now, now),
            Command::new("DEL").arg(self.keys.token_of(access_hash)),
        ]
    }

    /// What the store learns of a user who is disabled, beyond the sessions: whatever was issued is void, also
    /// what is being issued at this moment.
    pub fn disabled(&self, user_id: &str) -> Vec<Command> {
        let key = self.keys.revoked_sub(&self.issuer, user_id);
        vec![Command::new("SET").arg(key).arg("disabled").arg("EX").arg(MARKER_SECONDS)]
    }

    /// What the store learns of a user who may log in again.
    pub fn enabled(&self, user_id: &str) -> Vec<Command> {
        vec![Command::new("DEL").arg(self.keys.revoked_sub(&self.issuer, user_id))]
    }

    fn marker(&self, key: String, at: UnixSeconds, now: UnixSeconds) -> Command {
        let left = at.plus(MARKER_SECONDS).0.saturating_sub(now.0).max(1);
        Command::new("SET").arg(key).arg(at).arg("EX").arg(left)
    }

    /// When the store saw each session last, as far as it says so.
    pub async fn last_seen(&self, ids: &[&str]) -> Vec<Option<u64>> {
        let ask = |id: &&str| {
            Command::new("HGET").arg(self.keys.session(&self.issuer, id)).arg("last_seen_at")
        };
        let commands: Vec<Command> = ids.iter().map(ask).collect();
        let mut seen = Vec::new();
        for batch in commands.chunks(COMMANDS_MAX) {
            let replies = self.store.execute(batch).await.unwrap_or_default();
            let replies = replies.iter().map(|reply| reply.as_text()?.parse().ok());
            let answered = replies.chain(std::iter::repeat(None)).take(batch.len());
            seen.extend(answered);
        }
        seen
    }

    /// Delivers what was just committed. If the store can't be told now, the outbox still has it, and
    /// [`Publisher::run`] goes on.
    pub async fn deliver(&self, rows: &[Pending]) -> Delivery {
        let mut delivery = Delivery::Done;
        for pending in rows {
            match self.tell(&pending.commands).await {
                Ok(()) => {
                    if let Err(error) = self.settle(pending).await {
                        tracing::warn!(event = "outbox_row_kept", error);
                    }
                }
                Err(fault) => {
                    tracing::warn!(event = "store_not_told", %fault);
                    delivery = Delivery::Pending;
                    // The others would wait for as long.
                    if !fault.is_rejection() {
                        break;
                    }
                }
            }
        }
        if delivery == Delivery::Pending {
            self.left_over.notify_one();
        }
        delivery
    }

    /// Forgets a row that was delivered. One that was taken back while it was being told is untold.
    async fn settle(&self, pending: &Pending) -> Result<(), String> {
        if within(self.db.delivered(&pending.id)).await? {
            return Ok(());
        }
        let over = within(self.db.is_over(&pending.about)).await? == Some(true);
        let user = within(self.db.user_of(&pending.about)).await?;
        let (tokens, users) =
            (self.keys.token_of(""), self.keys.revoked_sub(&self.issuer, &pending.about));
        let delete = |key: &[u8]| Command::new("DEL").arg_bytes(key);
        let untold = pending.commands.iter().filter_map(|command| {
            let words: Vec<&[u8]> = command.words().iter().skip(1).map(Vec::as_slice).collect();
            match (command.name(), words.as_slice()) {
                // Without its record a token is asked about.
                ("SET", [key, ..]) if key.starts_with(tokens.as_bytes()) => Some(delete(key)),
                ("SET", [key, ..]) if *key == users.as_bytes() => {
                    user.as_ref().filter(|user| !user.disabled).map(|_| delete(key))
                }
                ("HSET", [key, ..]) if over => Some(delete(key)),
                ("ZADD", [key, _, id]) if over => {
                    Some(Command::new("ZREM").arg_bytes(*key).arg_bytes(*id))
                }
                _ => None,
            }
        });
        let untold: Vec<Command> = untold.collect();
        match untold.is_empty() {
            true => Ok(()),
            false => self.tell(&untold).await.map_err(|fault| fault.to_string()),
        }
    }

    /// The same, of sessions that are over.
    pub async fn deliver_ended(&self, ended: &[Ended]) -> Delivery {
        let rows: Vec<Pending> = ended.iter().map(|ended| ended.pending.clone()).collect();
        self.deliver(&rows).await
    }

    /// All of a row, in as many trips as it takes.
    async fn tell(&self, commands: &[Command]) -> Result<(), StoreError> {
        for batch in commands.chunks(COMMANDS_MAX) {
            self.store.write(batch).await?;
        }
        Ok(())
    }

    /// Delivers what earlier attempts left over, from this process or one that died: at the start, when
    /// an attempt failed, and now and then.
    pub async fn run(&self) {
        let mut pause = PAUSE_MIN;
        loop {
            match self.drain().await {
                true => {
                    pause = PAUSE_MIN;
                    let _ = tokio::time::timeout(LOOK_AGAIN, self.left_over.notified()).await;
                }
                false => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Whether nothing is left that could be delivered now. A row that the store refuses is passed over,
    /// so that it holds up no other, and tried again by the next run.
    pub async fn drain(&self) -> bool {
        let (mut refused, mut last) = (0, None);
        loop {
            let mut batch = match within(self.db.pending(last.as_ref(), BATCH)).await {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::warn!(event = "outbox_unreadable", error);
                    return false;
                }
            };
            for pending in &batch {
                match self.tell(&pending.commands).await {
                    Ok(()) => {}
                    Err(fault) if fault.is_rejection() => {
                        tracing::error!(event = "store_refuses", row = pending.id, %fault);
                        refused += 1;
                        continue;
                    }
                    Err(fault) => {
                        tracing::warn!(event = "store_not_told", %fault);
                        return false;
                    }
                }
                if let Err(error) = self.settle(pending).await {
                    tracing::warn!(event = "outbox_row_kept", error);
                    return false;
                }
            }
            last = batch.pop();
            if last.is_none() {
                return refused == 0;
            }
        }
    }

    /// Looks whether the store still has what it was told, by a sign that changes each time; and tells it all again if not,
    /// or else what was revoked lately: a store that goes back a little is known by its sign, and one that lost no more than
    /// the last moments by nothing. `round` counts from 1.
    pub async fn look_after(&self, name: &str, round: u64, now: UnixSeconds) -> Look {
        let sign = self.keys.reconciled(name);
        let replies =
            self.store.execute(&[Command::new("GET").arg(&sign)]).await.unwrap_or_default();
        let held = match replies.first() {
            None | Some(Reply::Error(_)) => return Look::Unsaid,
            Some(reply) => reply.as_text().map(str::to_owned),
        };
        let whole = held.as_deref() != Some((round - 1).to_string().as_str()) || round == 1;
        // First, so that a store which loses it meanwhile is seen to have.
        let next = Command::new("SET").arg(&sign).arg(round).arg("EX").arg(SIGN_SECONDS);
        if self.store.write(&[next]).await.is_err() {
            return Look::Unsaid;
        }
        let since = if whole { MARKER_SECONDS } else { LATELY_SECONDS };
        match self.reconcile(since, now).await {
            Ok(told) if whole => Look::Told(told),
            Ok(_) => Look::Fine,
            Err(fault) => {
                tracing::warn!(event = "store_not_reconciled", fault);
                // The sign must not stand for what was not told.
                let _ = self.store.write(&[Command::new("DEL").arg(&sign)]).await;
                Look::Unsaid
            }
        }
    }

    /// Tells the store again all that stands for a revocation of the last `seconds`: sessions, single tokens, disabled
    /// users. How many that were.
    pub async fn reconcile(&self, seconds: u64, now: UnixSeconds) -> Result<usize, String> {
        let start = now.0.saturating_sub(seconds);
        let mut told = 0;
        for kind in [RevokedKind::Session, RevokedKind::Token, RevokedKind::User] {
            let mut after = Revoked { name: String::new(), at: start };
            loop {
                let mut batch = within(self.db.revoked(kind, &after, BATCH)).await?;
                let commands: Vec<Command> =
                    batch.iter().flat_map(|row| self.again(kind, row, now)).collect();
                let Some(last) = batch.pop() else { break };
                after = last;
                told += commands.len();
                self.tell(&commands).await.map_err(|fault| fault.to_string())?;
            }
        }
        Ok(told)
    }

    fn again(&self, kind: RevokedKind, row: &Revoked, now: UnixSeconds) -> Vec<Command> {
        let (issuer, at) = (&self.issuer, UnixSeconds(row.at));
        match kind {
            RevokedKind::Session => {
                vec![self.marker(self.keys.revoked_sid(issuer, &row.name), at, now)]
            }
            RevokedKind::Token => {
                vec![self.marker(self.keys.revoked_jti(issuer, &row.name), at, now)]
            }
            RevokedKind::User => self.disabled(&row.name),
        }
    }
}

/// A database that has vanished without a word must not hold up what is left to deliver for ever.
async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, String> {
    match tokio::time::timeout(DATABASE_DEADLINE, work).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("the database does not answer".to_owned()),
    }
}

/// How much longer than a token its record and its session's marker live: more than the leeway that
/// an edge may grant.
const BUFFER_SECONDS: u64 = 360;
pub const MARKER_SECONDS: u64 = ACCESS_TOKEN_SECONDS_MAX + BUFFER_SECONDS;
/// A sign ends with its auth service.
const SIGN_SECONDS: u64 = 600;
/// More than a store loses that writes to its disk, or to its replicas, every second.
const LATELY_SECONDS: u64 = 60;
/// What one trip carries: fewer than any gateway takes.
const COMMANDS_MAX: usize = 100;
const DATABASE_DEADLINE: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const BATCH: u32 = 100;
