//! Sets, clears and lists blocks.

use super::service::{Adjustments, Author, Changed, Page};
use super::terms::{Ending, check_text};
use crate::audit::EventKind;
use crate::db::{AuditedChange, Block, BlockCommands, BlockSet, BlockTarget, about_block};
use crate::outbox::Delivery;
use crate::problem::Problem;
use portcullis_core::UnixSeconds;

impl Adjustments {
    /// Sets a block, or replaces its reason and its end.
    pub async fn set_block(
        &self,
        target: BlockTarget,
        reason: String,
        ending: Ending,
        author: &Author,
        now: UnixSeconds,
    ) -> Result<Changed<Block>, Problem> {
        let problem = "the reason is invalid; give at most 200 bytes without control characters";
        check_text(&reason, REASON_BYTES_MAX, problem)?;
        let ends_at = ending.at(now)?;
        let detail = format!("{} until {ends_at}: {reason}", described(&target));
        let events = vec![author.event(EventKind::BlockSet, detail)];
        let block = Block {
            target,
            reason,
            ends_at,
            created_at: now.0,
            changed_at: now.0,
            cleared_at: None,
            actor: author.name(),
        };
        let commands = self.publisher.commands();
        let commands = BlockCommands {
            block: &|block| commands.block(block),
            networks: &|blocks| commands.networks(blocks),
        };
        let change = AuditedChange { now, events: &events };
        let BlockSet::Done(rows) = self.db.set_block(&block, commands, &change).await? else {
            return Err(Problem::BlocksTooMany);
        };
        let delivery = self.publisher.deliver(rows).await;
        Ok(Changed { value: block, delivery, events })
    }

    /// Clears a block. One that is over already is a success, as long as its row is retained.
    pub async fn clear_block(
        &self,
        target: &BlockTarget,
        author: &Author,
        now: UnixSeconds,
    ) -> Result<Changed<()>, Problem> {
        let events = vec![author.event(EventKind::BlockCleared, described(target))];
        let commands = self.publisher.commands();
        let commands = BlockCommands {
            block: &|block| commands.block(block),
            networks: &|blocks| commands.networks(blocks),
        };
        let change = AuditedChange { now, events: &events };
        let rows = self.db.clear_block(target, &author.name(), commands, &change).await?;
        if let Some(rows) = rows {
            let delivery = self.publisher.deliver(rows).await;
            return Ok(Changed { value: (), delivery, events });
        }
        self.db.block(&target.id()).await?.ok_or(Problem::BlockUnknown)?;
        let delivery = match self.publisher.delivery_of(&about_block(&target.id())).await? {
            Delivery::Done if target.kind.is_in_list() => self.publisher.delivery_of_list().await?,
            delivery => delivery,
        };
        Ok(Changed { value: (), delivery, events: Vec::new() })
    }

    /// Returns at most `limit` blocks that apply, after the id `after`.
    pub async fn blocks(
        &self,
        after: &str,
        limit: u32,
        now: UnixSeconds,
    ) -> Result<Page<Block>, Problem> {
        let blocks = self.db.blocks(after, limit + 1, now).await?;
        Ok(Page::new(blocks, limit, |block| block.target.id()))
    }

    /// Returns the block of one target, if it applies.
    pub async fn block(
        &self,
        target: &BlockTarget,
        now: UnixSeconds,
    ) -> Result<Page<Block>, Problem> {
        let block = self.db.block(&target.id()).await?.filter(|block| block.is_live(now));
        Ok(Page { entries: block.into_iter().collect(), next: None })
    }
}

/// Returns a target as the audit has it.
fn described(target: &BlockTarget) -> String {
    let BlockTarget { kind, issuer, name } = target;
    match issuer.is_empty() {
        true => format!("{} {name}", kind.name()),
        false => format!("{} {name} of {issuer}", kind.name()),
    }
}

const REASON_BYTES_MAX: usize = 200;
