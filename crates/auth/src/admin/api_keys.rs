//! The operator's commands about API keys.

use super::{Admin, find_user, print_line, store_status};
use crate::api_keys::{ApiKeySettings, ApiKeys, KeyList, Manager, SpecPatch, key_view};
use crate::cli::{KeyAction, KeyOwner};
use crate::clock::now;
use crate::db::{ListPlace, Owner};
use crate::error::BoxError;
use crate::outbox::Delivery;
use crate::problem::Problem;
use serde_json::{Map, Value, json};
use std::sync::Arc;

impl Admin {
    /// Creates, lists, revokes or rolls API keys.
    pub async fn api_keys(
        &self,
        action: &KeyAction,
        settings: ApiKeySettings,
    ) -> Result<(), BoxError> {
        let keys = ApiKeys::new(settings, Arc::clone(&self.db), Arc::clone(&self.publisher), None);
        let (now, operator) = (now(), Manager::operator());
        match action {
            KeyAction::Create { owner, terms } => {
                let owner = self.key_owner(owner).await?;
                let patch = SpecPatch::new(members(terms)?).map_err(text)?;
                let created = keys.create(&operator, owner, patch, now).await.map_err(text)?;
                print_change("key_created", created.view(now), created.delivery);
            }
            KeyAction::List { owner } => {
                let owner = self.key_owner(owner).await?;
                let mut after = ListPlace::default();
                loop {
                    let list = KeyList { owner: owner.as_ref(), text: None, after, limit: PAGE };
                    let page = keys.list(&operator, list, now).await;
                    let (states, next) = page.map_err(text)?;
                    for state in &states {
                        print_line(&key_view(state, now));
                    }
                    match next {
                        Some(next) => after = next,
                        None => break,
                    }
                }
            }
            KeyAction::Revoke { id: Some(id), .. } => {
                let delivery = keys.revoke(&operator, id, now).await.map_err(text)?;
                print_line(&json!({ "done": "key_revoked", "store": store_status(delivery) }));
            }
            KeyAction::Revoke { id: None, owner } => {
                let owner = self.key_owner(owner).await?;
                let owner = owner.ok_or("give --id, --username or --client")?;
                let (count, delivery) =
                    keys.revoke_all(&operator, &owner, now).await.map_err(text)?;
                let store = store_status(delivery);
                print_line(&json!({ "done": "keys_revoked", "keys": count, "store": store }));
            }
            KeyAction::Roll { id, grace_seconds } => {
                let rolled = keys.roll(&operator, id, *grace_seconds, now).await.map_err(text)?;
                print_change("key_rolled", rolled.view(now), rolled.delivery);
            }
        }
        Ok(())
    }

    async fn key_owner(&self, owner: &KeyOwner) -> Result<Option<Owner>, BoxError> {
        Ok(match (&owner.username, &owner.client) {
            (Some(username), _) => Some(Owner::user(&find_user(&self.db, username).await?.id)),
            (None, Some(client)) => Some(Owner::client(client)),
            (None, None) => None,
        })
    }
}

/// Returns the members that the flags of `key create` state.
fn members(terms: &crate::cli::KeyTermsFlags) -> Result<Map<String, Value>, BoxError> {
    let mut members = Map::new();
    members.insert("name".to_owned(), terms.name.as_str().into());
    members.insert("scope".to_owned(), terms.scope.as_str().into());
    members.insert("networks".to_owned(), terms.networks.clone().into());
    if let Some(plan) = &terms.plan {
        members.insert("plan".to_owned(), plan.as_str().into());
    }
    if let Some(days) = terms.expires_in {
        members.insert("expires_in".to_owned(), (u64::from(days) * 86_400).into());
    }
    let mut quotas = Map::new();
    for quota in &terms.quotas {
        let (limit, number) = quota.split_once('=').unwrap_or((quota, ""));
        let number: u32 = number
            .parse()
            .map_err(|_| format!("--quota {quota} is malformed; give LIMIT=NUMBER"))?;
        quotas.insert(limit.to_owned(), number.into());
    }
    members.insert("quotas".to_owned(), Value::Object(quotas));
    if let Some(metadata) = &terms.metadata {
        let metadata: Map<String, Value> = serde_json::from_str(metadata)
            .map_err(|_| "--metadata is not a JSON object; give one, such as {\"tier\":1}")?;
        members.insert("metadata".to_owned(), Value::Object(metadata));
    }
    Ok(members)
}

/// Prints a new key or secret. This is the only time that it is shown.
fn print_change(done: &str, mut view: Value, delivery: Delivery) {
    if let Value::Object(members) = &mut view {
        members.insert("done".to_owned(), done.into());
        members.insert("store".to_owned(), store_status(delivery).into());
    }
    print_line(&view);
}

fn text(problem: Problem) -> BoxError {
    format!("{}: {}", problem.code(), problem.description()).into()
}

const PAGE: u32 = 1000;
