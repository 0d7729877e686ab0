//! The changes of clients.

use super::{Directory, GRACE_SECONDS_MAX};
use crate::audit::{Event, EventKind};
use crate::clients::{AuthMethod, ClientEdit, OAuthClient, is_client_id, new_client_id};
use crate::db::{AuditedChange, Changed, ClientChange, KeyState, NewSecret};
use crate::outbox::{Delivery, Holder, HolderState};
use crate::problem::Problem;
use crate::token::{OpaqueToken, token_hash};
use redis_rest::Command;

/// A new client, and its secret, which nothing shows again. A client with keys has none.
pub struct NewClient {
    pub client: OAuthClient,
    pub secret: Option<String>,
}

impl Directory<'_> {
    /// Adds a client.
    pub async fn add_client(&self, settings: &ClientEdit) -> Result<NewClient, Problem> {
        let client =
            settings.create(new_client_id(), self.now.0).map_err(Problem::MemberInvalid)?;
        let by_secret = client.auth_method == AuthMethod::ClientSecret;
        let secret = by_secret.then(|| OpaqueToken::ClientSecret.generate());
        let hash = secret.as_deref().map(token_hash);
        let events = [self.event(EventKind::ClientAdded, &client.id)];
        let change = AuditedChange { now: self.now, events: &events };
        self.db.add_client(&client, hash.as_deref(), &change).await?;
        self.record(&events);
        Ok(NewClient { client, secret })
    }

    /// Returns a client.
    pub async fn client(&self, id: &str) -> Result<OAuthClient, Problem> {
        let client = match is_client_id(id) {
            true => self.db.client_by_id(id).await?,
            false => None,
        };
        client.ok_or(Problem::ClientUnknown)
    }

    /// Changes a client. A disabled client gets no tokens, and those that it has are revoked. They
    /// stay revoked when it is enabled again.
    pub async fn change_client(
        &self,
        id: &str,
        edit: &ClientEdit,
    ) -> Result<(OAuthClient, Delivery), Problem> {
        if !is_client_id(id) {
            return Err(Problem::ClientUnknown);
        }
        let now = self.now;
        let events = |before: &OAuthClient, after: &OAuthClient| self.client_events(before, after);
        let keys = |state: &KeyState| self.publisher.commands().key(state, now);
        let change = ClientChange {
            id,
            edit: |client: OAuthClient| {
                edit.was.check(&client.shown())?;
                edit.apply(client, now.0).map_err(Problem::MemberInvalid)
            },
            revokes_tokens: edit.now,
            events,
            keys: &keys,
            commands: |client: &OAuthClient, hashes: &[String]| {
                self.client_commands(client, hashes)
            },
            now,
        };
        match self.db.change_client(change).await? {
            Changed::Done { after, events, outbox_rows } => {
                self.record(&events);
                Ok((after, self.deliver(id, outbox_rows).await?))
            }
            Changed::Refused(problem) => Err(problem),
            Changed::Unknown => Err(Problem::ClientUnknown),
        }
    }

    /// Returns a new secret of a client. The old one works until the grace period ends. Without a
    /// grace, all old ones end.
    pub async fn roll_client_secret(
        &self,
        id: &str,
        grace_seconds: u64,
    ) -> Result<String, Problem> {
        if grace_seconds > GRACE_SECONDS_MAX {
            return Err(Problem::MemberInvalid("grace_seconds must be 0 to 2592000"));
        }
        let client = self.client(id).await?;
        if client.auth_method != AuthMethod::ClientSecret {
            return Err(Problem::MemberInvalid(
                "the client has keys instead of a secret; change its jwks",
            ));
        }
        let secret = OpaqueToken::ClientSecret.generate();
        let detail = format!("{id}, grace {grace_seconds} s");
        let events = [self.event(EventKind::ClientSecretRolled, &detail)];
        let change = AuditedChange { now: self.now, events: &events };
        let new = NewSecret { client_id: id, hash: &token_hash(&secret), grace_seconds };
        self.db.roll_client_secret(&new, &change).await??;
        self.record(&events);
        Ok(secret)
    }

    /// Deletes a client and revokes its tokens.
    pub async fn delete_client(&self, id: &str) -> Result<Delivery, Problem> {
        if !is_client_id(id) {
            return Err(Problem::ClientUnknown);
        }
        let events = [self.event(EventKind::ClientDeleted, id)];
        let change = AuditedChange { now: self.now, events: &events };
        let commands = |hashes: &[String]| {
            let (holder, state) = (Holder::Client(id), HolderState::Disabled);
            self.publisher.commands().holder_revoked(holder, state, hashes, self.now)
        };
        let keys = |state: &KeyState| self.publisher.commands().key(state, self.now);
        let rows = self.db.delete_client(id, commands, &change, &keys).await?;
        let rows = rows.ok_or(Problem::ClientUnknown)?;
        self.record(&events);
        self.deliver(id, rows).await
    }

    fn client_commands(&self, client: &OAuthClient, hashes: &[String]) -> Vec<Command> {
        let is_disabled = client.disabled_at.is_some();
        let state = HolderState::of(is_disabled, client.tokens_revoked_at, self.now);
        let holder = Holder::Client(&client.id);
        self.publisher.commands().holder_revoked(holder, state, hashes, self.now)
    }

    /// Returns the events of a change: each says what has changed, but no values.
    fn client_events(&self, before: &OAuthClient, after: &OAuthClient) -> Vec<Event> {
        let mut events = Vec::new();
        let names = [
            ("name", before.name != after.name),
            ("scope", before.scope != after.scope),
            ("token_seconds", before.token_seconds != after.token_seconds),
            ("plan", before.plan != after.plan),
            ("claims", before.claims != after.claims),
            ("jwks", before.jwks != after.jwks),
            ("tokens revoked", before.tokens_revoked_at != after.tokens_revoked_at),
        ];
        let changed: Vec<&str> =
            names.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
        let kind = match (before.disabled_at, after.disabled_at) {
            (None, Some(_)) => Some(EventKind::ClientDisabled),
            (Some(_), None) => Some(EventKind::ClientEnabled),
            _ => None,
        };
        events.extend(kind.map(|kind| self.event(kind, &after.id)));
        if !changed.is_empty() && (kind.is_none() || changed != ["tokens revoked"]) {
            let detail = format!("{}: {}", after.id, changed.join(", "));
            events.push(self.event(EventKind::ClientChanged, &detail));
        }
        events
    }
}
