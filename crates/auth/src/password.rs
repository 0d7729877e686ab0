//! Passwords: argon2id, the same work for a user that is not there, and never so much of it at once
//! that a flood of logins eats the machine.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Verifies passwords, a bounded number at a time.
pub struct Passwords {
    turns: Arc<Semaphore>,
    nobody: String,
}

/// What became of a password that was presented.
#[derive(Eq, PartialEq)]
pub struct Verified {
    /// Whether it is the right one.
    pub holds: bool,
    /// Its hash anew, where the old one was made with other parameters than today's.
    pub rehashed: Option<String>,
}

/// All turns are taken, and have been for as long as a request may wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Overloaded;

impl Passwords {
    /// As many at a time as the machine has cores.
    pub fn new() -> Result<Self, argon2::password_hash::Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Nobody knows what this was the hash of; it costs a login without a user the same time.
        let nobody = hash(&crate::token::Opaque::Refresh.draw())?;
        Ok(Self { turns: Arc::new(Semaphore::new(cores)), nobody })
    }

    /// Whether `password` is the one of `hash`; with no hash the same work ends in a no.
    pub async fn verify(
        &self,
        password: String,
        held: Option<String>,
    ) -> Result<Verified, Overloaded> {
        let (known, held) = (held.is_some(), held.unwrap_or_else(|| self.nobody.clone()));
        let work = move || {
            let parsed = PasswordHash::new(&held);
            let holds = parsed
                .as_ref()
                .is_ok_and(|hash| argon2id().verify_password(password.as_bytes(), hash).is_ok());
            let stale = parsed.is_ok_and(|hash| !is_of_today(&hash));
            let rehashed = (holds && known && stale).then(|| hash(&password).ok()).flatten();
            Verified { holds: holds && known, rehashed }
        };
        self.in_turn(work).await
    }

    /// The hash of a new password.
    pub async fn hash(&self, password: String) -> Result<String, Overloaded> {
        self.in_turn(move || hash(&password)).await?.map_err(|_| Overloaded)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Overloaded> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(TURN_WAIT_MAX, turn).await.map_err(|_| Overloaded)?;
        let turn = turn.map_err(|_| Overloaded)?;
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        work.await.map_err(|_| Overloaded)
    }
}

/// Whether somebody may have this password: NIST SP 800-63B section 3.1.1.2 asks for 8 characters at the least, and
/// for nothing of their kind.
pub fn is_acceptable(password: &str) -> bool {
    password.chars().count() >= PASSWORD_CHARACTERS_MIN && password.len() <= PASSWORD_BYTES_MAX
}

/// The hash of a new password, in PHC format.
pub fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let mut salt = [0; 16];
    crate::token::fill_random(&mut salt);
    let hash: PasswordHash = argon2id().hash_password_with_salt(password.as_bytes(), &salt)?;
    Ok(hash.to_string())
}

/// Whether a hash was made as one would be made now.
fn is_of_today(hash: &PasswordHash) -> bool {
    let own = argon2id();
    let params = Params::try_from(hash).ok();
    let same = |params: Params| {
        let now = own.params();
        (params.m_cost(), params.t_cost(), params.p_cost())
            == (now.m_cost(), now.t_cost(), now.p_cost())
    };
    hash.algorithm == Algorithm::Argon2id.ident()
        && hash.version == Some(Version::V0x13.into())
        && params.is_some_and(same)
}

/// OWASP's parameters: 19 MiB, two passes, one lane.
fn argon2id() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// Longest password; argon2 itself takes any.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Fewest characters of a new one.
pub const PASSWORD_CHARACTERS_MIN: usize = 8;

const TURN_WAIT_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_verifies() {
        let passwords = Passwords::new().unwrap();
        let stored = hash("correct horse").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let verify = async |password: &str, hash: Option<&str>| {
            let verified =
                passwords.verify(password.into(), hash.map(str::to_owned)).await.unwrap();
            assert_eq!(verified.rehashed, None);
            verified.holds
        };
        assert!(verify("correct horse", Some(&stored)).await);
        assert!(!verify("correct hors", Some(&stored)).await);
        assert!(!verify("", Some(&stored)).await);
        assert!(!verify("correct horse", None).await);
        assert!(!verify("correct horse", Some("not a hash")).await);
    }

    #[tokio::test]
    async fn a_hash_of_other_parameters_is_made_anew() {
        let passwords = Passwords::new().unwrap();
        let weaker = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(8192, 1, 1, None).unwrap(),
        );
        let old: PasswordHash = weaker.hash_password_with_salt(b"correct horse", &[7; 16]).unwrap();
        let old = old.to_string();
        let verified = passwords.verify("correct horse".into(), Some(old.clone())).await.unwrap();
        let new = verified.rehashed.unwrap();
        assert!(verified.holds && new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
        let verified = passwords.verify("correct horse".into(), Some(new)).await.unwrap();
        assert!(verified == Verified { holds: true, rehashed: None });
        let verified = passwords.verify("wrong horse".into(), Some(old)).await.unwrap();
        assert!(verified == Verified { holds: false, rehashed: None });
    }

    #[test]
    fn a_new_password_has_eight_characters() {
        for (password, good) in [("1234567", false), ("12345678", true), ("ééééééé", false)]
        {
            assert_eq!(is_acceptable(password), good, "{password}");
        }
        assert!(is_acceptable(&"x".repeat(1024)) && !is_acceptable(&"x".repeat(1025)));
    }
}
