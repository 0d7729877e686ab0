//! The parties that manage API keys.

use super::spec::has_name;
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::db::{KeySpec, Owner, OwnerKind};
use crate::problem::Problem;
use crate::token::AccessClaims;

/// A party that manages keys: an operator, or the holder of an access token.
pub struct Manager {
    actor: Actor,
    /// The owner whose keys are the manager's own; `None` for an operator.
    own: Option<Owner>,
    is_admin: bool,
    /// The scope of the manager's token. A key that it receives has no scope beyond it, so that a
    /// token can't gain scope. `None` for no bound.
    bound: Option<String>,
    client: ClientInfo,
}

impl Manager {
    /// Returns an operator, who manages all keys.
    pub fn operator() -> Self {
        let (actor, client) = (Actor::Operator, ClientInfo::default());
        Self { actor, own: None, is_admin: true, bound: None, client }
    }

    /// Returns an operator in the console, whose action `client` has.
    pub fn console(client: &ClientInfo) -> Self {
        Self { client: client.clone(), ..Self::operator() }
    }

    /// Returns the holder of an access token. An administrator manages the keys of every owner.
    pub fn of_token(claims: &AccessClaims, client: &ClientInfo, is_admin: bool) -> Self {
        // The token of a client that acts for itself has no session.
        let (actor, own) = match claims.sid {
            Some(_) => (Actor::User, Owner::user(&claims.sub)),
            None => (Actor::Client, Owner::client(&claims.sub)),
        };
        let bound = (!is_admin).then(|| claims.scope.clone());
        Self { actor, own: Some(own), is_admin, bound, client: client.clone() }
    }

    /// Returns the holder of a key, which may only revoke it.
    pub fn holder(client: &ClientInfo) -> Self {
        let actor = Actor::Client;
        Self { actor, own: None, is_admin: false, bound: None, client: client.clone() }
    }

    /// Returns the owner whose keys are the manager's own.
    pub fn own(&self) -> Option<&Owner> {
        self.own.as_ref()
    }

    /// Returns whether the manager manages the keys of every owner.
    pub fn is_admin(&self) -> bool {
        self.is_admin
    }

    /// Returns whether the manager may manage keys of this owner.
    pub fn manages(&self, owner: &Owner) -> bool {
        self.is_admin || self.own.as_ref() == Some(owner)
    }

    /// Checks that the manager may receive or change a key with this scope.
    ///
    /// # Errors
    ///
    /// [`Problem::ScopeInsufficient`] if its own token lacks one of the names.
    pub fn check_scope(&self, scope: &str) -> Result<(), Problem> {
        let Some(bound) = &self.bound else { return Ok(()) };
        let mut names = scope.split(' ').filter(|name| !name.is_empty());
        let is_within = names.all(|name| has_name(bound, name));
        is_within.then_some(()).ok_or(Problem::ScopeInsufficient)
    }

    /// Checks that the manager may give a key these terms. Only administrators choose what an owner
    /// is granted or billed by: plan, quotas, and what the upstream reads of a key.
    ///
    /// # Errors
    ///
    /// [`Problem::ScopeInsufficient`] if one of them differs from `old`, or is set in a new key.
    pub fn check_terms(&self, spec: &KeySpec, old: Option<&KeySpec>) -> Result<(), Problem> {
        let granted = |spec: &KeySpec| {
            let KeySpec { plan, quotas, metadata, .. } = spec.clone();
            (plan, quotas, metadata)
        };
        let is_same = granted(spec) == old.map(granted).unwrap_or_default();
        (self.is_admin || is_same).then_some(()).ok_or(Problem::ScopeInsufficient)
    }

    /// Returns an event about keys of an owner.
    pub fn event(&self, kind: EventKind, owner: &Owner, key: &str) -> Event {
        let by = self.own.as_ref().map_or_else(|| self.actor.name().to_owned(), Owner::to_string);
        let event = Event::new(kind, self.actor, &self.client);
        let event = event.detail(format!("key {key} of {owner}, by {by}"));
        match owner.kind {
            OwnerKind::Client => event,
            OwnerKind::User => event.user(&owner.id),
        }
    }
}
