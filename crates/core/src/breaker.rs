//! A circuit breaker: whoever failed several times in a row is left alone for a while, then tried by one
//! request, then trusted again. It is a value; the host keeps one for each dependency.

/// The state of one dependency. `C` is why it failed last.
#[derive(Clone, Debug)]
pub struct Breaker<C> {
    failures: u32,
    open: Option<Open<C>>,
}

#[derive(Clone, Debug)]
struct Open<C> {
    cause: C,
    until_ms: u64,
    pause_ms: u64,
    /// Until when the one probe has time to come back.
    probing_until_ms: u64,
}

/// Leave to call a dependency, to be given back with how it went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallPermit {
    /// One of many.
    Ordinary,
    /// The one that finds out whether it is back.
    Probe,
}

/// That a dependency is left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CircuitOpen<C> {
    /// Why it failed last.
    pub cause: C,
    /// Until it is tried again.
    pub wait_ms: u64,
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BreakerPolicy {
    /// After so many failures in a row; 0: never.
    pub failures: u32,
    /// The longest that a dependency is left alone.
    pub pause_ms_max: u32,
}

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BreakerState {
    /// Everything goes through.
    Closed,
    /// One probe is under way, or may be.
    HalfOpen,
    /// Nothing goes through.
    Open,
}

impl BreakerState {
    /// The word in logs and metrics.
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
        Self { failures: 0, open: None }
    }
}

impl<C: Copy> Breaker<C> {
    /// Whether the dependency may be called. A probe that does not come back within `lease_ms` is given up.
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

    /// Takes note of an answer. Returns whether the breaker closed.
    pub fn succeeded(&mut self, pass: CallPermit) -> bool {
        match (&self.open, pass) {
            // What was sent before the failures says nothing of now.
            (Some(_), CallPermit::Ordinary) => false,
            (open, _) => {
                let closed = open.is_some();
                *self = Self::default();
                closed
            }
        }
    }

    /// Takes note of a failure. Returns for how long the dependency is left alone from now on, if that is
    /// news. `jitter` spreads the isolates.
    pub fn failed(
        &mut self,
        pass: CallPermit,
        cause: C,
        policy: BreakerPolicy,
        now_ms: u64,
        jitter: u32,
    ) -> Option<u64> {
        let pause_ms = match (&self.open, pass) {
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

    /// Takes note that a call said nothing: the next one may be the probe.
    pub fn inconclusive(&mut self, pass: CallPermit) {
        if let (Some(open), CallPermit::Probe) = (&mut self.open, pass) {
            open.probing_until_ms = 0;
        }
    }

    /// Takes another's word that the dependency is to be left alone until a moment.
    pub fn force_open(&mut self, cause: C, until_ms: u64, pause_ms: u64) {
        self.open = Some(Open { cause, until_ms, pause_ms, probing_until_ms: 0 });
    }

    /// What it is doing.
    pub fn state(&self, now_ms: u64) -> BreakerState {
        match &self.open {
            None => BreakerState::Closed,
            Some(open) if now_ms < open.until_ms => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }
}

/// The first pause; each failed probe doubles it. A pause takes half of that at least, the rest by chance.
const PAUSE_MS_MIN: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const POLICY: BreakerPolicy = BreakerPolicy { failures: 3, pause_ms_max: 4_000 };

    fn fail(breaker: &mut Breaker<&'static str>, pass: CallPermit, now_ms: u64) -> Option<u64> {
        breaker.failed(pass, "timeout", POLICY, now_ms, u32::MAX)
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
    fn it_opens_after_failures_in_a_row() {
        let mut breaker = opened();
        assert_eq!(breaker.state(499), BreakerState::Open);
        let alone = CircuitOpen { cause: "timeout", wait_ms: 1 };
        assert_eq!(breaker.admit(499, 100), Err(alone));
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
    fn one_probe_at_a_time_decides() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(500, 100), Ok(CallPermit::Probe));
        assert_eq!(breaker.state(500), BreakerState::HalfOpen);
        assert!(breaker.admit(599, 100).is_err());
        // Its requests of before say nothing.
        assert!(!breaker.succeeded(CallPermit::Ordinary));
        assert_eq!(fail(&mut breaker, CallPermit::Ordinary, 550), None);
        // One that said nothing is followed by another, and so is one that was lost.
        breaker.inconclusive(CallPermit::Ordinary);
        assert!(breaker.admit(599, 100).is_err());
        breaker.inconclusive(CallPermit::Probe);
        assert_eq!(breaker.admit(500, 100), Ok(CallPermit::Probe));
        assert_eq!(breaker.admit(600, 100), Ok(CallPermit::Probe));
        assert!(breaker.succeeded(CallPermit::Probe));
        assert_eq!(breaker.admit(601, 100), Ok(CallPermit::Ordinary));
        // And it takes as many failures as before.
        assert_eq!(fail(&mut breaker, CallPermit::Ordinary, 601), None);
    }

    #[test]
    fn pauses_grow_within_their_bound() {
        let (mut breaker, mut now_ms) = (opened(), 0);
        for expect in [500, 1000, 2000, 4000, 4000] {
            assert!(breaker.admit(now_ms + expect - 1, 10).is_err());
            now_ms += expect;
            assert_eq!(breaker.admit(now_ms, 10), Ok(CallPermit::Probe));
            fail(&mut breaker, CallPermit::Probe, now_ms);
        }
        let least = breaker.failed(CallPermit::Probe, "timeout", POLICY, 0, 0);
        assert_eq!(least, Some(2000), "half of it is not left to chance");
    }

    #[test]
    fn it_can_be_turned_off() {
        let mut breaker = Breaker::default();
        let policy = BreakerPolicy { failures: 0, pause_ms_max: 1 };
        for _ in 0..1000 {
            assert_eq!(breaker.failed(CallPermit::Ordinary, "timeout", policy, 0, 0), None);
        }
        assert_eq!(breaker.admit(0, 1), Ok(CallPermit::Ordinary));
    }

    #[test]
    fn anothers_word_is_taken() {
        let mut breaker = Breaker::default();
        breaker.force_open("faulty", 1000, 500);
        assert_eq!(breaker.admit(0, 1), Err(CircuitOpen { cause: "faulty", wait_ms: 1000 }));
        assert_eq!(breaker.admit(1000, 1), Ok(CallPermit::Probe));
    }
}
