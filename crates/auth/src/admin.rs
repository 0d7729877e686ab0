//! The commands of whoever runs the service: users, sessions, keys. What they revoke is told to the store before
//! they end; what they find is one JSON line each.

use crate::accounts::{
    PASSWORD_BYTES_MAX, PASSWORD_CHARACTERS_MIN, hash_password, is_acceptable_password,
};
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::clock::now;
use crate::config::{KeysAction, Link, SessionsAction, UserAction};
use crate::db::{Db, Ended, Grant, User, Which};
use crate::error::BoxError;
use crate::keys::{LEAD_SECONDS, Role};
use crate::publish::{Delivery, MARKER_SECONDS, Publisher};
use crate::store::Store;
use crate::upkeep::Upkeep;
use serde_json::json;
use std::io::Read as _;
use std::sync::Arc;

/// A database, and the store that hears of what changes in it.
pub struct Admin {
    db: Arc<Db>,
    publisher: Publisher,
}

impl Admin {
    /// Opens both; the store is asked only when there is something to tell.
    pub fn new(db: Db, link: &Link) -> Result<Self, BoxError> {
        let db = Arc::new(db);
        let store = Arc::new(Store::new(&link.store_url, &link.store_token)?);
        let publisher = Publisher::new(Arc::clone(&db), store, link);
        Ok(Self { db, publisher })
    }

    /// Changes a user who is there.
    pub async fn user(&self, action: &UserAction) -> Result<(), BoxError> {
        let (now, client) = (now(), ClientInfo::default());
        let revoke = |ended: &Ended| self.publisher.revoked(ended, now);
        let event =
            |kind, user: &User| vec![Event::new(kind, Actor::Operator, &client).user(&user.id)];
        let (done, rows) = match action {
            UserAction::Add { .. } => return Err("adding a user needs no store".into()),
            UserAction::Disable { username } => {
                let user = self.found(username).await?;
                let events = event(EventKind::UserDisabled, &user);
                let grant = Grant { now, events: &events };
                let commands = self.publisher.disabled(&user.id);
                ("disabled", self.db.set_disabled(&user.id, true, commands, &grant, revoke).await?)
            }
            UserAction::Enable { username } => {
                let user = self.found(username).await?;
                let events = event(EventKind::UserEnabled, &user);
                let grant = Grant { now, events: &events };
                let commands = self.publisher.enabled(&user.id);
                ("enabled", self.db.set_disabled(&user.id, false, commands, &grant, revoke).await?)
            }
            UserAction::Passwd { username } => {
                let user = self.found(username).await?;
                let hash = hash_password(&new_password()?)?;
                let events = event(EventKind::PasswordChanged, &user);
                let grant = Grant { now, events: &events };
                let ended = self.db.set_password(&user.id, (None, &hash), None, &grant, revoke);
                let ended = ended.await?.ok_or("the user is gone")?;
                ("password_set", ended.into_iter().map(|ended| ended.pending).collect())
            }
        };
        let store = said(self.publisher.deliver(&rows).await);
        say(&json!({ "done": done, "store": store }));
        Ok(())
    }

    /// Ends sessions.
    pub async fn revoke(&self, action: &SessionsAction) -> Result<(), BoxError> {
        let SessionsAction::Revoke { session, username } = action else {
            return Err("listing sessions needs no store".into());
        };
        let (now, client) = (now(), ClientInfo::default());
        let revoke = |ended: &Ended| self.publisher.revoked(ended, now);
        let event = Event::new(EventKind::SessionRevoked, Actor::Operator, &client);
        let user = match username {
            Some(username) => Some(self.found(username).await?),
            None => None,
        };
        let (which, event) = match (session, &user) {
            (Some(id), _) => (Which::One(id), event.session(id)),
            (None, Some(user)) => {
                let which = Which::OfUser { user_id: &user.id, kept: None };
                (which, event.user(&user.id).detail("all"))
            }
            (None, None) => return Err("give --session or --username".into()),
        };
        let events = [event];
        let grant = Grant { now, events: &events };
        let ended = self.db.end_sessions(which, "operator", &grant, revoke).await?;
        if ended.is_empty() && session.is_some() {
            return Err("there is no such session".into());
        }
        let store = said(self.publisher.deliver_ended(&ended).await);
        say(&json!({ "done": "revoked", "sessions": ended.len(), "store": store }));
        Ok(())
    }

    /// Tells the store everything again.
    pub async fn reconcile(&self) -> Result<(), BoxError> {
        let drained = self.publisher.drain().await;
        let told = self.publisher.reconcile(MARKER_SECONDS, now()).await?;
        say(&json!({ "done": "reconciled", "told": told, "outbox_empty": drained }));
        Ok(())
    }

    /// Deletes what has ended.
    pub async fn clean_up(self, idle_seconds: u64, audit_seconds: u64) -> Result<(), BoxError> {
        let publisher = Arc::new(self.publisher);
        let upkeep = Upkeep { db: self.db, publisher, idle_seconds, audit_seconds };
        let deleted = upkeep.clean(now()).await?;
        let store = if upkeep.publisher.drain().await { "told" } else { "pending" };
        say(&json!({ "done": "cleaned_up", "deleted": deleted, "store": store }));
        Ok(())
    }

    async fn found(&self, username: &str) -> Result<User, BoxError> {
        find(&self.db, username).await
    }
}

/// Adds a user; the password is read from standard input.
pub async fn add_user(db: &Db, username: &str, scope: &str) -> Result<(), BoxError> {
    if username.is_empty() || username.len() > 256 || username.contains('\0') {
        return Err("a username has 1 to 256 bytes, and no NUL".into());
    }
    let user = User {
        id: crate::random::random_id(),
        username: username.to_owned(),
        password_hash: hash_password(&new_password()?)?,
        scope: scope.to_owned(),
        disabled: false,
    };
    let event = Event::new(EventKind::UserAdded, Actor::Operator, &ClientInfo::default());
    let events = [event.user(&user.id)];
    if !db.add_user(&user, &events, now()).await? {
        return Err(format!("a user named {username} exists already").into());
    }
    say(&json!({ "done": "user_added", "username": username, "scope": scope, "id": user.id }));
    Ok(())
}

/// Shows a user's sessions, a line each.
pub async fn list_sessions(db: &Db, username: &str, idle_seconds: u64) -> Result<(), BoxError> {
    let user = find(db, username).await?;
    for session in db.sessions(&user.id, now(), idle_seconds).await? {
        say(&json!({
            "session": session.id, "created_at": session.created_at,
            "refreshed_at": session.refreshed_at, "expires_at": session.expires_at,
            "address": session.address, "device": session.device,
        }));
    }
    Ok(())
}

/// Shows the keys, or lets the next one sign.
pub async fn keys(db: &Db, action: &KeysAction) -> Result<(), BoxError> {
    let (now, rows) = (now(), db.keys().await?);
    match action {
        KeysAction::List => {
            for row in rows.iter().rev() {
                let role = match row.role(&rows, now) {
                    Role::Next => "next",
                    Role::Current => "current",
                    Role::Previous => "previous",
                };
                say(&json!({
                    "kid": row.kid, "algorithm": row.algorithm, "role": role,
                    "created_at": row.created_at, "active_from": row.active_from,
                }));
            }
        }
        KeysAction::Rotate { compromised: true } => {
            let event = Event::new(EventKind::KeyRotated, Actor::Operator, &ClientInfo::default());
            let withdrawn = db.withdraw_keys(&[event.detail("all withdrawn")], now).await?;
            say(&json!({ "done": "withdrawn", "keys": withdrawn }));
        }
        KeysAction::Rotate { compromised: false } => {
            let next = rows.iter().find(|row| row.role(&rows, now) == Role::Next);
            let next = next.ok_or("there is no next key yet; a server makes one")?;
            let known = next.created_at + LEAD_SECONDS;
            if known > now.0 {
                let left = known - now.0;
                return Err(format!(
                    "the next key is new: verifiers may not know it for another {left} s"
                )
                .into());
            }
            let event = Event::new(EventKind::KeyRotated, Actor::Operator, &ClientInfo::default());
            db.rotate_keys(next.generation, &[event.detail(next.kid.clone())], now).await?;
            say(&json!({ "done": "rotated", "current": next.kid }));
        }
    }
    Ok(())
}

async fn find(db: &Db, username: &str) -> Result<User, BoxError> {
    let user = db.user(username).await?;
    user.ok_or_else(|| format!("there is no user named {username}").into())
}

fn new_password() -> Result<String, BoxError> {
    let mut password = String::new();
    std::io::stdin().take(4096).read_to_string(&mut password)?;
    let password = password.trim_end_matches(['\r', '\n']);
    if !is_acceptable_password(password) {
        return Err(format!(
            "give a password of {} characters to {} bytes on standard input",
            PASSWORD_CHARACTERS_MIN, PASSWORD_BYTES_MAX
        )
        .into());
    }
    Ok(password.to_owned())
}

fn said(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Done => "told",
        Delivery::Pending => "pending: a server that runs goes on telling it",
    }
}

#[expect(clippy::print_stdout, reason = "it is what the command is for")]
fn say(line: &serde_json::Value) {
    println!("{line}");
}
