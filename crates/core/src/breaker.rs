//! A circuit breaker. After several consecutive failures it blocks calls to a dependency for a
//! while, then admits one probe, and closes when that succeeds. The host keeps one for each
//! dependency.

/// The circuit breaker of one dependency. `C` is the cause of a failure.
///
/// After [`BreakerPolicy::failures`] failures in a row it opens for up to half a second. Then it
/// admits one probe. A success closes it; a failure doubles the pause, up to
/// [`BreakerPolicy::pause_ms_max`].
#[derive(Clone, Debug)]
pub struct Breaker<C> {
    failures: u32,
    /// The number of successes, which wraps around.
    successes: u32,
    open: Option<Open<C>>,
}

#[derive(Clone, Debug)]
struct Open<C> {
    cause: C,
    until_ms: u64,
    pause_ms: u64,
    /// The end of the current probe's lease.
    probing_until_ms: u64,
}

/// Permission to call a dependency. The caller returns it with the outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallPermit {
    /// A call while the breaker is closed.
    Ordinary,
    /// The one call that tests whether the dependency has recovered.
    Probe,
}

/// The error for a call that an open breaker rejects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CircuitOpen<C> {
    /// The cause of the last failure.
    pub cause: C,
    /// The time until the next probe, in milliseconds.
    pub wait_ms: u64,
}

/// The settings of a breaker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BreakerPolicy {
    /// The consecutive failures that open it, 0 to 1,000; with 0 it never opens.
    pub failures: u32,
    /// The longest time that it stays open, 1 to 300,000 ms.
    pub pause_ms_max: u32,
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BreakerState {
    /// All calls are admitted.
    Closed,
    /// One probe is admitted at a time.
    HalfOpen,
    /// No call is admitted.
    Open,
}

impl BreakerState {
    /// Returns the name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

impl<C> Default for Breaker<C> {
    fn default() -> Self {
        Self { failures: 0, successes: 0, open: None }
    }
}

impl<C: Copy> Breaker<C> {
    /// Admits a call at `now_ms`, in Unix milliseconds. A probe that takes longer than `lease_ms`
    /// counts as lost.
    ///
    /// # Errors
    ///
    /// [`CircuitOpen`] while the breaker is open, or while its one probe is under way.
    pub fn admit(&mut self, now_ms: u64, lease_ms: u32) -> Result<CallPermit, CircuitOpen<C>> {
        let Some(open) = &mut self.open else {
            return Ok(CallPermit::Ordinary);
        };
        let free_at = open.until_ms.max(open.probing_until_ms);
        if now_ms < free_at {
            return Err(CircuitOpen { cause: open.cause, wait_ms: free_at - now_ms });
        }
        open.probing_until_ms = now_ms + u64::from(lease_ms);
        Ok(CallPermit::Probe)
    }

    /// Records a success. Returns whether the breaker closed, which only a probe can do.
    pub fn succeeded(&mut self, permit: CallPermit) -> bool {
        match (&self.open, permit) {
            // A success of a call that began before the failures does not show a recovery.
            (Some(_), CallPermit::Ordinary) => false,
            (open, _) => {
                let closed = open.is_some();
                let successes = self.successes.wrapping_add(1);
                *self = Self { successes, ..Self::default() };
                closed
            }
        }
    }

    /// Returns a number that changes with each success. It wraps around.
    pub fn successes(&self) -> u32 {
        self.successes
    }

    /// Records a failure at `now_ms`. Returns how long the breaker stays open, in milliseconds, or
    /// `None` if it did not open now. `jitter` is a random number, which spreads the probes of
    /// several isolates.
    pub fn failed(
        &mut self,
        permit: CallPermit,
        cause: C,
        policy: BreakerPolicy,
        now_ms: u64,
        jitter: u32,
    ) -> Option<u64> {
        let pause_ms = match (&self.open, permit) {
            (Some(_), CallPermit::Ordinary) => return None,
            (Some(open), CallPermit::Probe) => open.pause_ms * 2,
            (None, _) => {
                self.failures = self.failures.saturating_add(1);
                if policy.failures == 0 || self.failures < policy.failures {
                    return None;
                }
                PAUSE_MS_MIN
            }
        };
        let pause_ms = pause_ms.min(policy.pause_ms_max.into());
        let wait_ms = pause_ms / 2 + pause_ms * u64::from(jitter) / u64::from(u32::MAX) / 2;
        self.force_open(cause, now_ms + wait_ms, pause_ms);
        Some(wait_ms)
    }

    /// Records a call without an outcome, so that the next call may be the probe.
    pub fn inconclusive(&mut self, permit: CallPermit) {
        if let (Some(open), CallPermit::Probe) = (&mut self.open, permit) {
            open.probing_until_ms = 0;
        }
    }

    /// Opens the breaker until `until_ms`, in Unix milliseconds, because another isolate's breaker
    /// is open.
    pub fn force_open(&mut self, cause: C, until_ms: u64, pause_ms: u64) {
        self.open = Some(Open { cause, until_ms, pause_ms, probing_until_ms: 0 });
    }

    /// Returns the state at `now_ms`, in Unix milliseconds.
    pub fn state(&self, now_ms: u64) -> BreakerState {
        match &self.open {
            None => BreakerState::Closed,
            Some(open) if now_ms < open.until_ms => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }
}

/// The first pause. Each failed probe doubles it. Half of a pause is fixed, the rest is random.
const PAUSE_MS_MIN: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const POLICY: BreakerPolicy = BreakerPolicy { failures: 3, pause_ms_max: 4_000 };

    fn fail(breaker: &mut Breaker<&'static str>, permit: CallPermit, now_ms: u64) -> Option<u64> {
        breaker.failed(permit, "timeout", POLICY, now_ms, u32::MAX)
    }

    fn opened() -> Breaker<&'static str> {
        let mut breaker = Breaker::default();
        for count in 1..=3 {
            assert_eq!(breaker.admit(0, 100), Ok(CallPermit::Ordinary));
            assert_eq!(fail(&mut breaker, CallPermit::Ordinary, 0), (count == 3).then_some(500));
        }
        breaker
    }

    #[test]
    fn breaker_opens_after_consecutive_failures() {
        let mut breaker = opened();
        assert_eq!(breaker.state(499), BreakerState::Open);
        let open = CircuitOpen { cause: "timeout", wait_ms: 1 };
        assert_eq!(breaker.admit(499, 100), Err(open));
        assert_eq!(breaker.admit(500, 100), Ok(CallPermit::Probe));

        let mut breaker = Breaker::default();
        for _ in 0..10 {
            fail(&mut breaker, CallPermit::Ordinary, 0);
            fail(&mut breaker, CallPermit::Ordinary, 0);
            assert!(!breaker.succeeded(CallPermit::Ordinary));
        }
        assert_eq!(breaker.state(0), BreakerState::Closed);
    }

    #[test]
    fn breaker_opens_then_admits_one_probe() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(500, 100), Ok(CallPermit::Probe));
        assert_eq!(breaker.state(500), BreakerState::HalfOpen);
        assert!(breaker.admit(599, 100).is_err());
        // Successes of calls from before the breaker opened do not show a recovery.
        assert!(!breaker.succeeded(CallPermit::Ordinary));
        assert_eq!(fail(&mut breaker, CallPermit::Ordinary, 550), None);
        // Another probe follows an inconclusive one, and also a lost one.
        breaker.inconclusive(CallPermit::Ordinary);
        assert!(breaker.admit(599, 100).is_err());
        breaker.inconclusive(CallPermit::Probe);
        assert_eq!(breaker.admit(500, 100), Ok(CallPermit::Probe));
        assert_eq!(breaker.admit(600, 100), Ok(CallPermit::Probe));
        assert!(breaker.succeeded(CallPermit::Probe));
        assert_eq!(breaker.admit(601, 100), Ok(CallPermit::Ordinary));
        // It opens after the same number of failures as before.
        assert_eq!(fail(&mut breaker, CallPermit::Ordinary, 601), None);
    }

    #[test]
    fn pauses_double_up_to_the_maximum() {
        let (mut breaker, mut now_ms) = (opened(), 0);
        for expect in [500, 1000, 2000, 4000, 4000] {
            assert!(breaker.admit(now_ms + expect - 1, 10).is_err());
            now_ms += expect;
            assert_eq!(breaker.admit(now_ms, 10), Ok(CallPermit::Probe));
            fail(&mut breaker, CallPermit::Probe, now_ms);
        }
        let shortest = breaker.failed(CallPermit::Probe, "timeout", POLICY, 0, 0);
        assert_eq!(shortest, Some(2000), "half of a pause is fixed");
    }

    #[test]
    fn breaker_never_opens_when_failures_is_zero() {
        let mut breaker = Breaker::default();
        let policy = BreakerPolicy { failures: 0, pause_ms_max: 1 };
        for _ in 0..1000 {
            assert_eq!(breaker.failed(CallPermit::Ordinary, "timeout", policy, 0, 0), None);
        }
        assert_eq!(breaker.admit(0, 1), Ok(CallPermit::Ordinary));
    }

    #[test]
    fn breaker_opens_when_forced() {
        let mut breaker = Breaker::default();
        breaker.force_open("timeout", 1000, 500);
        assert_eq!(breaker.admit(0, 1), Err(CircuitOpen { cause: "timeout", wait_ms: 1000 }));
        assert_eq!(breaker.admit(1000, 1), Ok(CallPermit::Probe));
    }
}
