//! The commands that list, change and delete users.

use super::claims::claims_patch;
use super::clients::{PAGE, with_done};
use super::{Admin, print_line, store_status};
use crate::cli::UserSettings;
use crate::db::{Db, ListPlace};
use crate::directory::users::{UserEdit, shown_user};
use crate::error::BoxError;
use serde_json::{Value, json};

impl Admin {
    /// Changes scope and claims of a user.
    pub async fn set_user(&self, settings: &UserSettings) -> Result<(), BoxError> {
        let edit = UserEdit {
            scope: settings.scope.clone(),
            claims: claims_patch(&settings.claims, &settings.remove_claim)?.map(Some),
            now: settings.now,
            ..UserEdit::default()
        };
        let user = self.find_user(&settings.username).await?;
        let changed = self.directory().change_user(&user.id, &edit).await;
        let (user, delivery) = changed.map_err(|problem| problem.description())?;
        let mut line = with_done("user_set", shown_user(&user));
        line.insert("store".to_owned(), store_status(delivery).into());
        print_line(&Value::Object(line));
        Ok(())
    }

    /// Disables a user, or enables the user again.
    pub async fn disable_user(&self, username: &str, disabled: bool) -> Result<(), BoxError> {
        let user = self.find_user(username).await?;
        let changed = self.directory().set_user_disabled(&user.id, disabled).await;
        let (_, delivery) = changed.map_err(|problem| problem.description())?;
        let done = if disabled { "disabled" } else { "enabled" };
        print_line(&json!({ "done": done, "store": store_status(delivery) }));
        Ok(())
    }

    /// Deletes a user.
    pub async fn delete_user(&self, username: &str) -> Result<(), BoxError> {
        let user = self.find_user(username).await?;
        let deleted = self.directory().delete_user(&user.id).await;
        let delivery = deleted.map_err(|problem| problem.description())?;
        let store = store_status(delivery);
        print_line(&json!({ "done": "user_deleted", "id": user.id, "store": store }));
        Ok(())
    }
}

/// Lists users, one line each.
pub async fn list_users(db: &Db) -> Result<(), BoxError> {
    let mut after: Option<ListPlace> = None;
    loop {
        let page = db.users(after.as_ref(), PAGE).await?;
        for user in &page {
            print_line(&shown_user(user));
        }
        let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else { break };
        after = Some(ListPlace { at: last.created_at, id: last.id.clone() });
    }
    Ok(())
}
