//! Creates, lists, changes, rolls and revokes API keys.

use super::manager::Manager;
use super::secret::{display_prefix, generate};
use super::spec::{SpecPatch, revised};
use super::view::key_view;
use crate::audit::{Audit, ClientInfo, Event, EventKind};
use crate::db::{
    AuditedChange, Db, KeyChange, KeySecret, KeySelector, KeyState, ListPlace, NewApiKey, Owner,
    OwnerState, RolledSecret,
};
use crate::outbox::{Delivery, Publisher};
use crate::problem::Problem;
use crate::random::random_id;
use crate::token::token_hash;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

/// The settings of API keys.
#[derive(Clone, Debug)]
pub struct ApiKeySettings {
    /// The prefix of new keys.
    pub prefix: String,
    /// The most keys of one owner that are not revoked.
    pub per_owner_max: u32,
}

/// The API keys of all owners.
pub struct ApiKeys {
    settings: ApiKeySettings,
    pub(super) db: Arc<Db>,
    pub(super) publisher: Arc<Publisher>,
    /// Logs and counts events; `None` for commands, which do neither.
    audit: Option<Audit>,
    /// The ids of keys whose use is being recorded in the background.
    pub(super) recording: Arc<Mutex<BTreeSet<String>>>,
}

/// A new key or a new secret of one.
pub struct IssuedKey {
    pub state: KeyState,
    /// The key itself, which is stored nowhere.
    pub secret: String,
    pub delivery: Delivery,
}

impl IssuedKey {
    /// Returns the key as its manager sees it, with the secret.
    pub fn view(&self, now: UnixSeconds) -> Value {
        let mut view = key_view(&self.state, now);
        if let Value::Object(members) = &mut view {
            members.insert("key".to_owned(), Value::from(self.secret.as_str()));
        }
        view
    }
}

/// A page of keys that is asked for.
#[derive(Default)]
pub struct KeyList<'a> {
    /// The owner; `None` for all that the manager manages.
    pub owner: Option<&'a Owner>,
    /// An id, or what a key's name or its visible part begins with.
    pub text: Option<&'a str>,
    pub after: ListPlace,
    pub limit: u32,
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuedKey({:?}, REDACTED)", self.state.key.id)
    }
}

impl ApiKeys {
    /// Creates the service.
    pub fn new(
        settings: ApiKeySettings,
        db: Arc<Db>,
        publisher: Arc<Publisher>,
        audit: Option<Audit>,
    ) -> Self {
        Self { settings, db, publisher, audit, recording: Arc::default() }
    }

    /// Creates a key of `owner`, or of the manager itself. Its scope is part of the owner's.
    pub async fn create(
        &self,
        manager: &Manager,
        owner: Option<Owner>,
        patch: SpecPatch,
        now: UnixSeconds,
    ) -> Result<IssuedKey, Problem> {
        let owner = owner.or_else(|| manager.own().cloned()).ok_or(Problem::OwnerUnknown)?;
        if !manager.manages(&owner) {
            return Err(Problem::ScopeInsufficient);
        }
        let known = self.db.key_owner(&owner).await?.filter(|owner| !owner.disabled);
        let OwnerState { scope, .. } = known.ok_or(Problem::OwnerUnknown)?;
        let spec = revised(None, patch, &scope, now)?;
        manager.check_scope(&spec.scope)?;
        manager.check_terms(&spec, None)?;
        let (id, secret) = (random_id(), generate(&self.settings.prefix));
        let new = NewApiKey {
            id: &id,
            owner: &owner,
            spec: &spec,
            display_prefix: &display_prefix(&self.settings.prefix, &secret),
            hash: &token_hash(&secret),
            keys_max: self.settings.per_owner_max,
        };
        let events = [manager.event(EventKind::KeyCreated, &owner, &id)];
        let change = AuditedChange { now, events: &events };
        let (state, row) = self.db.create_key(&new, &change, &self.commands(now)).await??;
        self.record(&events);
        let delivery = self.publisher.deliver(vec![row]).await;
        Ok(IssuedKey { state, secret, delivery })
    }

    /// Returns a page of keys that are not revoked, and the place of the next page: of an owner, of
    /// the manager itself, or of all owners.
    pub async fn list(
        &self,
        manager: &Manager,
        list: KeyList<'_>,
        now: UnixSeconds,
    ) -> Result<(Vec<KeyState>, Option<ListPlace>), Problem> {
        let KeyList { owner, text, after, limit } = list;
        let owner = match owner {
            Some(owner) if !manager.manages(owner) => return Err(Problem::ScopeInsufficient),
            None if !manager.is_admin() => manager.own(),
            owner => owner,
        };
        // One more than the page shows whether there is another page.
        let queried = limit.saturating_add(1);
        let selector = match text {
            Some(text) => KeySelector::Found { text, owner, after, limit: queried },
            None => KeySelector::Listed { owner, after, limit: queried },
        };
        let (mut states, _) = self.db.key_states(&selector, now).await?;
        let is_last = states.len() <= usize::try_from(limit).unwrap_or(usize::MAX);
        states.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let last = states.last().filter(|_| !is_last);
        let next =
            last.map(|state| ListPlace { at: state.key.created_at, id: state.key.id.clone() });
        Ok((states, next))
    }

    /// Returns a key that the manager may manage, even a revoked one.
    pub async fn get(
        &self,
        manager: &Manager,
        id: &str,
        now: UnixSeconds,
    ) -> Result<KeyState, Problem> {
        // Postgres rejects a NUL in a query, and ids can't contain one.
        if id.len() > ID_BYTES_MAX || id.contains('\0') {
            return Err(Problem::ApiKeyUnknown);
        }
        let state = self.db.key_state(id, now).await?;
        state.filter(|state| manager.manages(&state.key.owner)).ok_or(Problem::ApiKeyUnknown)
    }

    /// Changes what a key may do. The manager must be able to receive the key, before and after.
    pub async fn change(
        &self,
        manager: &Manager,
        id: &str,
        patch: SpecPatch,
        now: UnixSeconds,
    ) -> Result<(KeyState, Delivery), Problem> {
        let state = self.get(manager, id, now).await?;
        let events = [manager.event(EventKind::KeyChanged, &state.key.owner, id)];
        let change = AuditedChange { now, events: &events };
        let revise = |state: &KeyState| {
            patch.was.check(&key_view(state, now))?;
            let (old, owner) = (&state.key.spec, state.owner.as_ref());
            manager.check_scope(&old.scope)?;
            let owned = owner.map_or("", |owner| owner.scope.as_str());
            let spec = revised(Some(old), patch, owned, now)?;
            manager.check_scope(&spec.scope)?;
            manager.check_terms(&spec, Some(old))?;
            Ok(spec)
        };
        let changed = self.db.change_key(id, &change, &self.commands(now), revise).await?;
        self.finish(changed, &events).await
    }

    /// Replaces a key's secret. The replaced one remains valid for `grace_seconds`, and so do the
    /// ones before it until their own ends. Without a grace, all of them end now.
    pub async fn roll(
        &self,
        manager: &Manager,
        id: &str,
        grace_seconds: u64,
        now: UnixSeconds,
    ) -> Result<IssuedKey, Problem> {
        if grace_seconds > GRACE_SECONDS_MAX {
            return Err(Problem::MemberInvalid("grace_seconds must be 0 to 2592000 (30 days)"));
        }
        let state = self.get(manager, id, now).await?;
        let check = |state: &KeyState| manager.check_scope(&state.key.spec.scope);
        let secret = generate(&self.settings.prefix);
        let new = RolledSecret {
            hash: &token_hash(&secret),
            display_prefix: &display_prefix(&self.settings.prefix, &secret),
            grace_seconds,
        };
        let events = [manager.event(EventKind::KeyRolled, &state.key.owner, id)];
        let change = AuditedChange { now, events: &events };
        let rolled = self.db.roll_key(id, &new, &change, &self.commands(now), check).await?;
        let (state, delivery) = self.finish(rolled, &events).await?;
        Ok(IssuedKey { state, secret, delivery })
    }

    /// Revokes a key. A key that was revoked before stays so.
    pub async fn revoke(
        &self,
        manager: &Manager,
        id: &str,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let state = self.get(manager, id, now).await?;
        let event = manager.event(EventKind::KeyRevoked, &state.key.owner, id);
        self.end(id, event, now).await
    }

    /// Revokes all keys of an owner. Returns their number.
    pub async fn revoke_all(
        &self,
        manager: &Manager,
        owner: &Owner,
        now: UnixSeconds,
    ) -> Result<(usize, Delivery), Problem> {
        let events = [manager.event(EventKind::KeyRevoked, owner, "(all)")];
        let change = AuditedChange { now, events: &events };
        let rows = self.db.revoke_keys_of_owner(owner, &change, &self.commands(now)).await?;
        let count = rows.len();
        if count > 0 {
            self.record(&events);
        }
        Ok((count, self.publisher.deliver(rows).await))
    }

    /// Revokes a secret (RFC 7009): its possession is enough. The current one revokes its key. A
    /// replaced one ends alone, so that it has no power over its successor. One that has ended or
    /// is unknown counts as revoked.
    pub async fn revoke_secret(
        &self,
        secret: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let hash = token_hash(secret);
        let Some(state) = self.db.key_by_hash(&hash, now).await? else {
            return Ok(Delivery::Done);
        };
        let (key, holder) = (&state.key, Manager::holder(client));
        match state.secrets.iter().find(|secret| secret.hash == hash) {
            Some(KeySecret { ends_at: None, .. }) => {
                let event = holder.event(EventKind::KeyRevoked, &key.owner, &key.id);
                self.end(&key.id, event, now).await
            }
            Some(KeySecret { ends_at: Some(at), .. }) if *at > now.0 => {
                let detail = format!("{} (a replaced secret ended)", key.id);
                let event = holder.event(EventKind::KeyChanged, &key.owner, &detail);
                self.end_replaced(&key.id, &hash, event, now).await
            }
            _ => Ok(Delivery::Done),
        }
    }

    async fn end_replaced(
        &self,
        id: &str,
        hash: &str,
        event: Event,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let events = [event];
        let change = AuditedChange { now, events: &events };
        let ended = self.db.end_key_secret(id, hash, &change, &self.commands(now)).await?;
        let Some(row) = ended else { return Ok(self.publisher.delivery_of(id).await?) };
        self.record(&events);
        Ok(self.publisher.deliver(vec![row]).await)
    }

    async fn end(&self, id: &str, event: Event, now: UnixSeconds) -> Result<Delivery, Problem> {
        let events = [event];
        let change = AuditedChange { now, events: &events };
        let Some((_, row)) = self.db.revoke_key(id, &change, &self.commands(now)).await? else {
            return Ok(self.publisher.delivery_of(id).await?);
        };
        self.record(&events);
        Ok(self.publisher.deliver(vec![row]).await)
    }

    /// Delivers a change and records its events.
    async fn finish(
        &self,
        change: KeyChange,
        events: &[Event],
    ) -> Result<(KeyState, Delivery), Problem> {
        match change {
            KeyChange::Changed { state, outbox_row } => {
                self.record(events);
                Ok((state, self.publisher.deliver(vec![outbox_row]).await))
            }
            KeyChange::Unchanged(state) => {
                let delivery = self.publisher.delivery_of(&state.key.id).await?;
                Ok((state, delivery))
            }
            KeyChange::Refused(problem) => Err(problem),
        }
    }

    fn record(&self, events: &[Event]) {
        if let Some(audit) = &self.audit {
            audit.record(events);
        }
    }

    fn commands(&self, now: UnixSeconds) -> impl Fn(&KeyState) -> Vec<Command> + Sync + '_ {
        move |state| self.publisher.commands().key(state, now)
    }
}

/// How long a replaced secret remains valid by default.
pub const GRACE_SECONDS_DEFAULT: u64 = 86_400;
const GRACE_SECONDS_MAX: u64 = 30 * 86_400;
const ID_BYTES_MAX: usize = 64;
