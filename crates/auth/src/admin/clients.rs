//! The commands about clients.

use super::claims::claims_patch;
use super::{Admin, print_line, store_status};
use crate::cli::{ClientAction, ClientSettings};
use crate::clients::ClientEdit;
use crate::db::{Db, ListPlace};
use crate::directory::clients::NewClient;
use crate::error::BoxError;
use crate::problem::Problem;
use serde_json::{Map, Value, json};
use std::path::Path;

impl Admin {
    /// Changes clients.
    pub async fn client(&self, action: &ClientAction) -> Result<(), BoxError> {
        let message = |problem: Problem| problem.description();
        let directory = self.directory();
        let (done, id, edit) = match action {
            ClientAction::Create { name, settings, jwks } => {
                let edit = client_edit(Some(name), settings, &[], jwks.as_deref())?;
                let new = directory.add_client(&edit).await.map_err(message)?;
                print_line(&with_secret("client_added", new));
                return Ok(());
            }
            ClientAction::Delete(client) => {
                let delivery = directory.delete_client(&client.id).await.map_err(message)?;
                let store = store_status(delivery);
                print_line(&json!({ "done": "client_deleted", "store": store }));
                return Ok(());
            }
            ClientAction::List => return list(&self.db).await,
            ClientAction::Roll { client, grace_seconds } => {
                let secret = directory.roll_client_secret(&client.id, *grace_seconds).await;
                print_line(&json!({
                    "done": "client_secret_rolled",
                    "client_id": client.id,
                    "client_secret": secret.map_err(message)?,
                }));
                return Ok(());
            }
            ClientAction::Disable(client) => {
                let edit = ClientEdit { disabled: Some(true), ..ClientEdit::default() };
                ("client_disabled", &client.id, edit)
            }
            ClientAction::Enable(client) => {
                let edit = ClientEdit { disabled: Some(false), ..ClientEdit::default() };
                ("client_enabled", &client.id, edit)
            }
            ClientAction::Set { client, name, settings, remove_claim, jwks, now } => {
                let edit = client_edit(name.as_ref(), settings, remove_claim, jwks.as_deref())?;
                ("client_set", &client.id, ClientEdit { now: *now, ..edit })
            }
        };
        let (client, delivery) = directory.change_client(id, &edit).await.map_err(message)?;
        let mut line = with_done(done, client.shown());
        line.insert("store".to_owned(), store_status(delivery).into());
        print_line(&Value::Object(line));
        Ok(())
    }
}

/// Lists clients, one line each.
pub async fn list(db: &Db) -> Result<(), BoxError> {
    let mut after: Option<ListPlace> = None;
    loop {
        let page = db.clients(after.as_ref(), PAGE).await?;
        for client in &page {
            print_line(&client.shown());
        }
        let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else { break };
        after = Some(ListPlace { at: last.created_at, id: last.id.clone() });
    }
    Ok(())
}

fn client_edit(
    name: Option<&String>,
    settings: &ClientSettings,
    removed: &[String],
    jwks: Option<&Path>,
) -> Result<ClientEdit, BoxError> {
    let jwks = jwks.map(|path| -> Result<Map<String, Value>, BoxError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("--jwks: {} can't be read: {error}", path.display()))?;
        Ok(serde_json::from_str(&text)
            .map_err(|error| format!("--jwks: {} is not JSON: {error}", path.display()))?)
    });
    Ok(ClientEdit {
        name: name.cloned(),
        scope: settings.scope.clone(),
        token_seconds: settings.token_seconds.map(Some),
        plan: settings.plan.clone().map(Some),
        claims: claims_patch(&settings.claims, removed)?.map(Some),
        jwks: jwks.transpose()?.map(Some),
        ..ClientEdit::default()
    })
}

fn with_secret(done: &str, new: NewClient) -> Value {
    let mut line = with_done(done, new.client.shown());
    if let Some(secret) = new.secret {
        line.insert("client_secret".to_owned(), secret.into());
    }
    Value::Object(line)
}

/// Returns the members of a line of output that says what was done.
pub(super) fn with_done(done: &str, shown: Value) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("done".to_owned(), done.into());
    if let Value::Object(members) = shown {
        line.extend(members);
    }
    line
}

/// The most clients or users of one query.
pub(super) const PAGE: u32 = 500;
