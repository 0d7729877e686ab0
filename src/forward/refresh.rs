//! Coordinates simultaneous refreshes with the same token: one calls the auth service, and the
//! others receive its response.

mod lease;
pub mod timing;

use crate::context::RequestContext;
use crate::dependency::retry;
use crate::platform::clock::{self, Notify};
use crate::platform::http::{Body, BufferedForward, Response};
use crate::platform::protocol::EncodedForward;
use crate::store;
use lease::{RefreshLease, replay};
use portcullis_core::{CapturedResponse, CircuitOpen, LeaseState, Outage, Refresh, Refusal};
use redis_rest::{Command, Reply};
use std::cell::RefCell;
use std::rc::Rc;
use timing::{LATE_MS_MAX, TIMER_MARGIN_MS, lease_seconds};

/// Returns the response to a refresh: the auth service's, or a replay of it. Returns `None` if the
/// request must be forwarded like any other, because the stored response is not meant for it.
pub async fn answer(
    refresh: Refresh,
    call: AuthCall<'_>,
    context: &RequestContext,
) -> Option<Result<Response, Refusal>> {
    let (policy, deadline_ms) = (context.policy, call.deadline_ms);
    let lease_seconds = lease_seconds(policy, deadline_ms);
    let until_ms = clock::now_ms() + lease_seconds * 1000 + PATIENCE_MS;
    let record = |how| context.trace.refresh.set(Some(how));
    let mut wait = Wait::new(until_ms);
    // Another request is known to have used the token. From then on, a failing store does not lead
    // to a second call of the auth service, which would see a reused token.
    let mut used = false;
    loop {
        let claim = refresh.acquire(&context.request_id, lease_seconds, &policy.keys);
        let replies = wait.execute(&claim, context).await.unwrap_or_default();
        match refresh.lease_state(&context.request_id, &replies) {
            Some(LeaseState::First { family }) => {
                record("first");
                return Some(call_first(refresh, Some(family), call, context).await);
            }
            Some(LeaseState::Replay { family, answer }) => {
                used = true;
                match is_still_valid(&refresh, &answer, &family, &mut wait, context).await {
                    Some(true) => {
                        record("replayed");
                        return Some(replay(&answer));
                    }
                    Some(false) => {
                        record("revoked");
                        return None;
                    }
                    None => {}
                }
            }
            Some(LeaseState::Alone) => {
                record("alone");
                return None;
            }
            Some(LeaseState::Wait) => {
                used = true;
                wait.for_lease(&refresh, context).await;
                if wait.is_over() {
                    record("waited");
                    return Some(Err(Outage::RefreshPending.into()));
                }
                continue;
            }
            None if used => {}
            None => {
                record("alone");
                return Some(call_first(refresh, None, call, context).await);
            }
        }
        if !wait.pause(context).await {
            record("waited");
            return Some(Err(Outage::RefreshPending.into()));
        }
    }
}

/// The parameters of the call to the auth service.
#[derive(Clone, Copy)]
pub struct AuthCall<'a> {
    pub change: &'a EncodedForward,
    pub body: Option<&'a Body>,
    pub deadline_ms: u32,
}

/// The time that a request may wait for another, and its polling steps.
struct Wait {
    pause_ms: u32,
    pause_ms_max: u32,
    until_ms: u64,
    store_requests_left: u32,
}

impl Wait {
    fn new(until_ms: u64) -> Self {
        // A longer wait has longer steps, so that the number of store requests stays bounded.
        let whole_ms = retry::left_ms(until_ms).unwrap_or(0);
        Self {
            pause_ms: PAUSE_MS_MIN,
            pause_ms_max: PAUSE_MS_MAX.max(whole_ms / STEPS_MAX),
            until_ms,
            store_requests_left: STORE_REQUESTS_MAX,
        }
    }

    fn is_over(&self) -> bool {
        clock::now_ms() >= self.until_ms || self.store_requests_left == 0
    }

    /// Sends a request to the store and counts it, because the platform limits the calls of one
    /// request. A failed one counts twice, since it may have been retried.
    async fn execute(
        &mut self,
        commands: &[Command],
        context: &RequestContext,
    ) -> Result<Vec<Reply>, Outage> {
        let outcome = store::execute(commands, context).await;
        let sent = if outcome.is_ok() { 1 } else { 2 };
        self.store_requests_left = self.store_requests_left.saturating_sub(sent);
        outcome
    }

    /// Waits for one step. Returns `false` if the time or the store requests are used up.
    async fn pause(&mut self, context: &RequestContext) -> bool {
        if self.is_over() {
            return false;
        }
        let pause_ms = self.pause_ms + context.jitter() % PAUSE_MS_MIN;
        clock::sleep(&context.port, pause_ms).await;
        self.pause_ms = (self.pause_ms * 2).min(self.pause_ms_max);
        true
    }

    /// Waits until no request holds the lease, or until the wait is over.
    async fn for_lease(&mut self, refresh: &Refresh, context: &RequestContext) {
        while self.pause(context).await {
            let replies = self.execute(&[refresh.poll()], context).await.unwrap_or_default();
            if Refresh::is_held(replies.first()) == Some(false) {
                return;
            }
        }
    }
}

/// The result that the background task passes to the request whose client waits.
struct Handover {
    response: Result<Response, Refusal>,
    circuit_open: Option<CircuitOpen<Outage>>,
}

/// Calls the auth service, on behalf of all requests that wait. Without a family, the store granted
/// no lease, and the call is for this request only.
async fn call_first(
    refresh: Refresh,
    family: Option<String>,
    call: AuthCall<'_>,
    context: &RequestContext,
) -> Result<Response, Refusal> {
    let AuthCall { change, body, deadline_ms } = call;
    let late_ms = LATE_MS_MAX.max(deadline_ms);
    let buffered = BufferedForward::new(&context.port, change, body, late_ms);
    let slot: Rc<RefCell<Option<Handover>>> = Rc::default();
    let notify = Notify::new();
    let (their_slot, their_notify) = (Rc::clone(&slot), notify.clone());
    context.spawn_counted(move |context| async move {
        let mut lease = RefreshLease { refresh, family, held: true, context };
        let settled = lease.call(buffered, deadline_ms).await;
        let circuit_open = lease.context.circuit_open.get();
        their_slot.replace(Some(Handover { response: settled.response, circuit_open }));
        their_notify.notify();
        lease.follow_up(settled.follow_up).await;
    });
    // The auth service's deadline, plus the store requests before and after the call.
    let bound_ms = deadline_ms.saturating_add(context.policy.timeouts.store_ms.saturating_mul(4));
    notify.wait(&context.port, bound_ms.saturating_add(TIMER_MARGIN_MS)).await;
    let Some(handover) = slot.take() else {
        return Err(Outage::AuthTimeout.into());
    };
    if handover.circuit_open.is_some() {
        context.circuit_open.set(handover.circuit_open);
    }
    handover.response
}

/// Returns whether the response is still valid, that is, nothing it depends on was revoked since.
/// Returns `None` if the store fails.
async fn is_still_valid(
    refresh: &Refresh,
    answer: &CapturedResponse,
    family: &str,
    wait: &mut Wait,
    context: &RequestContext,
) -> Option<bool> {
    let queries = answer.revocation_queries(refresh, family, context.policy, context.now);
    let replies = wait.execute(&queries, context).await.ok()?;
    answer.is_still_valid(context.policy, context.now, &replies)
}

const PAUSE_MS_MIN: u32 = 30;
const PAUSE_MS_MAX: u32 = 400;
const PATIENCE_MS: u64 = 1000;
/// The approximate number of steps in a long wait.
const STEPS_MAX: u32 = 24;
/// Workers Free allows a request 50 calls. The remaining 10 are for the auth service, and for
/// writes after the response.
const STORE_REQUESTS_MAX: u32 = 40;
