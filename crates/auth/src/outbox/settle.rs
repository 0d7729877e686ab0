//! Compares the store with the states of API keys, and corrects it.

use super::publisher::{Publisher, with_timeout};
use crate::db::{KeyPlace, KeySelector, KeyState};
use portcullis_core::UnixSeconds;
use redis_rest::{Command, Reply};
use std::sync::{Arc, PoisonError};

impl Publisher {
    /// Gives the store the states of keys where it has others, and returns the number of commands.
    ///
    /// A state is read again after its write. If it has changed meanwhile, the write may have
    /// replaced a newer one, so the store is compared once more.
    pub async fn settle_keys(
        &self,
        mut states: Vec<KeyState>,
        now: UnixSeconds,
    ) -> Result<usize, String> {
        let mut commands = 0;
        for _ in 0..ROUNDS_MAX {
            let mut written = Vec::new();
            for batch in states.chunks(BATCH) {
                let (count, changed) = self.write_states(batch, now).await?;
                commands += count;
                written.extend(changed);
            }
            states = self.changed_since(&written, now).await?;
            if states.is_empty() {
                break;
            }
        }
        Ok(commands)
    }

    /// Returns the present states of the keys that no longer have the given ones.
    async fn changed_since(
        &self,
        written: &[KeyState],
        now: UnixSeconds,
    ) -> Result<Vec<KeyState>, String> {
        let mut changed = Vec::new();
        for page in written.chunks(PAGE_KEYS) {
            let ids: Vec<String> = page.iter().map(|state| state.key.id.clone()).collect();
            let selector = KeySelector::Ids(&ids);
            let (current, _) = with_timeout(self.db.key_states(&selector, now)).await?;
            let is_known = |current: &KeyState| page.iter().any(|old| old.is_equivalent(current));
            changed.extend(current.into_iter().filter(|current| !is_known(current)));
        }
        Ok(changed)
    }

    /// Compares the store with a batch of states, and writes what differs. Returns the number of
    /// commands, and the states that were written.
    async fn write_states(
        &self,
        batch: &[KeyState],
        now: UnixSeconds,
    ) -> Result<(usize, Vec<KeyState>), String> {
        let wanted: Vec<_> = batch
            .iter()
            .flat_map(|state| {
                let wanted = self.commands.wanted(state, now).into_iter();
                wanted.map(move |(key, wanted)| (state, key, wanted))
            })
            .collect();
        let (mut count, mut written) = (0, Vec::<KeyState>::new());
        for wanted in wanted.chunks(BATCH) {
            let queries: Vec<Command> =
                wanted.iter().map(|(_, key, _)| Command::new("GET").arg(key)).collect();
            let replies = self.store.execute(&queries).await.map_err(|error| error.to_string())?;
            let differs = |key: &str, wanted, reply: &Reply| !self.commands.has(key, wanted, reply);
            let pairs = wanted.iter().zip(&replies);
            let pairs = pairs.filter(|((_, key, wanted), reply)| differs(key, wanted, reply));
            let mut commands = Vec::new();
            for ((state, key, wanted), _) in pairs {
                commands.push(self.commands.want(key, wanted));
                if written.last().is_none_or(|last| last.key.id != state.key.id) {
                    written.push((*state).clone());
                }
            }
            count += commands.len();
            if !commands.is_empty() {
                self.write(&commands).await.map_err(|error| error.to_string())?;
            }
        }
        Ok((count, written))
    }

    /// Settles all keys that were changed at `since` or later. Returns the number of commands.
    pub(super) async fn settle_changed_keys(
        &self,
        since: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<usize, String> {
        let mut after = KeyPlace { at: since.0, id: String::new() };
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
