//! The service whose methods the other files of this module implement.

use crate::accounts::{FailedClients, LoginAttempts, Passwords};
use crate::audit::Audit;
use crate::config::Config;
use crate::db::Db;
use crate::error::BoxError;
use crate::outbox::Publisher;
use crate::signing_keys::KeyRing;
use crate::store::Store;
use std::sync::Arc;

/// Logins, refreshes, revocations and introspection.
pub struct Sessions {
    pub(super) config: Config,
    pub(super) db: Arc<Db>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) attempts: LoginAttempts,
    pub(super) passwords: Passwords,
    pub(super) keys: Arc<KeyRing>,
    pub(super) audit: Audit,
    pub(super) failed_clients: FailedClients,
}

impl Sessions {
    /// Creates the service.
    pub fn new(
        config: Config,
        db: Arc<Db>,
        store: &Arc<Store>,
        publisher: Arc<Publisher>,
        keys: Arc<KeyRing>,
    ) -> Result<Self, BoxError> {
        let store_keys = publisher.commands().keys().clone();
        let attempts = LoginAttempts::new(Arc::clone(store), store_keys, config.attempts);
        let (passwords, audit) = (Passwords::new()?, Audit::new()?);
        let failed_clients = FailedClients::default();
        Ok(Self { config, db, publisher, attempts, passwords, keys, audit, failed_clients })
    }

    /// Returns the settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the publisher of revocations.
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// Returns the counters of login attempts.
    pub fn attempts(&self) -> &LoginAttempts {
        &self.attempts
    }

    /// Returns the signing keys.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// Returns the log and the counters of security events.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }
}
