//! The operator's commands: users, sessions and keys. They print JSON, one object a line.

mod adjust;
mod api_keys;
mod claims;
pub mod clients;
mod usage;
pub mod users;

pub use usage::usage;

use crate::accounts::{
    PASSWORD_BYTES_MAX, PASSWORD_CHARACTERS_MIN, hash_password, is_acceptable_password,
};
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::cli::{KeysAction, SessionsAction, UserAction};
use crate::clock::now;
use crate::config::StoreSettings;
use crate::db::{AuditedChange, Db, EndedSession, PasswordChange, SessionSelector, User};
use crate::directory::{By, Directory};
use crate::error::BoxError;
use crate::maintenance::Maintenance;
use crate::outbox::{Delivery, Publisher, REVOCATION_SECONDS, RecordSettings};
use crate::random::random_id;
use crate::scope::normal_scope;
use crate::signing_keys::{key_role, rotate};
use crate::store::Store;
use portcullis_core::StoreKeys;
use serde_json::json;
use std::io::Read as _;
use std::sync::Arc;

/// The commands that also change the store.
pub struct Admin {
    db: Arc<Db>,
    publisher: Arc<Publisher>,
    issuer: String,
}

/// How long rows are kept, in seconds.
pub struct KeptSeconds {
    /// Sessions that are not refreshed.
    pub idle: u64,
    /// Security events.
    pub audit: u64,
    /// Hourly counts of requests.
    pub usage: u64,
}

impl Admin {
    /// Creates a client of the store, which connects only to write.
    pub fn new(
        db: Db,
        settings: &StoreSettings,
        records: Option<RecordSettings>,
    ) -> Result<Self, BoxError> {
        let db = Arc::new(db);
        let store = Arc::new(Store::new(&settings.url, &settings.token)?);
        let keys = StoreKeys::new(&settings.key_prefix);
        let publisher = Publisher::new(Arc::clone(&db), store, &settings.issuer, keys);
        let publisher = match records {
            Some(records) => publisher.with_records(records),
            None => publisher,
        };
        Ok(Self { db, publisher: Arc::new(publisher), issuer: settings.issuer.clone() })
    }

    /// Changes an existing user.
    pub async fn user(&self, action: &UserAction) -> Result<(), BoxError> {
        let (now, client) = (now(), ClientInfo::default());
        let revoke = |ended: &EndedSession| self.publisher.commands().session_ended(ended, now);
        let event = |kind, user: &User| [Event::new(kind, Actor::Operator, &client).user(&user.id)];
        let (done, user, rows) = match action {
            UserAction::Add { .. } | UserAction::List => {
                return Err("the command does not use the store".into());
            }
            UserAction::Delete { username } => return self.delete_user(username).await,
            UserAction::Set(settings) => return self.set_user(settings).await,
            UserAction::Disable { username } => return self.disable_user(username, true).await,
            UserAction::Enable { username } => return self.disable_user(username, false).await,
            UserAction::Passwd { username } => {
                let user = self.find_user(username).await?;
                let hash = hash_password(&read_password()?)?;
                let events = event(EventKind::PasswordChanged, &user);
                let change = AuditedChange { now, events: &events };
                let password = PasswordChange {
                    user_id: &user.id,
                    old_hash: None,
                    new_hash: &hash,
                    except_session: None,
                };
                let ended = self.db.set_password(&password, &change, revoke).await?;
                let ended = ended.ok_or("the user was deleted meanwhile")?;
                let rows: Vec<_> = ended.into_iter().map(|ended| ended.outbox_row).collect();
                ("password_set", user, rows)
            }
        };
        let delivery = match self.publisher.deliver(rows).await {
            Delivery::Done => self.publisher.delivery_of_user(&user.id).await?,
            Delivery::Pending => Delivery::Pending,
        };
        print_line(&json!({ "done": done, "store": store_status(delivery) }));
        Ok(())
    }

    /// Ends sessions.
    pub async fn revoke(&self, action: &SessionsAction) -> Result<(), BoxError> {
        let (sessions, delivery) = self.end_sessions(action).await?;
        let store = store_status(delivery);
        print_line(&json!({ "done": "revoked", "sessions": sessions, "store": store }));
        Ok(())
    }

    /// Returns how many sessions have ended now, and whether the store knows the end of all
    /// selected sessions. These include sessions that had ended before.
    async fn end_sessions(&self, action: &SessionsAction) -> Result<(usize, Delivery), BoxError> {
        let SessionsAction::Revoke { session, username } = action else {
            return Err("`sessions list` does not use the store".into());
        };
        let (now, client) = (now(), ClientInfo::default());
        let revoke = |ended: &EndedSession| self.publisher.commands().session_ended(ended, now);
        let event = Event::new(EventKind::SessionRevoked, Actor::Operator, &client);
        let user = match username {
            Some(username) => Some(self.find_user(username).await?),
            None => None,
        };
        let (selector, event) = match (session, &user) {
            (Some(id), _) => (SessionSelector::One(id), event.session(id)),
            (None, Some(user)) => {
                let selector = SessionSelector::OfUser { user_id: &user.id, except: None };
                (selector, event.user(&user.id).detail("all"))
            }
            (None, None) => {
                return Err("neither --session nor --username is given; give one".into());
            }
        };
        let events = [event];
        let change = AuditedChange { now, events: &events };
        let ended = self.db.end_sessions(selector, "operator", &change, revoke).await?;
        let ended = ended.unwrap_or_default();
        let delivery = match session.as_ref().filter(|_| ended.is_empty()) {
            Some(id) if self.db.is_session_revoked(id).await?.is_none() => {
                return Err("no session has this id; `sessions list` shows the ids".into());
            }
            // The session had ended before.
            Some(id) => self.publisher.delivery_of(id).await?,
            None => self.publisher.deliver_ended(&ended).await,
        };
        let delivery = match (&user, delivery) {
            (Some(user), Delivery::Done) => self.publisher.delivery_of_user(&user.id).await?,
            (_, delivery) => delivery,
        };
        Ok((ended.len(), delivery))
    }

    /// Republishes all live revocations.
    pub async fn reconcile(&self) -> Result<(), BoxError> {
        let drained = self.publisher.drain().await;
        let republished = self.publisher.reconcile(REVOCATION_SECONDS, now()).await?;
        print_line(
            &json!({ "done": "reconciled", "republished": republished, "outbox_empty": drained }),
        );
        Ok(())
    }

    /// Deletes expired rows.
    pub async fn clean_up(self, kept: &KeptSeconds) -> Result<(), BoxError> {
        let (db, publisher) = (self.db, self.publisher);
        let maintenance = Maintenance {
            db,
            publisher,
            idle_seconds: kept.idle,
            audit_seconds: kept.audit,
            usage_seconds: kept.usage,
        };
        let deleted = maintenance.delete_expired(now()).await?;
        let store = if maintenance.publisher.drain().await { "updated" } else { "pending" };
        print_line(&json!({ "done": "cleaned_up", "deleted": deleted, "store": store }));
        Ok(())
    }

    /// Returns clients and users, for a change by an operator.
    fn directory(&self) -> Directory<'_> {
        Directory {
            db: &self.db,
            publisher: &self.publisher,
            audit: None,
            by: By { actor: Actor::Operator, subject: None, client: &NO_CLIENT },
            now: now(),
        }
    }

    async fn find_user(&self, username: &str) -> Result<User, BoxError> {
        find_user(&self.db, username).await
    }
}

/// The client of a command, which has no address.
static NO_CLIENT: ClientInfo = ClientInfo {
    action: None,
    address: String::new(),
    device: String::new(),
    country: None,
    request_id: String::new(),
};

/// Adds a user; the password is read from standard input.
pub async fn add_user(db: &Db, username: &str, scope: &str) -> Result<(), BoxError> {
    if username.is_empty() || username.len() > 256 || username.contains('\0') {
        return Err("--username is invalid; give 1 to 256 bytes without NUL".into());
    }
    let user = User {
        id: random_id(),
        username: username.to_owned(),
        password_hash: hash_password(&read_password()?)?,
        scope: normal_scope(scope).map_err(|error| format!("--scope: {error}"))?,
        ..User::default()
    };
    let event = Event::new(EventKind::UserAdded, Actor::Operator, &ClientInfo::default());
    let events = [event.user(&user.id)];
    if !db.add_user(&user, &events, now()).await? {
        return Err(format!("the user {username} exists already").into());
    }
    print_line(
        &json!({ "done": "user_added", "username": username, "scope": scope, "id": user.id }),
    );
    Ok(())
}

/// Lists a user's active sessions, one line each.
pub async fn list_sessions(db: &Db, username: &str, idle_seconds: u64) -> Result<(), BoxError> {
    let user = find_user(db, username).await?;
    for session in db.active_sessions(&user.id, now(), idle_seconds).await? {
        print_line(&json!({
            "session": session.id, "created_at": session.created_at,
            "refreshed_at": session.refreshed_at, "expires_at": session.expires_at,
            "address": session.address, "device": session.device,
        }));
    }
    Ok(())
}

/// Lists, rotates or withdraws the signing keys.
pub async fn keys(db: &Db, action: &KeysAction) -> Result<(), BoxError> {
    let (now, rows) = (now(), db.signing_keys().await?);
    match action {
        KeysAction::List => {
            for row in rows.iter().rev() {
                print_line(&json!({
                    "kid": row.kid, "algorithm": row.algorithm,
                    "role": key_role(row, &rows, now).name(),
                    "created_at": row.created_at, "active_from": row.active_from,
                }));
            }
        }
        KeysAction::Rotate { compromised: true } => {
            let event = Event::new(EventKind::KeyRotated, Actor::Operator, &ClientInfo::default());
            let withdrawn = db.withdraw_signing_keys(&[event.detail("all withdrawn")], now).await?;
            print_line(&json!({ "done": "withdrawn", "keys": withdrawn }));
        }
        KeysAction::Rotate { compromised: false } => {
            let event = Event::new(EventKind::KeyRotated, Actor::Operator, &ClientInfo::default());
            let rotated = rotate(db, event, now).await.map_err(|error| error.to_string())?;
            print_line(&json!({ "done": "rotated", "current": rotated.kid }));
        }
    }
    Ok(())
}

async fn find_user(db: &Db, username: &str) -> Result<User, BoxError> {
    let user = db.user_by_name(username).await?;
    user.ok_or_else(|| format!("no user is named {username}").into())
}

/// Reads a new password from standard input.
fn read_password() -> Result<String, BoxError> {
    let mut password = String::new();
    std::io::stdin().take(4096).read_to_string(&mut password)?;
    let password = password.trim_end_matches(['\r', '\n']);
    if !is_acceptable_password(password) {
        return Err(format!(
            "the password has the wrong length; give {} characters to {} bytes on standard input",
            PASSWORD_CHARACTERS_MIN, PASSWORD_BYTES_MAX
        )
        .into());
    }
    Ok(password.to_owned())
}

/// Returns the member `store` of a command's output. If it is `pending`, a running server writes
/// the revocation to the store later.
fn store_status(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Done => "updated",
        Delivery::Pending => "pending",
    }
}

/// Prints one line of output.
#[expect(clippy::print_stdout, reason = "the output of the command")]
fn print_line(line: &serde_json::Value) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{T, TestService, on_each_database};

    /// The store is unreachable, so the first end stays undelivered.
    #[tokio::test]
    async fn repeated_revocation_is_pending_until_the_first_one_is_delivered() {
        on_each_database(
            |_| {},
            async |service: TestService| {
                service.add("alice").await;
                service.add("bob").await;
                service.login("alice", T).await;
                let admin = Admin {
                    db: Arc::clone(&service.db),
                    publisher: Arc::clone(&service.publisher),
                    issuer: "https://a.example".into(),
                };
                let revoke = async |username: &str| {
                    let (session, username) = (None, Some(username.to_owned()));
                    let action = SessionsAction::Revoke { session, username };
                    admin.end_sessions(&action).await.unwrap()
                };
                assert_eq!(revoke("alice").await, (1, Delivery::Pending));
                assert_eq!(revoke("alice").await, (0, Delivery::Pending), "again");
                assert_eq!(revoke("bob").await, (0, Delivery::Done), "without a session");
            },
        )
        .await;
    }
}
