//! A gate in an isolate: its state, and the secrets that it reads by itself.

use crate::config::{Config, StoredSecrets, log_faults};
use crate::isolate::Isolate;
use crate::platform::environment::Environment;
use crate::platform::executor::{Executor, TaskPort};
use crate::platform::log::{Level, Line};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The state of an isolate, which is replaced when a secret of the Secrets Store changes.
///
/// Requests that are open go on with the state that they began with.
pub struct Instance {
    gate: u32,
    pub executor: Rc<Executor>,
    isolate: RefCell<Rc<Isolate>>,
    /// When the secrets were read last, in Unix milliseconds.
    read_ms: Cell<u64>,
    /// When a read of them in the background began last.
    renewal_ms: Cell<u64>,
    /// Whether the last read failed.
    has_failed: Cell<bool>,
    /// Each request that waits for the first read holds it once more, until it ends or is dropped.
    waiting: Rc<()>,
}

impl Instance {
    /// Creates the instance of the gate with this number, which has seen no request.
    pub fn new(gate: u32, config: Config) -> Self {
        let executor = Rc::new(Executor::default());
        let isolate = Isolate::new(config, Rc::clone(&executor));
        Self {
            gate,
            executor,
            isolate: RefCell::new(Rc::new(isolate)),
            read_ms: Cell::default(),
            renewal_ms: Cell::default(),
            has_failed: Cell::default(),
            waiting: Rc::default(),
        }
    }

    /// Returns the state as it is.
    pub fn isolate(&self) -> Rc<Isolate> {
        Rc::clone(&self.isolate.borrow())
    }

    /// Returns the state for a request of this time.
    ///
    /// Reads the secrets first if there is no policy without them, and again once they are old.
    /// Each request reads for itself, because it cannot await the promise of another one.
    pub async fn isolate_for_request(self: &Rc<Self>, port: &TaskPort, now_ms: u64) -> Rc<Isolate> {
        let isolate = self.isolate();
        if isolate.config.stored_secrets.is_empty() {
            return isolate;
        }
        if isolate.config.policy.is_none() {
            // Without a policy there is no other bound for requests that wait.
            let waiting = Rc::clone(&self.waiting);
            if Rc::strong_count(&waiting) > WAITING_MAX {
                return isolate;
            }
            for _ in 0..READS_MAX {
                let before = self.isolate();
                if before.config.policy.is_some()
                    || !self.read(port, now_ms).await
                    || Rc::ptr_eq(&before, &self.isolate())
                {
                    break;
                }
            }
            return self.isolate();
        }
        // While the Secrets Store fails, requests do not wait for it.
        if now_ms >= self.read_ms.get() + STALE_MS && !self.has_failed.get() {
            self.read(port, now_ms).await;
        } else if now_ms >= self.read_ms.get().max(self.renewal_ms.get()) + RENEW_MS {
            self.renewal_ms.set(now_ms);
            let instance = Rc::clone(self);
            self.executor.spawn(port, |port| async move {
                instance.read(&port, now_ms).await;
            });
        }
        self.isolate()
    }

    /// Reads the secrets, and replaces the state if one has changed. Returns whether all were read.
    async fn read(&self, port: &TaskPort, now_ms: u64) -> bool {
        let names = self.isolate().config.stored_secrets.names();
        let texts = Environment::of(self.gate).read_secrets(port, &names, READ_MS_MAX).await;
        let unreadable: Vec<&String> = names
            .iter()
            .zip(&texts)
            .filter(|(_, text)| text.is_none())
            .map(|(name, _)| name)
            .collect();
        self.has_failed.set(!unreadable.is_empty());
        if !unreadable.is_empty() {
            log_unreadable(&unreadable, self.isolate().config.policy.is_some());
            return false;
        }
        // A read that began earlier may have got older texts.
        if now_ms < self.read_ms.get() && self.isolate().config.policy.is_some() {
            return true;
        }
        self.read_ms.set(now_ms.max(self.read_ms.get()));
        let secrets = StoredSecrets::new(names, texts.into_iter().flatten().collect());
        // Another request may have read the same meanwhile.
        if self.isolate().config.stored_secrets != secrets {
            self.replace(secrets);
        }
        true
    }

    /// Begins a new state with these secrets. An invalid one does not replace a valid one.
    fn replace(&self, secrets: StoredSecrets) {
        let config = Config::load(self.gate, secrets);
        if config.policy.is_some() || self.isolate().config.policy.is_none() {
            let isolate = self.isolate().followed_by(config);
            self.isolate.replace(Rc::new(isolate));
        }
    }
}

fn log_unreadable(names: &[&String], is_in_use: bool) {
    let fault = |name: &&String| {
        format!(
            "{name}: cannot be read from the Secrets Store within {READ_MS_MAX} ms; see whether the \
             secret of this binding exists and has the scope \"workers\""
        )
    };
    let faults: Vec<String> = names.iter().map(fault).collect();
    if is_in_use {
        Line::new(Level::Warn, "secrets_not_renewed").value("faults", &faults.into()).write();
    } else {
        log_faults(&faults);
    }
}

/// How long a read of all secrets may take.
const READ_MS_MAX: u32 = 1000;
/// How old secrets are when a request reads them again in the background.
const RENEW_MS: u64 = 30_000;
/// How old they are when a request waits until they are read again. The docs state this bound.
const STALE_MS: u64 = 60_000;
/// How many requests may wait for the first read at once. More are refused.
const WAITING_MAX: usize = 1000;
/// A policy may name further secrets once it has the first ones.
const READS_MAX: usize = 3;

#[cfg(test)]
mod tests;
