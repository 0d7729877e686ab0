//! Sets, clears and lists quotas, and adds credits.

use super::service::{Adjustments, Author, Changed, Page};
use super::terms::Ending;
use crate::audit::EventKind;
use crate::db::{
    AuditedChange, CreditBalance, CreditGrant, Granted, LimitCaller, QuotaOverride, about_credits,
    about_quota,
};
use crate::outbox::Delivery;
use crate::problem::Problem;
use crate::random::random_id;
use portcullis_core::UnixSeconds;

/// Credits that were added.
pub struct CreditsAdded {
    /// The sum of all grants.
    pub granted: u64,
    /// The grant's id.
    pub id: String,
    /// Whether the same grant had been added before.
    pub is_repeated: bool,
}

impl Adjustments {
    /// Sets a caller's quota, or replaces it.
    pub async fn set_quota(
        &self,
        caller: LimitCaller,
        quota: u64,
        ending: Ending,
        author: &Author,
        now: UnixSeconds,
    ) -> Result<Changed<QuotaOverride>, Problem> {
        let quota = u32::try_from(quota).ok().filter(|quota| (1..=QUOTA_MAX).contains(quota));
        let problem = "the quota is out of bounds; give 1 to 1,000,000, or block the caller";
        let quota = quota.ok_or(Problem::AdjustmentInvalid(problem))?;
        let ends_at = ending.at(now)?;
        let detail = format!("{} {quota} until {ends_at}", described(&caller));
        let events = vec![author.event(EventKind::QuotaSet, detail)];
        let quota = QuotaOverride {
            caller,
            quota,
            ends_at,
            created_at: now.0,
            changed_at: now.0,
            cleared_at: None,
            actor: author.name(),
        };
        let commands = self.publisher.commands();
        let commands = |quota: &QuotaOverride| commands.quota(quota);
        let change = AuditedChange { now, events: &events };
        let row = self.db.set_quota(&quota, &commands, &change).await?;
        let delivery = self.publisher.deliver(vec![row]).await;
        Ok(Changed { value: quota, delivery, events })
    }

    /// Clears a caller's quota. One that is over already is a success, as long as its row is
    /// retained.
    pub async fn clear_quota(
        &self,
        caller: &LimitCaller,
        author: &Author,
        now: UnixSeconds,
    ) -> Result<Changed<()>, Problem> {
        let events = vec![author.event(EventKind::QuotaCleared, described(caller))];
        let commands = self.publisher.commands();
        let commands = |quota: &QuotaOverride| commands.quota(quota);
        let change = AuditedChange { now, events: &events };
        let (id, actor) = (caller.id(), author.name());
        if let Some(row) = self.db.clear_quota(&id, &actor, &commands, &change).await? {
            let delivery = self.publisher.deliver(vec![row]).await;
            return Ok(Changed { value: (), delivery, events });
        }
        self.db.quota(&id).await?.ok_or(Problem::QuotaUnknown)?;
        let delivery = self.publisher.delivery_of(&about_quota(&id)).await?;
        Ok(Changed { value: (), delivery, events: Vec::new() })
    }

    /// Returns at most `limit` quotas that apply, after the id `after`.
    pub async fn quotas(
        &self,
        after: &str,
        limit: u32,
        now: UnixSeconds,
    ) -> Result<Page<QuotaOverride>, Problem> {
        let quotas = self.db.quotas(after, limit + 1, now).await?;
        Ok(Page::new(quotas, limit, |quota| quota.caller.id()))
    }

    /// Returns the quota of one caller, if it applies.
    pub async fn quota(
        &self,
        caller: &LimitCaller,
        now: UnixSeconds,
    ) -> Result<Page<QuotaOverride>, Problem> {
        let quota = self.db.quota(&caller.id()).await?.filter(|quota| quota.is_live(now));
        Ok(Page { entries: quota.into_iter().collect(), next: None })
    }

    /// Adds credits to what a caller was granted, or takes some back. A grant with an id counts
    /// once, however often it is sent.
    pub async fn add_credits(
        &self,
        caller: &LimitCaller,
        credits: i64,
        id: Option<String>,
        author: &Author,
        now: UnixSeconds,
    ) -> Result<Changed<CreditsAdded>, Problem> {
        let id = id.unwrap_or_else(random_id);
        let is_id =
            (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        if !is_id {
            let problem = "the id is invalid; give 1 to 100 visible ASCII characters";
            return Err(Problem::AdjustmentInvalid(problem));
        }
        if credits == 0 || credits.unsigned_abs() > CREDITS_MAX {
            let problem = "the credits are out of bounds; give a number up to 10^12 other than 0";
            return Err(Problem::AdjustmentInvalid(problem));
        }
        let detail = format!("{} {credits:+} with id {id}", described(caller));
        let events = vec![author.event(EventKind::CreditAdded, detail)];
        let commands = self.publisher.commands();
        let commands = |balance: &CreditBalance| commands.credits(balance);
        let change = AuditedChange { now, events: &events };
        let grant = CreditGrant { caller, id: &id, credits, actor: &author.name() };
        let (granted, row) = self.db.add_credits(&grant, CREDITS_MAX, &commands, &change).await?;
        match granted {
            Granted::Added { granted } => {
                let delivery = self.publisher.deliver(row.into_iter().collect()).await;
                let value = CreditsAdded { granted, id, is_repeated: false };
                Ok(Changed { value, delivery, events })
            }
            Granted::Repeated { granted } => {
                let about = about_credits(&caller.id());
                let delivery: Delivery = self.publisher.delivery_of(&about).await?;
                let value = CreditsAdded { granted, id, is_repeated: true };
                Ok(Changed { value, delivery, events: Vec::new() })
            }
            Granted::IdTaken => Err(Problem::CreditIdReused),
            Granted::OutOfRange => Err(Problem::CreditsOutOfRange),
        }
    }

    /// Returns at most `limit` balances, after the id `after`.
    pub async fn credits(&self, after: &str, limit: u32) -> Result<Page<CreditBalance>, Problem> {
        let balances = self.db.credit_balances(after, limit + 1).await?;
        Ok(Page::new(balances, limit, |balance| balance.caller.id()))
    }

    /// Returns the balance of one caller.
    pub async fn credits_of(&self, caller: &LimitCaller) -> Result<Page<CreditBalance>, Problem> {
        let balance = self.db.credit_balance(&caller.id()).await?;
        Ok(Page { entries: balance.into_iter().collect(), next: None })
    }
}

/// Returns a caller as the audit has it.
fn described(caller: &LimitCaller) -> String {
    format!("{} {} of {}", caller.limit, caller.parts, caller.issuer)
}

const QUOTA_MAX: u32 = 1_000_000;
/// The most that a caller can be granted in all. Scripts of the store count it exactly.
const CREDITS_MAX: u64 = 1_000_000_000_000;
const ID_BYTES_MAX: usize = 100;
