//! The commands about blocks, quotas and credits.

use super::{Admin, print_line, store_status};
use crate::adjustments::{
    Adjustments, Author, BlockSelector, Changed, Ending, LIST_MAX, block_target, limit_caller,
    shown_block, shown_credits, shown_quota,
};
use crate::cli::{BlockOptions, CallerOptions, CreditAction, LimitAction, TargetOptions};
use crate::clock::now;
use crate::db::{BlockTarget, LimitCaller};
use crate::error::BoxError;
use crate::problem::Problem;
use serde_json::{Value, json};
use std::sync::Arc;

impl Admin {
    /// Sets a block.
    pub async fn block(&self, options: &BlockOptions) -> Result<(), BoxError> {
        let (target, ending) =
            (self.target(&options.target).await?, Ending::After(options.seconds));
        let (own, author) = (self.adjustments(), Author::operator());
        let changed = own.set_block(target, options.reason.clone(), ending, &author, now());
        let changed = changed.await.map_err(error)?;
        print_line(&changed_line("blocked", &changed, shown_block(&changed.value)));
        Ok(())
    }

    /// Clears a block.
    pub async fn unblock(&self, options: &TargetOptions) -> Result<(), BoxError> {
        let target = self.target(options).await?;
        let (own, author) = (self.adjustments(), Author::operator());
        let changed = own.clear_block(&target, &author, now()).await.map_err(error)?;
        print_line(&changed_line("unblocked", &changed, json!({})));
        Ok(())
    }

    /// Lists the blocks that apply, one line each.
    pub async fn blocks(&self) -> Result<(), BoxError> {
        let mut after = Some(String::new());
        while let Some(place) = after {
            let page = self.adjustments().blocks(&place, LIST_MAX, now()).await.map_err(error)?;
            page.entries.iter().for_each(|block| print_line(&shown_block(block)));
            after = page.next;
        }
        Ok(())
    }

    /// Sets, clears or lists quotas.
    pub async fn limit(&self, action: &LimitAction) -> Result<(), BoxError> {
        let (own, author) = (self.adjustments(), Author::operator());
        match action {
            LimitAction::Clear { caller } => {
                let caller = self.caller(caller)?;
                let changed = own.clear_quota(&caller, &author, now()).await.map_err(error)?;
                print_line(&changed_line("quota_cleared", &changed, json!({})));
            }
            LimitAction::List => {
                let mut after = Some(String::new());
                while let Some(place) = after {
                    let page = own.quotas(&place, LIST_MAX, now()).await.map_err(error)?;
                    page.entries.iter().for_each(|quota| print_line(&shown_quota(quota)));
                    after = page.next;
                }
            }
            LimitAction::Set { caller, quota, seconds } => {
                let (caller, ending) = (self.caller(caller)?, Ending::After(*seconds));
                let changed = own.set_quota(caller, *quota, ending, &author, now());
                let changed = changed.await.map_err(error)?;
                print_line(&changed_line("quota_set", &changed, shown_quota(&changed.value)));
            }
        }
        Ok(())
    }

    /// Adds or shows credits.
    pub async fn credit(&self, action: &CreditAction) -> Result<(), BoxError> {
        let own = self.adjustments();
        match action {
            CreditAction::Add { caller, credits, id } => {
                let (caller, author) = (self.caller(caller)?, Author::operator());
                let changed = own.add_credits(&caller, *credits, id.clone(), &author, now());
                let changed = changed.await.map_err(error)?;
                let added = &changed.value;
                let shown = json!({
                    "granted": added.granted, "id": added.id, "repeated": added.is_repeated,
                });
                print_line(&changed_line("credit_added", &changed, shown));
            }
            CreditAction::Show { caller } => {
                let page = own.credits_of(&self.caller(caller)?).await.map_err(error)?;
                if page.entries.is_empty() {
                    return Err("this caller of the limit was granted no credits".into());
                }
                page.entries.iter().for_each(|balance| print_line(&shown_credits(balance)));
            }
        }
        Ok(())
    }

    fn adjustments(&self) -> Adjustments {
        Adjustments::new(Arc::clone(&self.db), Arc::clone(&self.publisher), &self.issuer)
    }

    async fn target(&self, options: &TargetOptions) -> Result<BlockTarget, BoxError> {
        let TargetOptions { subject, username, client, key, address, issuer } = options;
        let subject = match (username, subject) {
            (None, subject) => subject.clone(),
            (Some(username), None) if issuer.is_none() => Some(self.find_user(username).await?.id),
            (Some(_), _) => {
                let problem = "--username is a user of this service; leave --subject and \
                               --of-issuer out";
                return Err(problem.into());
            }
        };
        let selector = BlockSelector {
            subject,
            client: client.clone(),
            key: key.clone(),
            address: address.clone(),
            issuer: issuer.clone(),
        };
        block_target(selector, &self.issuer).map_err(error)
    }

    fn caller(&self, options: &CallerOptions) -> Result<LimitCaller, BoxError> {
        let CallerOptions { limit, by, issuer } = options;
        limit_caller(limit, by.clone(), issuer.clone(), &self.issuer).map_err(error)
    }
}

/// Returns a line about a change: what was done, and whether the store has it.
fn changed_line<T>(done: &str, changed: &Changed<T>, mut shown: Value) -> Value {
    if let Some(members) = shown.as_object_mut() {
        members.insert("done".to_owned(), json!(done));
        members.insert("store".to_owned(), json!(store_status(changed.delivery)));
    }
    shown
}

fn error(problem: Problem) -> BoxError {
    problem.description().into()
}
