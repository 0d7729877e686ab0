//! Changes of passwords.

use super::service::Sessions;
use crate::accounts::is_acceptable_password;
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::db::{AuditedChange, EndedSession, PasswordChange};
use crate::outbox::Delivery;
use crate::problem::Problem;
use portcullis_core::UnixSeconds;

/// A new password, and the old one that authorises the change.
pub struct NewPassword {
    pub old: String,
    pub new: String,
}

impl Sessions {
    /// Changes the password of the access token's user if the old password is correct. The user's
    /// other sessions end.
    pub async fn change_password(
        &self,
        access_token: &str,
        passwords: NewPassword,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let NewPassword { old, new } = passwords;
        if !is_acceptable_password(&new) {
            return Err(Problem::PasswordUnacceptable);
        }
        let claims = self.authenticate(access_token, now).await?;
        let session_id = claims.session()?;
        let user = self.db.user_by_id(&claims.sub).await?.ok_or(Problem::AccessTokenInvalid)?;
        // Counts as a login attempt: a stolen session must not allow guessing the password.
        let attempt = self.attempts.begin(&user.username, &client.address_group()).await?;
        let check = match self.passwords.verify(old, Some(user.password_hash.clone())).await {
            Ok(check) => check,
            Err(overloaded) => {
                self.attempts.cancel(&attempt).await;
                return Err(overloaded.into());
            }
        };
        if !check.is_correct {
            let event = Event::new(EventKind::LoginFailed, Actor::User, client).user(&user.id);
            let events = [event.session(session_id).detail("a change of the password")];
            self.db.record_events(&events, now).await?;
            self.audit.record(&events);
            return Err(Problem::CredentialsInvalid);
        }
        self.attempts.succeeded(&attempt).await;
        let new_hash = self.passwords.hash(new).await?;
        let event = Event::new(EventKind::PasswordChanged, Actor::User, client);
        let events = [event.user(&user.id).session(session_id)];
        let change = AuditedChange { now, events: &events };
        let password = PasswordChange {
            user_id: &user.id,
            old_hash: Some(&user.password_hash),
            new_hash: &new_hash,
            except_session: Some(session_id),
        };
        let revoke = |ended: &EndedSession| self.publisher.commands().session_ended(ended, now);
        let ended = self.db.set_password(&password, &change, revoke).await?;
        let ended = ended.ok_or(Problem::CredentialsInvalid)?;
        self.audit.record(&events);
        Ok(self.publisher.deliver_ended(&ended).await)
    }
}
