//! Compares the store with the states of API keys, and corrects it.

use super::api_keys::Wanted;
use super::publisher::{Publisher, with_timeout};
use crate::db::{KeySelector, KeyState, ListPlace};
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

/// What one round has written.
#[derive(Default)]
struct Written {
    states: Vec<KeyState>,
    /// The keys of the records.
    records: Vec<String>,
}

impl Publisher {
    /// Gives the store the states of keys where it has others, and returns the number of commands.
    ///
    /// A state is read again before its write, and after it. If it has changed meanwhile, the write
    /// may have replaced a newer one, so the store is compared once more. If that can't be known,
    /// the records are deleted: a missing one is introspected.
    pub async fn settle_keys(
        &self,
        mut states: Vec<KeyState>,
        now: UnixSeconds,
    ) -> Result<usize, String> {
        let mut commands = 0;
        for round in 1..=ROUNDS_MAX {
            let mut written = Written::default();
            let settled = self.settle_round(&states, &mut written, now).await;
            let is_unsure =
                |(_, changed): &(usize, Vec<KeyState>)| round == ROUNDS_MAX && !changed.is_empty();
            if settled.as_ref().map_or(true, is_unsure) {
                self.withdraw(&written.records).await;
            }
            let (count, changed) = settled?;
            commands += count;
            states = changed;
            if states.is_empty() {
                break;
            }
        }
        Ok(commands)
    }

    /// Returns the number of commands, and the states that have changed since they were written.
    async fn settle_round(
        &self,
        states: &[KeyState],
        written: &mut Written,
        now: UnixSeconds,
    ) -> Result<(usize, Vec<KeyState>), String> {
        let mut commands = 0;
        for batch in states.chunks(BATCH) {
            commands += self.write_states(batch, written, now).await?;
        }
        let mut changed = Vec::new();
        for page in written.states.chunks(PAGE_KEYS) {
            let ids: Vec<String> = page.iter().map(|state| state.key.id.clone()).collect();
            let current = self.current_states(&ids, now).await?;
            let is_known = |current: &KeyState| page.iter().any(|old| old.is_equivalent(current));
            changed.extend(current.into_iter().filter(|current| !is_known(current)));
        }
        Ok((commands, changed))
    }

    async fn current_states(
        &self,
        ids: &[String],
        now: UnixSeconds,
    ) -> Result<Vec<KeyState>, String> {
        let selector = KeySelector::Ids(ids);
        Ok(with_timeout(self.db.key_states(&selector, now)).await?.0)
    }

    /// Deletes records that may be of an old state.
    pub(super) async fn withdraw(&self, records: &[String]) {
        let commands: Vec<Command> =
            records.iter().map(|key| Command::new("DEL").arg(key)).collect();
        if let Err(error) = self.write(&commands).await {
            tracing::warn!(event = "store_not_updated", fault = %error);
        }
    }

    /// Compares the store with a batch of states, and writes the present ones where it differs.
    /// Returns the number of commands.
    async fn write_states(
        &self,
        batch: &[KeyState],
        written: &mut Written,
        now: UnixSeconds,
    ) -> Result<usize, String> {
        let (mut ids, mut differing) = (Vec::new(), BTreeSet::new());
        let wanted: Vec<_> = batch
            .iter()
            .flat_map(|state| {
                let wanted = self.commands.wanted(state, now).into_iter();
                wanted.map(move |(key, wanted)| (&state.key.id, key, wanted))
            })
            .collect();
        for wanted in wanted.chunks(BATCH) {
            let queries: Vec<Command> =
                wanted.iter().map(|(_, key, _)| Command::new("GET").arg(key)).collect();
            let replies = self.store.execute(&queries).await.map_err(|error| error.to_string())?;
            for ((id, key, wanted), reply) in wanted.iter().zip(&replies) {
                if !self.commands.has(key, wanted, reply) {
                    differing.insert(key.as_str());
                    if ids.last() != Some(*id) {
                        ids.push((*id).clone());
                    }
                }
            }
        }
        if ids.is_empty() {
            return Ok(0);
        }
        let mut commands = Vec::new();
        for state in self.current_states(&ids, now).await? {
            let is_compared = batch.iter().any(|compared| compared.is_equivalent(&state));
            for (key, wanted) in self.commands.wanted(&state, now) {
                if is_compared && !differing.contains(key.as_str()) {
                    continue;
                }
                commands.push(self.commands.want(&key, &wanted));
                if let Wanted::Record { .. } = wanted {
                    written.records.push(key);
                }
            }
            written.states.push(state);
        }
        self.write(&commands).await.map_err(|error| error.to_string())?;
        Ok(commands.len())
    }

    /// Settles all keys that were changed at `since` or later. Returns the number of commands.
    pub(super) async fn settle_changed_keys(
        &self,
        since: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<usize, String> {
        let mut after = ListPlace { at: since.0, id: String::new() };
        let mut commands = 0;
        loop {
            let selector = KeySelector::Changed { after, limit: PAGE };
            let (states, last) = with_timeout(self.db.key_states(&selector, now)).await?;
            commands += self.settle_keys(states, now).await?;
            match last {
                Some(last) => after = last,
                None => return Ok(commands),
            }
        }
    }

    /// Returns whether no key is being settled in the background.
    #[cfg(test)]
    pub fn is_settled(&self) -> bool {
        self.settling.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Settles one key in the background, because its record may be missing. One task settles a key
    /// at a time.
    pub fn settle_soon(self: &Arc<Self>, state: KeyState, now: UnixSeconds) {
        let id = state.key.id.clone();
        {
            let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
            if settling.len() >= SETTLING_MAX || !settling.insert(id.clone()) {
                return;
            }
        }
        let publisher = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = publisher.settle_keys(vec![state], now).await {
                tracing::warn!(event = "store_not_updated", fault = error);
            }
            let mut settling = publisher.settling.lock().unwrap_or_else(PoisonError::into_inner);
            settling.remove(&id);
        });
    }
}

/// The most records of one request. Their replies are far smaller than the largest response that
/// is read.
const BATCH: usize = 20;
/// The most keys of one query.
const PAGE: u32 = 100;
const PAGE_KEYS: usize = 100;
/// The most keys that are settled in the background at once.
const SETTLING_MAX: usize = 64;
/// A number above how often a key can change during one write.
const ROUNDS_MAX: usize = 4;
