//! Blocks, other quotas and credits in the store. Whatever an outbox row about them contains, its
//! delivery writes their current state, so that a late one undoes no later change.

use super::commands::StoreCommands;
use super::publisher::{BATCH, Publisher, RECENT_SECONDS, SAMPLE_EACH_SECONDS, with_timeout};
use crate::db::{
    ABOUT_BLOCK, ABOUT_CREDITS, ABOUT_NETWORKS, ABOUT_QUOTA, Block, BlockCommands, BlockKind,
    BlockedNetwork, Copied, CreditBalance, LimitCaller, QuotaOverride, about_block, about_credits,
    about_quota,
};
use crate::random::random_id;
use crate::store::StoreError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use serde_json::json;
use std::net::IpAddr;

/// The expiry is a moment, so that a late delivery does not lengthen a block.
impl StoreCommands {
    /// Writes a block until its end, or deletes it if it is over. A network is in the list alone.
    pub fn block(&self, block: &Block) -> Vec<Command> {
        let Some(key) = self.block_key(block) else { return Vec::new() };
        if block.cleared_at.is_some() {
            return vec![Command::new("DEL").arg(key)];
        }
        let value = json!({ "v": 1, "reason": block.reason, "until": block.ends_at });
        vec![Command::new("SET").arg(key).arg(value).arg("EXAT").arg(block.ends_at)]
    }

    /// Returns the key of a block; `None` for a network.
    fn block_key(&self, block: &Block) -> Option<String> {
        let target = &block.target;
        match target.kind {
            BlockKind::Network => None,
            BlockKind::Address => Some(self.keys().block_address(&target.name)),
            kind => Some(self.keys().block(kind.name(), &target.issuer, &target.name)),
        }
    }

    /// Replaces the list of blocked networks, which lives until the last of them ends.
    pub fn networks(&self, networks: &[BlockedNetwork]) -> Vec<Command> {
        let key = self.keys().blocked_networks();
        let Some(last) = networks.iter().map(|network| network.ends_at).max() else {
            return vec![Command::new("DEL").arg(key)];
        };
        let entry = |own: &BlockedNetwork| json!([network_text(&own.name), own.ends_at]);
        // In order, so that the edges need not sort them.
        let mut networks: Vec<&BlockedNetwork> = networks.iter().collect();
        networks.sort_by_key(|network| address_number(&network.name));
        let value =
            json!({ "v": 1, "networks": networks.into_iter().map(entry).collect::<Vec<_>>() });
        vec![Command::new("SET").arg(key).arg(value).arg("EXAT").arg(last)]
    }

    /// Writes a caller's quota for each kind of state that its limit can have, or deletes it if it
    /// is over. Only the edge's policy knows the limit's algorithm.
    pub fn quota(&self, quota: &QuotaOverride) -> Vec<Command> {
        let caller = &quota.caller;
        let keys = QUOTA_STATES.iter().filter_map(|state| self.adjusted_key(caller, state));
        if quota.cleared_at.is_some() {
            return keys.map(|key| Command::new("DEL").arg(key)).collect();
        }
        let set = |key| Command::new("SET").arg(key).arg(quota.quota);
        keys.map(|key| set(key).arg("EXAT").arg(quota.ends_at)).collect()
    }

    /// Writes the sum of a caller's credits.
    pub fn credits(&self, balance: &CreditBalance) -> Vec<Command> {
        let set = |key| Command::new("SET").arg(key).arg(balance.granted);
        let key = self.adjusted_key(&balance.caller, CREDITS_STATE).into_iter();
        key.map(|key| set(key).arg("EX").arg(CREDITS_SECONDS)).collect()
    }

    /// Returns the key that goes with a limit's state. Returns `None` if the hash is malformed.
    fn adjusted_key(&self, caller: &LimitCaller, state: &str) -> Option<String> {
        let hash = URL_SAFE_NO_PAD.decode(&caller.hash).ok()?;
        let hash: [u8; 32] = hash.try_into().ok()?;
        Some(self.keys().quota(&self.keys().limit(&caller.limit, state, &hash)))
    }
}

/// Returns a blocked address or network in the form of the list.
fn network_text(name: &str) -> String {
    match name.contains('/') {
        true => name.to_owned(),
        false => format!("{name}/32"),
    }
}

/// What outbox rows are about, and the commands that bring its state to the store.
struct Adjustment {
    about: String,
    commands: Vec<Command>,
}

/// A place in the order of changes: a time and an id.
type Place = (u64, String);

impl Publisher {
    /// Returns the commands that bring the current state of `about` to the store.
    async fn current(&self, about: &str) -> Result<Vec<Command>, String> {
        let (commands, id) = (self.commands(), about.split_once('/').map_or("", |(_, id)| id));
        if about.starts_with(ABOUT_BLOCK) {
            let block = with_timeout(self.db.block(id)).await?;
            return Ok(block.map_or(Vec::new(), |block| commands.block(&block)));
        }
        if about.starts_with(ABOUT_QUOTA) {
            let quota = with_timeout(self.db.quota(id)).await?;
            return Ok(quota.map_or(Vec::new(), |quota| commands.quota(&quota)));
        }
        if about.starts_with(ABOUT_CREDITS) {
            let balance = with_timeout(self.db.credit_balance(id)).await?;
            return Ok(balance.map_or(Vec::new(), |balance| commands.credits(&balance)));
        }
        Ok(commands.networks(&with_timeout(self.db.blocked_networks()).await?))
    }

    /// Writes the current state of `about`. Reads it again after each write, because it may have
    /// changed during the write. If that fails, a row of the outbox lets it be tried again.
    pub(super) async fn write_adjustment(&self, about: &str) -> Result<(), StoreError> {
        let settled = self.settle_adjustment(about).await;
        if settled.is_err() {
            // A later change may have discarded the row, and its delivery may have come first.
            let kept = with_timeout(self.db.enqueue_missing(about, crate::clock::now())).await;
            if let Err(error) = kept {
                tracing::warn!(event = "outbox_unwritable", error);
            }
        }
        settled
    }

    async fn settle_adjustment(&self, about: &str) -> Result<(), StoreError> {
        let mut written: Option<Vec<Command>> = None;
        for _ in 0..SETTLE_ROUNDS_MAX {
            let commands = self.current(about).await.map_err(StoreError::Database)?;
            if written.as_ref() == Some(&commands) {
                break;
            }
            self.write(&commands).await?;
            written = Some(commands);
        }
        Ok(())
    }

    /// Republishes the blocks, quotas and credits that were changed after `start`, and deletes
    /// those that are over. `changed` says of which there are any. Returns the number of commands.
    pub(super) async fn reconcile_adjustments(
        &self,
        start: u64,
        changed: &[Copied],
    ) -> Result<usize, String> {
        let first = |copied| changed.contains(&copied).then(|| (start, String::new()));
        let mut republished = 0;
        let mut place: Option<Place> = first(Copied::Blocks);
        let mut is_list_changed = false;
        while let Some(after) = place {
            let page = with_timeout(self.db.changed_blocks((after.0, &after.1), BATCH)).await?;
            place = page.last().map(|block| (block.changed_at, block.target.id()));
            is_list_changed |= page.iter().any(|block| block.target.kind.is_in_list());
            let adjustments = page.iter().map(|block| Adjustment {
                about: about_block(&block.target.id()),
                commands: self.commands().block(block),
            });
            republished += self.republish(adjustments.collect()).await?;
        }
        if is_list_changed {
            let about = ABOUT_NETWORKS.to_owned();
            let commands = self.current(&about).await?;
            republished += self.republish(vec![Adjustment { about, commands }]).await?;
        }
        let mut place: Option<Place> = first(Copied::Quotas);
        while let Some(after) = place {
            let page = with_timeout(self.db.changed_quotas((after.0, &after.1), BATCH)).await?;
            place = page.last().map(|quota| (quota.changed_at, quota.caller.id()));
            let adjustments = page.iter().map(|quota| Adjustment {
                about: about_quota(&quota.caller.id()),
                commands: self.commands().quota(quota),
            });
            republished += self.republish(adjustments.collect()).await?;
        }
        let mut place: Option<Place> = first(Copied::Credits);
        while let Some(after) = place {
            let page = with_timeout(self.db.changed_credits((after.0, &after.1), BATCH)).await?;
            place = page.last().map(|balance| (balance.changed_at, balance.caller.id()));
            let adjustments = page.iter().map(|balance| Adjustment {
                about: about_credits(&balance.caller.id()),
                commands: self.commands().credits(balance),
            });
            republished += self.republish(adjustments.collect()).await?;
        }
        Ok(republished)
    }

    /// Ends one batch of adjustments whose end has come, and deletes rows that no store still has.
    /// Returns the number of rows.
    pub async fn end_adjustments(&self, now: UnixSeconds) -> Result<u64, sqlx::Error> {
        let commands = self.commands();
        let block_commands = BlockCommands {
            block: &|block| commands.block(block),
            networks: &|blocks| commands.networks(blocks),
        };
        let quota_commands = |quota: &QuotaOverride| commands.quota(quota);
        let blocks = self.db.end_blocks(block_commands, now).await?;
        let quotas = self.db.end_quotas(&quota_commands, now).await?;
        Ok(blocks + quotas + self.db.delete_ended_adjustments(now).await?)
    }

    /// Writes adjustments, and settles those that were changed meanwhile. Returns the number of
    /// commands.
    async fn republish(&self, adjustments: Vec<Adjustment>) -> Result<usize, String> {
        let commands = adjustments.iter().flat_map(|own| own.commands.clone());
        let commands: Vec<Command> = commands.collect();
        match self.write(&commands).await {
            Ok(()) => {}
            // The store's token may not write them. Revocations are not held up by that.
            Err(error) if error.is_rejection() => {
                tracing::error!(event = "store_refuses_adjustments", fault = %error);
                return Ok(0);
            }
            Err(error) => return Err(error.to_string()),
        }
        for own in &adjustments {
            if self.current(&own.about).await? != own.commands {
                self.write_adjustment(&own.about).await.map_err(|error| error.to_string())?;
            }
        }
        Ok(commands.len())
    }

    /// Returns keys that the store should have: those of random blocks, quotas or balances, in
    /// turn. Excludes those whose last change is republished each time, and those that end soon.
    pub(super) async fn sample_adjustments(&self, now: UnixSeconds) -> Vec<String> {
        let changed_before = now.0.saturating_sub(RECENT_SECONDS);
        let ends_after = now.plus(SAMPLE_MARGIN_SECONDS).0;
        let random = random_id();
        let hash = random.as_str();
        match now.0 / SAMPLE_EACH_SECONDS % 3 {
            0 => {
                let found = self.db.sample_quotas(hash, changed_before, ends_after);
                let found = with_timeout(found).await.unwrap_or_default();
                let key = |quota: &QuotaOverride| {
                    self.commands().adjusted_key(&quota.caller, QUOTA_SAMPLE_STATE)
                };
                found.iter().filter_map(key).collect()
            }
            1 => {
                let found = self.db.sample_credits(hash, changed_before);
                let found = with_timeout(found).await.unwrap_or_default();
                let key = |balance: &CreditBalance| {
                    self.commands().adjusted_key(&balance.caller, CREDITS_STATE)
                };
                found.iter().filter_map(key).collect()
            }
            _ => {
                let found = self.db.sample_blocks(hash, changed_before, ends_after);
                let found = with_timeout(found).await.unwrap_or_default();
                let keys = found.iter().filter_map(|block| self.commands().block_key(block));
                let mut keys: Vec<String> = keys.collect();
                if found.iter().any(|block| block.target.kind.is_in_list()) {
                    keys.push(self.commands().keys().blocked_networks());
                }
                keys
            }
        }
    }
}

/// The kinds of state of a limit that has a quota.
const QUOTA_STATES: [&str; 5] = ["bucket", "day", "fixed", "month", "sliding"];
const QUOTA_SAMPLE_STATE: &str = "bucket";
/// The kind of state of a limit of credits.
const CREDITS_STATE: &str = "credits";
/// How long the sum of credits stays in the store without a change. A sample finds that it is
/// missing.
const CREDITS_SECONDS: u64 = 400 * 86_400;
/// A number above how often an adjustment can change during one write.
const SETTLE_ROUNDS_MAX: usize = 4;
/// How much earlier than its key a sampled block must not end, by clocks that differ.
const SAMPLE_MARGIN_SECONDS: u64 = 60;

/// Returns the address of a network as the edges number it: IPv4 among the mapped ones of IPv6.
fn address_number(network: &str) -> u128 {
    let address = network.split('/').next().unwrap_or_default().parse::<IpAddr>();
    address.map_or(0, |address| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    })
}
