//! The changes of users.

use super::Directory;
use crate::audit::{Event, EventKind};
use crate::clients::{null_as_empty, nullable};
use crate::db::{AuditedChange, Changed, EndedSession, KeyState, User, UserChange};
use crate::outbox::{Delivery, Holder, HolderState};
use crate::problem::Problem;
use crate::scope::normal_scope;
use crate::was::Was;
use redis_rest::Command;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A change of a user: a merge patch (RFC 7396).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserEdit {
    /// `null` removes all.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub scope: Option<String>,
    /// Changes claims by their names. `null` removes all.
    #[serde(default, deserialize_with = "nullable")]
    pub claims: Option<Option<Map<String, Value>>>,
    /// Whether the access tokens that were issued before are revoked. Sessions go on.
    #[serde(default)]
    pub now: bool,
    /// The values that the change was made from.
    #[serde(default)]
    pub was: Was,
}

impl UserEdit {
    fn apply(&self, mut user: User) -> Result<User, Problem> {
        self.was.check(&shown_user(&user))?;
        if let Some(scope) = &self.scope {
            user.scope = normal_scope(scope).map_err(Problem::MemberInvalid)?;
        }
        if let Some(claims) = &self.claims {
            let patched = user.claims.patched(claims.as_ref());
            user.claims = patched.map_err(|error| Problem::MemberInvalid(error.description()))?;
        }
        Ok(user)
    }
}

/// Returns a user as endpoints and commands show them.
pub fn shown_user(user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username,
        "scope": user.scope,
        "claims": user.claims.members(),
        "disabled": user.disabled,
        "created_at": user.created_at,
    })
}

impl Directory<'_> {
    /// Returns the user with an id.
    pub async fn user(&self, id: &str) -> Result<User, Problem> {
        let user = match is_user_id(id) {
            true => self.db.listed_user(id).await?,
            false => None,
        };
        user.ok_or(Problem::UserUnknown)
    }

    /// Changes a user. Tokens have the new scope and claims from the next refresh on.
    pub async fn change_user(
        &self,
        id: &str,
        edit: &UserEdit,
    ) -> Result<(User, Delivery), Problem> {
        if !is_user_id(id) {
            return Err(Problem::UserUnknown);
        }
        let keys = |state: &KeyState| self.publisher.commands().key(state, self.now);
        let change = UserChange {
            id,
            edit: |user: User| edit.apply(user),
            revokes_tokens: edit.now,
            events: |before: &User, after: &User| self.user_events(before, after),
            keys: &keys,
            commands: |user: &User, hashes: &[String]| self.user_commands(user, hashes),
            now: self.now,
        };
        match self.db.change_user(change).await? {
            Changed::Done { after, events, outbox_rows } => {
                self.record(&events);
                Ok((after, self.deliver(id, outbox_rows).await?))
            }
            Changed::Refused(problem) => Err(problem),
            Changed::Unknown => Err(Problem::UserUnknown),
        }
    }

    /// Disables a user and ends all sessions, or enables the user again. A user who is in that
    /// state already stays so.
    pub async fn set_user_disabled(
        &self,
        id: &str,
        disabled: bool,
    ) -> Result<(User, Delivery), Problem> {
        let user = self.user(id).await?;
        let now = self.now;
        let kind = if disabled { EventKind::UserDisabled } else { EventKind::UserEnabled };
        let events = [self.event(kind, "").user(id)];
        let change = AuditedChange { now, events: &events };
        let commands = self.publisher.commands();
        let commands = match disabled {
            true => commands.user_disabled(id),
            false => commands.user_enabled(id, user.tokens_revoked_at, now),
        };
        let revoke = |ended: &EndedSession| self.publisher.commands().session_ended(ended, now);
        let keys = |state: &KeyState| self.publisher.commands().key(state, now);
        let changed = self.db.set_disabled(id, disabled, commands, &change, revoke, &keys);
        let rows = changed.await?;
        if !rows.is_empty() {
            self.record(&events);
        }
        let delivery = match self.publisher.deliver(rows).await {
            Delivery::Done => self.publisher.delivery_of_user(id).await?,
            Delivery::Pending => Delivery::Pending,
        };
        Ok((self.user(id).await?, delivery))
    }

    /// Deletes a user: ends all sessions and erases personal data. The audit keeps the id.
    pub async fn delete_user(&self, id: &str) -> Result<Delivery, Problem> {
        if !is_user_id(id) {
            return Err(Problem::UserUnknown);
        }
        let events = [self.event(EventKind::UserDeleted, "").user(id)];
        let change = AuditedChange { now: self.now, events: &events };
        let commands = self.publisher.commands().user_disabled(id);
        let revoke =
            |ended: &EndedSession| self.publisher.commands().session_ended(ended, self.now);
        let keys = |state: &KeyState| self.publisher.commands().key(state, self.now);
        let rows = self.db.delete_user(id, commands, &change, revoke, &keys).await?;
        let rows = rows.ok_or(Problem::UserUnknown)?;
        self.record(&events);
        self.deliver(id, rows).await
    }

    fn user_commands(&self, user: &User, hashes: &[String]) -> Vec<Command> {
        let state = HolderState::of(user.disabled, user.tokens_revoked_at, self.now);
        let holder = Holder::User(&user.id);
        self.publisher.commands().holder_revoked(holder, state, hashes, self.now)
    }

    /// Returns the event of a change: it says what has changed, but no values of claims.
    fn user_events(&self, before: &User, after: &User) -> Vec<Event> {
        let mut changed = Vec::new();
        if before.scope != after.scope {
            changed.push(format!("scope {:?} to {:?}", before.scope, after.scope));
        }
        if before.claims != after.claims {
            changed.push("claims".to_owned());
        }
        if before.tokens_revoked_at != after.tokens_revoked_at {
            changed.push("tokens revoked".to_owned());
        }
        vec![self.event(EventKind::UserChanged, &changed.join(", ")).user(&after.id)]
    }
}

/// Returns whether a text has the form of a user's id.
fn is_user_id(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(is_allowed)
}
