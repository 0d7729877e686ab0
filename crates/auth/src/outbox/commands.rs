//! The commands for the store that follow from a change.

use super::records::RecordSettings;
use crate::db::{EndedSession, OutboxRow, Revocation, RevocationKind, Session};
use crate::random::nonce;
use crate::token::{ACCESS_TOKEN_SECONDS_MAX, AccessClaims};
use portcullis_core::{Seal, StoreKeys, TokenRecord, UnixSeconds};
use redis_rest::Command;

/// Builds commands for the store. Every key that they write expires.
pub struct StoreCommands {
    issuer: String,
    keys: StoreKeys,
    /// What the records of API keys need; `None` for commands that write none.
    records: Option<RecordSettings>,
}

/// A new access token.
pub struct IssuedAccessToken<'a> {
    pub session: &'a Session,
    pub claims: &'a AccessClaims,
    pub access_hash: &'a str,
    /// The key that encrypts the records; `None` to store them as plain text.
    pub seal: Option<&'a Seal>,
}

/// A new access token of a client that acts for itself.
pub struct IssuedClientToken<'a> {
    pub claims: &'a AccessClaims,
    pub access_hash: &'a str,
    /// The key that encrypts the records; `None` to store them as plain text.
    pub seal: Option<&'a Seal>,
}

/// The state of the session, user or token that an outbox row belongs to.
pub struct Subject {
    pub is_ended_session: bool,
    /// The state of the user with the row's id; `None` if there is none.
    pub user: Option<HolderState>,
    /// The state of the client with the row's id; `None` if there is none.
    pub client: Option<HolderState>,
}

/// A user or a client, whose tokens one marker revokes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holder<'a> {
    Client(&'a str),
    User(&'a str),
}

/// What the store must know of a user or a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HolderState {
    /// All tokens are valid.
    Active,
    /// All tokens are revoked, also those that are being issued at this moment.
    Disabled,
    /// The tokens that were issued up to this time are revoked.
    RevokedUntil(u64),
}

impl HolderState {
    /// Returns the state of a holder who was disabled at a time, or whose tokens were revoked. A
    /// revocation is over when the last token that it concerns has expired.
    pub fn of(is_disabled: bool, tokens_revoked_at: Option<u64>, now: UnixSeconds) -> Self {
        let is_live = |at: &u64| at.saturating_add(REVOCATION_SECONDS) > now.0;
        match tokens_revoked_at.filter(is_live) {
            _ if is_disabled => Self::Disabled,
            Some(at) => Self::RevokedUntil(at),
            None => Self::Active,
        }
    }
}

impl StoreCommands {
    /// Creates a builder for the issuer's keys.
    pub fn new(issuer: String, keys: StoreKeys) -> Self {
        Self { issuer, keys, records: None }
    }

    /// Lets the builder write the records of API keys.
    pub fn set_records(&mut self, records: RecordSettings) {
        self.records = Some(records);
    }

    /// Returns what the records of API keys need.
    pub fn records(&self) -> Option<&RecordSettings> {
        self.records.as_ref()
    }

    /// Returns the issuer of all tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the names of the store's keys.
    pub fn keys(&self) -> &StoreKeys {
        &self.keys
    }

    /// Adds a new access token and its session.
    pub fn access_token_issued(
        &self,
        issued: &IssuedAccessToken<'_>,
        now: UnixSeconds,
    ) -> Vec<Command> {
        let (session, claims) = (issued.session, issued.claims);
        let holder = TokenRecord {
            sub: claims.sub.clone(),
            sid: Some(session.id.clone()),
            client_id: Some(session.client_id.clone()),
            scope: session.scope.clone(),
            ..TokenRecord::default()
        };
        let session_key = self.keys.session(&self.issuer, &session.id);
        let sessions_key = self.keys.sessions(&self.issuer, &session.user_id);
        let seconds_left = session.expires_at.saturating_sub(now.0).max(1);
        vec![
            self.record(claims, issued.access_hash, issued.seal, now),
            Command::new("HSET")
                .arg(&session_key)
                .arg("holder")
                .arg(holder.encode(&session_key, issued.seal, nonce()))
                .arg("created_at")
                .arg(session.created_at)
                .arg("last_seen_at")
                .arg(now),
            Command::new("EXPIRE").arg(&session_key).arg(seconds_left),
            Command::new("ZADD").arg(&sessions_key).arg(now).arg(&session.id),
            Command::new("EXPIRE").arg(&sessions_key).arg(seconds_left),
        ]
    }

    /// Adds a new access token of a client.
    pub fn client_token_issued(
        &self,
        issued: &IssuedClientToken<'_>,
        now: UnixSeconds,
    ) -> Vec<Command> {
        vec![self.record(issued.claims, issued.access_hash, issued.seal, now)]
    }

    /// Writes the record of an access token.
    fn record(
        &self,
        claims: &AccessClaims,
        access_hash: &str,
        seal: Option<&Seal>,
        now: UnixSeconds,
    ) -> Command {
        let record = TokenRecord {
            sub: claims.sub.clone(),
            sid: claims.sid.clone(),
            client_id: Some(claims.client_id.clone()),
            scope: claims.scope.clone(),
            aud: Some(claims.aud.clone()),
            exp: Some(claims.exp),
            jti: Some(claims.jti.clone()),
            iat: Some(claims.iat),
            others: claims.others.clone(),
            ..TokenRecord::default()
        };
        let key = self.keys.token_of(access_hash);
        let text = record.encode(&key, seal, nonce());
        let seconds = claims.exp.saturating_sub(now.0) + LEEWAY_SECONDS;
        Command::new("SET").arg(key).arg(text).arg("EX").arg(seconds)
    }

    /// Revokes a session. The marker outlives every access token of the session, even one issued
    /// while tokens lived longer. In case the store loses the marker, also deletes the records, and
    /// the responses that the edge stores for repeated refreshes.
    pub fn session_ended(&self, ended: &EndedSession, now: UnixSeconds) -> Vec<Command> {
        let mut commands =
            vec![self.marker(self.keys.revoked_sid(&self.issuer, &ended.id), now, now)];
        commands.extend(self.session_expired(&ended.user_id, &ended.id));
        let delete = |key: String| Command::new("DEL").arg(key);
        commands.extend(ended.access_hashes.iter().map(|hash| delete(self.keys.token_of(hash))));
        commands.extend(ended.refresh_hashes.iter().map(|hash| delete(self.keys.refresh_of(hash))));
        commands
    }

    /// Removes a session that needs no revocation.
    pub fn session_expired(&self, user_id: &str, id: &str) -> Vec<Command> {
        vec![
            Command::new("DEL").arg(self.keys.session(&self.issuer, id)),
            Command::new("ZREM").arg(self.keys.sessions(&self.issuer, user_id)).arg(id),
        ]
    }

    /// Revokes one access token.
    pub fn access_token_revoked(
        &self,
        jti: &str,
        access_hash: &str,
        now: UnixSeconds,
    ) -> Vec<Command> {
        vec![
            self.marker(self.keys.revoked_jti(&self.issuer, jti), now, now),
            Command::new("DEL").arg(self.keys.token_of(access_hash)),
        ]
    }

    /// Revokes all tokens of a user, including those that are being issued at this moment.
    pub fn user_disabled(&self, user_id: &str) -> Vec<Command> {
        vec![self.holder_state(Holder::User(user_id), HolderState::Disabled, UnixSeconds(0))]
    }

    /// Lets the new tokens of a disabled user pass, whose tokens had been revoked up to
    /// `revoked_at`. Those from before `now` stay revoked.
    pub fn user_enabled(
        &self,
        user_id: &str,
        revoked_at: Option<u64>,
        now: UnixSeconds,
    ) -> Vec<Command> {
        let state = HolderState::RevokedUntil(revoked_at.unwrap_or(0).max(now.0));
        vec![self.holder_state(Holder::User(user_id), state, now)]
    }

    /// Writes the state of a user's or a client's tokens.
    pub fn holder_state(
        &self,
        holder: Holder<'_>,
        state: HolderState,
        now: UnixSeconds,
    ) -> Command {
        let key = self.holder_key(holder);
        match state {
            HolderState::Active => Command::new("DEL").arg(key),
            HolderState::Disabled => {
                Command::new("SET").arg(key).arg("disabled").arg("EX").arg(REVOCATION_SECONDS)
            }
            HolderState::RevokedUntil(at) => self.marker(key, UnixSeconds(at), now),
        }
    }

    /// Writes the state of a user's or a client's tokens, and deletes the records of some of them
    /// in case the store loses the marker.
    pub fn holder_revoked(
        &self,
        holder: Holder<'_>,
        state: HolderState,
        access_hashes: &[String],
        now: UnixSeconds,
    ) -> Vec<Command> {
        let delete = |hash: &String| Command::new("DEL").arg(self.keys.token_of(hash));
        let state = self.holder_state(holder, state, now);
        std::iter::once(state).chain(access_hashes.iter().map(delete)).collect()
    }

    fn holder_key(&self, holder: Holder<'_>) -> String {
        match holder {
            Holder::Client(id) => self.keys.revoked_client(&self.issuer, id),
            Holder::User(id) => self.keys.revoked_sub(&self.issuer, id),
        }
    }

    /// Republishes a revocation.
    pub fn revocation(
        &self,
        kind: RevocationKind,
        revocation: &Revocation,
        now: UnixSeconds,
    ) -> Vec<Command> {
        match kind {
            RevocationKind::Session
            | RevocationKind::Token
            | RevocationKind::UserTokens
            | RevocationKind::ClientTokens => {
                let key = self.marker_key(kind, &revocation.id);
                vec![self.marker(key, UnixSeconds(revocation.at), now)]
            }
            RevocationKind::Client => {
                vec![self.holder_state(Holder::Client(&revocation.id), HolderState::Disabled, now)]
            }
            RevocationKind::User => self.user_disabled(&revocation.id),
        }
    }

    /// Returns the key of a revocation's marker.
    pub fn marker_key(&self, kind: RevocationKind, id: &str) -> String {
        match kind {
            RevocationKind::Session => self.keys.revoked_sid(&self.issuer, id),
            RevocationKind::Token => self.keys.revoked_jti(&self.issuer, id),
            RevocationKind::User | RevocationKind::UserTokens => self.holder_key(Holder::User(id)),
            RevocationKind::Client | RevocationKind::ClientTokens => {
                self.holder_key(Holder::Client(id))
            }
        }
    }

    /// Undoes a row that was discarded while it was being delivered, where it contradicts its
    /// subject's state.
    pub fn undo(&self, row: &OutboxRow, subject: &Subject, now: UnixSeconds) -> Vec<Command> {
        let tokens = self.keys.token_of("");
        let (user, client) = (Holder::User(&row.about), Holder::Client(&row.about));
        let is_state_of = |holder, key: &[u8]| self.holder_key(holder).as_bytes() == key;
        // What the row wrote may have replaced a later state.
        let corrected = |holder, state: Option<HolderState>| {
            state.map(|state| self.holder_state(holder, state, now))
        };
        let delete = |key: &[u8]| Command::new("DEL").arg_bytes(key);
        let undone = row.commands.iter().filter_map(|command| {
            let arguments: Vec<&[u8]> = command.words().iter().skip(1).map(Vec::as_slice).collect();
            match (command.name(), arguments.as_slice()) {
                // Deleting a record is always safe, because a token without a record is
                // introspected.
                ("SET", [key, ..]) if key.starts_with(tokens.as_bytes()) => Some(delete(key)),
                ("SET" | "DEL", [key, ..]) if is_state_of(user, key) => {
                    corrected(user, subject.user)
                }
                ("SET" | "DEL", [key, ..]) if is_state_of(client, key) => {
                    corrected(client, subject.client)
                }
                ("HSET", [key, ..]) if subject.is_ended_session => Some(delete(key)),
                ("ZADD", [key, _, id]) if subject.is_ended_session => {
                    Some(Command::new("ZREM").arg_bytes(*key).arg_bytes(*id))
                }
                _ => None,
            }
        });
        undone.collect()
    }

    /// Sets a revocation marker, which expires with the last token that it revokes.
    fn marker(&self, key: String, at: UnixSeconds, now: UnixSeconds) -> Command {
        let seconds_left = at.plus(REVOCATION_SECONDS).0.saturating_sub(now.0).max(1);
        Command::new("SET").arg(key).arg(at).arg("EX").arg(seconds_left)
    }
}

/// How much longer than a token its record and its revocation marker live: more than the largest
/// leeway of an edge.
const LEEWAY_SECONDS: u64 = 360;
/// How long a revocation marker lives.
pub const REVOCATION_SECONDS: u64 = ACCESS_TOKEN_SECONDS_MAX + LEEWAY_SECONDS;
