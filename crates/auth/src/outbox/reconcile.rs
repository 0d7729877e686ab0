//! Detects data loss in the store, and republishes revocations.

use super::commands::{Holder, HolderState, REVOCATION_SECONDS};
use super::publisher::{BATCH, Publisher, RECENT_SECONDS, SAMPLE_EACH_SECONDS, with_timeout};
use crate::db::{Copied, Revocation, RevocationKind};
use crate::random::random_below;
use portcullis_core::UnixSeconds;
use redis_rest::{Command, Reply};
use std::sync::atomic::Ordering;

/// The result of a check of the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreHealth {
    /// The store has all its data.
    Intact,
    /// The store had lost data, and this many commands were sent again.
    Republished(usize),
    /// The store or the database is unavailable.
    Unknown,
}

impl Publisher {
    /// Checks a per-process counter in the store, and now and then the markers of some revocations
    /// of the last day, and some blocks, quotas or balances. If one is missing or the counter is
    /// stale, the store lost data: republishes all live revocations and adjustments, and the
    /// records of API keys. Otherwise republishes the last 60 s, which covers the loss of recent
    /// writes: at each check after a write of this process, at every third for those of others.
    /// `process` names the counter; `round` counts from 1.
    pub async fn check_store(&self, process: &str, round: u64, now: UnixSeconds) -> StoreHealth {
        let key = self.commands.keys().reconciled(process);
        let mut query = vec![Command::new("GET").arg(&key)];
        let wait = self.next_sample_at.load(Ordering::Relaxed).saturating_sub(now.0);
        // A longer wait is that of a clock that went back.
        if wait == 0 || wait > SAMPLE_PAUSE_SECONDS {
            self.next_sample_at.store(now.plus(SAMPLE_EACH_SECONDS).0, Ordering::Relaxed);
            let mut sampled = self.sample_markers(now).await;
            sampled.extend(self.sample_adjustments(now).await);
            query.extend(sampled.into_iter().map(|key| Command::new("GET").arg(key)));
        }
        let replies = self.store.execute(&query).await.unwrap_or_default();
        let counter = match replies.first() {
            None | Some(Reply::Error(_)) => return StoreHealth::Unknown,
            Some(reply) => reply.as_text().map(str::to_owned),
        };
        let mut lost_data = counter.as_deref() != Some((round - 1).to_string().as_str())
            || round == 1
            || self.must_republish.load(Ordering::Relaxed);
        if !lost_data && replies.iter().skip(1).any(|reply| *reply == Reply::Null) {
            tracing::warn!(event = "marker_missed", fix = "set maxmemory-policy noeviction");
            self.next_sample_at.store(now.plus(SAMPLE_PAUSE_SECONDS).0, Ordering::Relaxed);
            lost_data = true;
        }
        // A failure of what follows, or a lost reply, must not let the next round forget the loss.
        self.must_republish.store(lost_data, Ordering::Relaxed);
        // The counter is written first, so that a loss during the republication is detected.
        let next = Command::new("SET").arg(&key).arg(round).arg("EX").arg(COUNTER_SECONDS);
        if self.store.write(&[next]).await.is_err() {
            return StoreHealth::Unknown;
        }
        let recent = &self.recent_checks;
        let wrote = recent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if !lost_data && wrote.is_err() && !round.is_multiple_of(ROUNDS_FOR_OTHERS) {
            return StoreHealth::Intact;
        }
        let seconds = if lost_data { REVOCATION_SECONDS } else { RECENT_SECONDS };
        match self.reconcile(seconds, now).await {
            Ok(republished) if lost_data => {
                self.must_republish.store(false, Ordering::Relaxed);
                StoreHealth::Republished(republished)
            }
            Ok(_) => StoreHealth::Intact,
            Err(error) => {
                tracing::warn!(event = "store_not_reconciled", fault = error);
                // What was not sent now may soon be older than what each round sends.
                self.must_republish.store(true, Ordering::Relaxed);
                StoreHealth::Unknown
            }
        }
    }

    /// Returns the keys of markers that the store should have: those of the first revocations of
    /// each kind after a random time of the last day. Excludes revocations that
    /// [`Publisher::check_store`] republishes each time.
    async fn sample_markers(&self, now: UnixSeconds) -> Vec<String> {
        let oldest = now.0.saturating_sub(REVOCATION_SECONDS - RECENT_SECONDS);
        let newest = now.0.saturating_sub(RECENT_SECONDS);
        let start = oldest + random_below(newest.saturating_sub(oldest).max(1));
        let found = self.db.sample_revocations([start, oldest, newest]);
        let found = with_timeout(found).await.unwrap_or_default();
        found.iter().map(|(kind, id)| self.commands.marker_key(*kind, id)).collect()
    }

    /// Republishes the revocations of the last `seconds`: sessions, access tokens, and disabled
    /// users and clients; and blocks, quotas and credits. Also corrects what the store has of API
    /// keys: of those that were changed in the last `seconds`, or of all if that is as long as a
    /// revocation lives. Returns the number of commands.
    pub async fn reconcile(&self, seconds: u64, now: UnixSeconds) -> Result<usize, String> {
        let start = now.0.saturating_sub(seconds);
        let mut republished = 0;
        let changed = match seconds > RECENT_SECONDS {
            true => Copied::all(),
            false => with_timeout(self.db.changed_since(start)).await?,
        };
        for kind in RevocationKind::ALL {
            if !changed.contains(&Copied::Revocations(kind)) {
                continue;
            }
            let mut after = Revocation { id: String::new(), at: start };
            loop {
                let mut batch = with_timeout(self.db.revocations(kind, &after, BATCH)).await?;
                let commands =
                    batch.iter().flat_map(|row| self.commands.revocation(kind, row, now));
                let commands: Vec<Command> = commands.collect();
                republished += commands.len();
                self.write(&commands).await.map_err(|error| error.to_string())?;
                for row in &batch {
                    let written = match kind {
                        RevocationKind::Session | RevocationKind::Token => break,
                        RevocationKind::User | RevocationKind::Client => HolderState::Disabled,
                        RevocationKind::UserTokens | RevocationKind::ClientTokens => {
                            HolderState::RevokedUntil(row.at)
                        }
                    };
                    let holder = match kind {
                        RevocationKind::User | RevocationKind::UserTokens => Holder::User(&row.id),
                        _ => Holder::Client(&row.id),
                    };
                    self.settle(holder, written, now).await?;
                }
                let is_last = batch.len() < BATCH as usize;
                match batch.pop() {
                    Some(last) if !is_last => after = last,
                    _ => break,
                }
            }
        }
        // A publisher that can't write records can't compare them either.
        if self.commands.records().is_some() && changed.contains(&Copied::ApiKeys) {
            let since = if seconds < REVOCATION_SECONDS { start } else { 0 };
            republished += self.settle_changed_keys(UnixSeconds(since), now).await?;
        }
        // All adjustments are republished after a loss, however old they are.
        let start = if seconds > RECENT_SECONDS { 0 } else { start };
        Ok(republished + self.reconcile_adjustments(start, &changed).await?)
    }

    /// Corrects the marker of a user or a client, which was just written, if their state has
    /// changed meanwhile. Reads the state again after each write, because it may have changed
    /// during the write.
    async fn settle(
        &self,
        holder: Holder<'_>,
        mut written: HolderState,
        now: UnixSeconds,
    ) -> Result<(), String> {
        for _ in 0..SETTLE_ROUNDS_MAX {
            let state = self.state_of(holder, now).await?;
            if state == written {
                break;
            }
            let command = self.commands.holder_state(holder, state, now);
            self.write(&[command]).await.map_err(|error| error.to_string())?;
            written = state;
        }
        Ok(())
    }

    async fn state_of(&self, holder: Holder<'_>, now: UnixSeconds) -> Result<HolderState, String> {
        let (is_disabled, tokens_revoked_at) = match holder {
            Holder::User(id) => {
                let user = with_timeout(self.db.user_by_id(id)).await?;
                user.map_or((false, None), |user| (user.disabled, user.tokens_revoked_at))
            }
            Holder::Client(id) => {
                let client = with_timeout(self.db.client_state(id)).await?;
                client.map_or((false, None), |client| {
                    (client.disabled_at.is_some(), client.tokens_revoked_at)
                })
            }
        };
        Ok(HolderState::of(is_disabled, tokens_revoked_at, now))
    }
}

/// At which rounds writes of other processes are looked for: each of those looks for its own at
/// every round while it lives.
const ROUNDS_FOR_OTHERS: u64 = 3;
/// The expiry of the counter, soon after its process has ended.
const COUNTER_SECONDS: u64 = 600;
/// How long nothing is sampled after a marker was missing: a store that keeps evicting must not be
/// refilled again and again.
const SAMPLE_PAUSE_SECONDS: u64 = 60;
/// A number above how often an operator can change a user's state during one write.
const SETTLE_ROUNDS_MAX: usize = 4;
