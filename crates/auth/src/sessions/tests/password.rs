//! Passwords.

use crate::audit::ClientInfo;
use crate::db::{
    AuditedChange, EndedSession, NewSession, PasswordChange, Session, TokenHolder, User,
};
use crate::outbox::Delivery;
use crate::problem::Problem;
use crate::sessions::NewPassword;
use crate::testing::{PASSWORD, T, TestService, after, on_each_database};

#[tokio::test]
async fn new_password_ends_all_other_sessions() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            let (own, other) = (service.login("alice", T).await, service.login("alice", T).await);
            let change = async |old: &str, new: &str| {
                let passwords = NewPassword { old: old.to_owned(), new: new.to_owned() };
                let client = ClientInfo::default();
                service
                    .sessions
                    .change_password(&own.access_token, passwords, &client, after(1))
                    .await
            };
            assert_eq!(
                change("wrong horse", "battery staple").await,
                Err(Problem::CredentialsInvalid)
            );
            assert_eq!(change(PASSWORD, "short").await, Err(Problem::PasswordUnacceptable));
            assert_eq!(change(PASSWORD, "battery staple").await, Ok(Delivery::Pending));
            assert!(service.is_active(&own.access_token, after(2)).await);
            assert!(!service.is_active(&other.access_token, after(2)).await);
            assert_eq!(
                service.refresh(&other.refresh_token, after(2)).await,
                Err(Problem::SessionEnded)
            );
            let login = async |password: &str| {
                service
                    .sessions
                    .login("alice", password.into(), &ClientInfo::default(), after(3))
                    .await
            };
            assert_eq!(login(PASSWORD).await, Err(Problem::CredentialsInvalid));
            assert!(login("battery staple").await.is_ok());
            assert_eq!(
                (service.audited("password_changed").await, service.audited("login_failed").await),
                (1, 2)
            );
        },
    )
    .await;
}

#[tokio::test]
async fn login_fails_when_the_password_or_the_scope_changes_meanwhile() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let user = service.add("alice").await;
            let session = Session {
                id: "late".into(),
                user_id: user.id.clone(),
                client_id: "portcullis".into(),
                scope: String::new(),
                created_at: T.0,
                expires_at: after(100).0,
                refreshed_at: T.0,
                device: String::new(),
                address: String::new(),
            };
            let revoke =
                |ended: &EndedSession| service.publisher.commands().session_ended(ended, T);
            let client = ClientInfo::default();
            let begins = async |user: &User| {
                let (_, issued) = service
                    .sessions
                    .issue(&session, &TokenHolder::default(), String::new(), None, T)
                    .unwrap();
                let (session, client) = (&session, &client);
                let new = NewSession { session, user, rehashed: None, sessions_max: 3, client };
                service.db.begin_session(&new, issued, revoke).await.unwrap().is_some()
            };
            let lower = format!("UPDATE users SET scope = 'read' WHERE id = '{}'", user.id);
            service.db.execute(&lower).await.unwrap();
            assert!(!begins(&user).await, "with the former scope");
            let lowered = service.db.user_by_id(&user.id).await.unwrap().unwrap();
            let change = AuditedChange { now: T, events: &[] };
            let password = PasswordChange {
                user_id: &user.id,
                old_hash: None,
                new_hash: "another",
                except_session: None,
            };
            service.db.set_password(&password, &change, revoke).await.unwrap();
            assert!(!begins(&lowered).await, "with the former password");
            assert!(service.db.active_sessions(&user.id, T, 3000).await.unwrap().is_empty());
            let current = service.db.user_by_id(&user.id).await.unwrap().unwrap();
            assert!(begins(&current).await);
        },
    )
    .await;
}

#[tokio::test]
async fn login_rehashes_the_password_when_parameters_are_outdated() {
    use argon2::password_hash::PasswordHasher as _;
    use argon2::password_hash::phc::PasswordHash;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let weaker = argon2::Params::new(8192, 1, 1, None).unwrap();
            let weaker =
                argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, weaker);
            let old: PasswordHash =
                weaker.hash_password_with_salt(PASSWORD.as_bytes(), &[7; 16]).unwrap();
            let old = old.to_string();
            let user = User {
                id: "a".into(),
                username: "alice".into(),
                password_hash: old.clone(),
                scope: String::new(),
                ..User::default()
            };
            service.db.add_user(&user, &[], T).await.unwrap();
            service.login("alice", T).await;
            let new = service.db.user_by_name("alice").await.unwrap().unwrap().password_hash;
            assert!(new != old && new.contains("m=19456,t=2,p=1"), "{new}");
            service.login("alice", T).await;
            assert_eq!(service.db.user_by_name("alice").await.unwrap().unwrap().password_hash, new);
        },
    )
    .await;
}
