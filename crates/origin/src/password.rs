//! Passwords: argon2id, the same work for a user that is not there, and never so much of it at once
//! that a flood of logins eats the machine.

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Verifies passwords, a bounded number at a time.
pub struct Passwords {
    turns: Arc<Semaphore>,
    nobody: String,
}

/// All turns are taken, and have been for as long as a request may wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Overloaded;

impl Passwords {
    /// As many at a time as the machine has cores.
    pub fn new() -> Result<Self, argon2::password_hash::Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Nobody knows what this was the hash of; it costs a login without a user the same time.
        let nobody = hash(&crate::token::random_secret())?;
        Ok(Self { turns: Arc::new(Semaphore::new(cores)), nobody })
    }

    /// Whether `password` is the one of `hash`; with no hash the same work ends in a no.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Overloaded> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(TURN_WAIT_MAX, turn).await.map_err(|_| Overloaded)?;
        let turn = turn.map_err(|_| Overloaded)?;
        let (known, hash) = (hash.is_some(), hash.unwrap_or_else(|| self.nobody.clone()));
        let work = tokio::task::spawn_blocking(move || {
            let holds = PasswordHash::new(&hash)
                .is_ok_and(|hash| argon2id().verify_password(password.as_bytes(), &hash).is_ok());
            drop(turn);
            holds
        });
        Ok(work.await.unwrap_or(false) && known)
    }
}

/// The hash of a new password, in PHC format.
pub fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let mut salt = [0; 16];
    crate::token::fill_random(&mut salt);
    let salt = SaltString::encode_b64(&salt)?;
    Ok(argon2id().hash_password(password.as_bytes(), &salt)?.to_string())
}

/// OWASP's parameters: 19 MiB, two passes, one lane.
fn argon2id() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// Longest password; argon2 itself takes any.
pub const PASSWORD_BYTES_MAX: usize = 1024;

const TURN_WAIT_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_verifies() {
        let passwords = Passwords::new().unwrap();
        let stored = hash("correct horse").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let verify = |password: &str, hash: Option<&String>| {
            passwords.verify(password.into(), hash.cloned())
        };
        assert_eq!(verify("correct horse", Some(&stored)).await, Ok(true));
        assert_eq!(verify("correct hors", Some(&stored)).await, Ok(false));
        assert_eq!(verify("", Some(&stored)).await, Ok(false));
        assert_eq!(verify("correct horse", None).await, Ok(false));
        assert_eq!(verify("correct horse", Some(&"not a hash".to_owned())).await, Ok(false));
    }
}
