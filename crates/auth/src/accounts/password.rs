//! Passwords, hashed by argon2id. An unknown user costs the same work as a known one. The number of
//! simultaneous hashes is bounded, so that a flood of logins can't exhaust the machine.

use crate::problem::Problem;
use crate::random::fill_random;
use crate::token::OpaqueToken;
use argon2::password_hash::Error;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use portcullis_server::step;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

/// Verifies and hashes passwords, a bounded number at a time.
pub struct Passwords {
    permits: Arc<Semaphore>,
    /// The memory of earlier hashes, at most one for each permit. It is reused, because an
    /// allocator would not return it to the system, and would reserve more with several threads.
    memories: Arc<Mutex<Vec<Memory>>>,
    /// The hash that is verified instead if the user is unknown.
    dummy_hash: String,
}

/// The memory in which argon2 works.
type Memory = Vec<Block>;

/// The result of verifying a password.
#[derive(Eq, PartialEq)]
pub struct PasswordCheck {
    pub is_correct: bool,
    /// A new hash of the password, if the old one was made with outdated parameters.
    pub rehashed: Option<String>,
}

/// The error if no permit becomes free for as long as a request may wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Overloaded;

impl From<Overloaded> for Problem {
    fn from(_: Overloaded) -> Self {
        Self::Overloaded
    }
}

impl Passwords {
    /// Creates a verifier that computes as many hashes at a time as the machine has cores.
    pub fn new() -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // A random password: no login can match its hash.
        let dummy_hash = hash_password(&OpaqueToken::Refresh.generate())?;
        let memories = Arc::default();
        Ok(Self { permits: Arc::new(Semaphore::new(cores)), memories, dummy_hash })
    }

    /// Verifies `password` against `hash`. Without a hash it does the same work and reports a wrong
    /// password.
    pub async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<PasswordCheck, Overloaded> {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy_hash.clone());
        let work = move |memory: &mut Memory| {
            let parsed = PasswordHash::new(&hash);
            let matches = parsed.as_ref().is_ok_and(|hash| verify(&password, hash, memory).is_ok());
            let is_correct = matches && is_known;
            let is_outdated = parsed.is_ok_and(|hash| !has_current_parameters(&hash));
            let rehashed =
                (is_correct && is_outdated).then(|| hash_within(&password, memory).ok()).flatten();
            PasswordCheck { is_correct, rehashed }
        };
        self.with_permit(work).instrument(step!("verify_password")).await
    }

    /// Hashes a new password.
    pub async fn hash(&self, password: String) -> Result<String, Overloaded> {
        let work = move |memory: &mut Memory| hash_within(&password, memory);
        self.with_permit(work).await?.map_err(|_| Overloaded)
    }

    async fn with_permit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Overloaded> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = tokio::time::timeout(PERMIT_WAIT_MAX, permit).instrument(step!("queue"));
        let permit = permit.await.map_err(|_| Overloaded)?;
        let permit = permit.map_err(|_| Overloaded)?;
        let memories = Arc::clone(&self.memories);
        let work = tokio::task::spawn_blocking(move || {
            let memories = || memories.lock().unwrap_or_else(PoisonError::into_inner);
            let mut memory = memories().pop().unwrap_or_default();
            let result = work(&mut memory);
            // Memory that an imported hash made larger is not kept.
            if memory.len() <= argon2id().params().block_count() {
                memories().push(memory);
            }
            drop(permit);
            result
        });
        work.await.map_err(|_| Overloaded)
    }
}

/// Returns whether a user may choose this password. NIST SP 800-63B section 3.1.1.2 requires at
/// least 8 characters, and no rules about which ones.
pub fn is_acceptable_password(password: &str) -> bool {
    password.chars().count() >= PASSWORD_CHARACTERS_MIN && password.len() <= PASSWORD_BYTES_MAX
}

/// Hashes a new password, in PHC format.
pub fn hash_password(password: &str) -> Result<String, Error> {
    hash_within(password, &mut Memory::new())
}

fn hash_within(password: &str, memory: &mut Memory) -> Result<String, Error> {
    let mut salt = [0; 16];
    fill_random(&mut salt);
    let (argon2, salt) = (argon2id(), Salt::new(&salt)?);
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params())?,
        salt: Some(salt),
        hash: Some(compute(&argon2, password, &salt, memory)?),
    };
    Ok(hash.to_string())
}

/// Returns `Err` if the password is not the hashed one. Compares in constant time.
fn verify(password: &str, hash: &PasswordHash, memory: &mut Memory) -> Result<(), Error> {
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
        return Err(Error::PasswordInvalid);
    };
    let algorithm = Algorithm::try_from(hash.algorithm.as_str())?;
    let version = hash.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let argon2 = Argon2::new(algorithm, version, Params::try_from(hash)?);
    match compute(&argon2, password, salt, memory)? == *expected {
        true => Ok(()),
        false => Err(Error::PasswordInvalid),
    }
}

/// Computes a hash in `memory`, which grows to the size that the parameters need.
fn compute(
    argon2: &Argon2<'_>,
    password: &str,
    salt: &Salt,
    memory: &mut Memory,
) -> Result<Output, Error> {
    let params = argon2.params();
    memory.resize(memory.len().max(params.block_count()), Block::new());
    let mut buffer = [0; Output::MAX_LENGTH];
    let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let out = buffer.get_mut(..length).ok_or(Error::OutputSize)?;
    argon2.hash_password_into_with_memory(password.as_bytes(), salt, out, &mut *memory)?;
    Ok(Output::new(out)?)
}

/// Returns whether a hash was made with the parameters of [`argon2id`].
fn has_current_parameters(hash: &PasswordHash) -> bool {
    let argon2id = argon2id();
    let params = Params::try_from(hash).ok();
    let are_current = |params: Params| {
        let current = argon2id.params();
        (params.m_cost(), params.t_cost(), params.p_cost())
            == (current.m_cost(), current.t_cost(), current.p_cost())
    };
    hash.algorithm == Algorithm::Argon2id.ident()
        && hash.version == Some(Version::V0x13.into())
        && params.is_some_and(are_current)
}

/// Returns the hash function with the parameters that OWASP recommends: 19 MiB, two passes, one
/// lane.
fn argon2id() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// The longest password. argon2 itself has no limit.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// The shortest new password.
pub const PASSWORD_CHARACTERS_MIN: usize = 8;

const PERMIT_WAIT_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::PasswordHasher as _;

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let passwords = Passwords::new().unwrap();
        let stored = hash_password("correct horse").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let verify = async |password: &str, hash: Option<&str>| {
            let verified =
                passwords.verify(password.into(), hash.map(str::to_owned)).await.unwrap();
            assert_eq!(verified.rehashed, None);
            verified.is_correct
        };
        assert!(verify("correct horse", Some(&stored)).await);
        assert!(!verify("correct hors", Some(&stored)).await);
        assert!(!verify("", Some(&stored)).await);
        assert!(!verify("correct horse", None).await);
        assert!(!verify("correct horse", Some("not a hash")).await);
    }

    #[tokio::test]
    async fn password_is_rehashed_when_parameters_are_outdated() {
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
        assert!(verified.is_correct && new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
        let verified = passwords.verify("correct horse".into(), Some(new)).await.unwrap();
        assert!(verified == PasswordCheck { is_correct: true, rehashed: None });
        let verified = passwords.verify("wrong horse".into(), Some(old)).await.unwrap();
        assert!(verified == PasswordCheck { is_correct: false, rehashed: None });
    }

    #[tokio::test]
    async fn memory_is_used_again() {
        let passwords = Arc::new(Passwords::new().unwrap());
        let stored = hash_password("correct horse").unwrap();
        let mut checks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (passwords, stored) = (Arc::clone(&passwords), stored.clone());
            checks
                .spawn(async move { passwords.verify("correct horse".into(), Some(stored)).await });
        }
        let checks = checks.join_all().await;
        assert!(checks.into_iter().all(|check| check.is_ok_and(|check| check.is_correct)));
        let cores = std::thread::available_parallelism().unwrap().get();
        let memories = passwords.memories.lock().unwrap();
        assert!((1..=cores).contains(&memories.len()), "{}", memories.len());
        assert!(memories.iter().all(|memory| memory.len() == argon2id().params().block_count()));
    }

    #[test]
    fn new_password_has_eight_characters_to_1024_bytes() {
        for (password, good) in [("1234567", false), ("12345678", true), ("ééééééé", false)]
        {
            assert_eq!(is_acceptable_password(password), good, "{password}");
        }
        assert!(
            is_acceptable_password(&"x".repeat(1024)) && !is_acceptable_password(&"x".repeat(1025))
        );
    }
}
