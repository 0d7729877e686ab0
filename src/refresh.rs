//! Refreshes: of those that ask the same at once, one goes to the auth service, and the others are given its answer. The one
//! that goes ends its work even if its client leaves, and waits longer than its client does: what the auth service answered
//! is not to be lost.

use crate::breakers::{self, Dependency, Health};
use crate::host::{self, Coming, Fault, Journey, Response, Signal, Whole};
use crate::{Arrival, store, task};
use portcullis_core::{CapturedResponse, LeaseState, Outage, Policy, Refresh, Refusal, Revocation};
use redis_rest::Command;
use std::cell::RefCell;
use std::rc::Rc;

/// The answer to a refresh: the auth service's, or the same again. None where the auth service is to be asked as for anything
/// else: what the store has is not for this request.
pub async fn answer(
    refresh: Refresh,
    journey: Journey,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Option<Result<Response, Refusal>> {
    let lease_seconds = lease_seconds(policy, journey.deadline_ms);
    let until_ms = host::now_ms() + lease_seconds * 1000 + PATIENCE_MS;
    let told = |how| arrival.trace.refresh.set(Some(how));
    let mut wait = Wait { pause_ms: PAUSE_MS_MIN, until_ms };
    // Once somebody is known to have asked, the token may be spent: then a store that says nothing is no reason to go.
    let mut spent = false;
    loop {
        let claim = refresh.acquire(&arrival.request_id, lease_seconds, &policy.keys);
        let replies = store::trip(policy, &claim, arrival).await.unwrap_or_default();
        match refresh.lease_state(&arrival.request_id, &replies) {
            Some(LeaseState::First { family }) => {
                told("first");
                return Some(first(refresh, Some(family), journey, policy, arrival).await);
            }
            Some(LeaseState::Replay { family, answer }) => {
                spent = true;
                match stands(&refresh, &answer, &family, policy, arrival).await {
                    Some(true) => {
                        told("replayed");
                        return Some(reply(&answer));
                    }
                    Some(false) => {
                        told("revoked");
                        return None;
                    }
                    None => {}
                }
            }
            Some(LeaseState::Alone) => {
                told("alone");
                return None;
            }
            Some(LeaseState::Wait) => {
                spent = true;
                // As long as somebody is at it, one look is all that is needed.
                while wait.goes_on(arrival).await {
                    let look = store::trip(policy, &[refresh.poll()], arrival).await;
                    let look = look.unwrap_or_default();
                    if Refresh::is_held(look.first()) == Some(false) {
                        break;
                    }
                }
                if wait.is_over() {
                    told("waited");
                    return Some(Err(Outage::RefreshPending.into()));
                }
                continue;
            }
            None if spent => {}
            None => {
                told("alone");
                return Some(first(refresh, None, journey, policy, arrival).await);
            }
        }
        if !wait.goes_on(arrival).await {
            told("waited");
            return Some(Err(Outage::RefreshPending.into()));
        }
    }
}

/// How long somebody waits for another, and in which steps.
struct Wait {
    pause_ms: u32,
    until_ms: u64,
}

impl Wait {
    fn is_over(&self) -> bool {
        host::now_ms() >= self.until_ms
    }

    /// Waits for a while; false where the time is over.
    async fn goes_on(&mut self, arrival: &Arrival) -> bool {
        if self.is_over() {
            return false;
        }
        host::sleep(self.pause_ms + arrival.jitter() % PAUSE_MS_MIN).await;
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MS_MAX);
        true
    }
}

/// What the auth service said, and when it can be asked again if it is left alone.
type Told = (Result<Response, Refusal>, Option<(Outage, u64)>);

/// Goes to the auth service, for all that wait; without a family, by itself, since the store did not say whose turn it is.
async fn first(
    refresh: Refresh,
    family: Option<String>,
    journey: Journey,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<Response, Refusal> {
    let (signal, own) = (Signal::new(), arrival.alone());
    let told: Rc<RefCell<Option<Told>>> = Rc::default();
    let (tell, slot) = (signal.clone(), Rc::clone(&told));
    // The auth service's deadline, and the trips to the store around it.
    let bound_ms = journey.deadline_ms.saturating_add(policy.timeouts.store_ms.saturating_mul(4));
    task::after(async move {
        let mut turn = RefreshLease { refresh, family, holds: true, policy, arrival: own };
        let (said, then) = turn.ask(&journey).await;
        slot.replace(Some((said, turn.arrival.trace.retry.get())));
        tell.give();
        match then {
            FollowUp::Nothing => {}
            FollowUp::Keep(commands) => turn.retry_store(&commands).await,
            FollowUp::Wait(coming) => turn.wait(coming).await,
        }
    });
    signal.wait(bound_ms.saturating_add(BOUND_MS)).await;
    let (said, retry) = told.take().unwrap_or((Err(Outage::AuthTimeout.into()), None));
    arrival.trace.retry.set(retry.or(arrival.trace.retry.get()));
    said
}

/// The turn of one request.
struct RefreshLease {
    refresh: Refresh,
    family: Option<String>,
    /// Whether the lease is still this request's, so that it may give it back.
    holds: bool,
    policy: &'static Policy,
    arrival: Arrival,
}

/// What is left to do once the client has its answer.
enum FollowUp {
    Nothing,
    /// The store did not take the answer.
    Keep(Vec<Command>),
    /// The auth service's answer is late.
    Wait(Coming),
}

impl RefreshLease {
    async fn ask(&mut self, journey: &Journey) -> (Result<Response, Refusal>, FollowUp) {
        let (policy, deadline_ms) = (self.policy, journey.deadline_ms);
        let work = async {
            let coming = journey.send(LATE_MS_MAX.max(deadline_ms), ANSWER_BYTES_MAX);
            let answer = coming.within(deadline_ms).await;
            let health = match answer {
                Some(Ok(_)) => Health::Good,
                Some(Err(Fault::TooLarge | Fault::Unreachable)) => {
                    Health::Failed(Outage::AuthUnreachable)
                }
                Some(Err(Fault::Timeout)) | None => Health::Failed(Outage::AuthTimeout),
            };
            (health, (answer, coming))
        };
        let outcome =
            breakers::call(Dependency::Auth, policy, &self.arrival, deadline_ms, work).await;
        match outcome {
            Ok((Some(answer), _)) => self.settle(answer).await,
            Ok((None, coming)) => {
                let hold = self.refresh.extend(&self.arrival.request_id, LATE_SECONDS_MAX);
                let takes = self.family.is_some();
                self.holds = takes && store::tell(policy, &[hold], &self.arrival).await;
                (Err(Outage::AuthTimeout.into()), FollowUp::Wait(coming))
            }
            Err(outage) => {
                self.release().await;
                (Err(outage.into()), FollowUp::Nothing)
            }
        }
    }

    /// What an answer means for its client, and for those who wait.
    async fn settle(&self, answer: Result<Whole, Fault>) -> (Result<Response, Refusal>, FollowUp) {
        match answer {
            Ok(Whole::Text(text)) => match CapturedResponse::parse(&text) {
                Some(answer) => (reply(&answer), self.keep(&answer).await),
                None => {
                    self.release().await;
                    (Err(Outage::AuthBadResponse.into()), FollowUp::Nothing)
                }
            },
            Ok(Whole::Other(response)) => {
                if matches!(response.status, 400 | 401 | 403) && self.family.is_some() {
                    let refused = self.refresh.store_refusal(host::nonce());
                    store::tell(self.policy, &[refused], &self.arrival).await;
                } else {
                    self.release().await;
                }
                (Ok(response), FollowUp::Nothing)
            }
            Err(fault) => {
                self.release().await;
                let outage = match fault {
                    Fault::Timeout => Outage::AuthTimeout,
                    Fault::TooLarge | Fault::Unreachable => Outage::AuthUnreachable,
                };
                (Err(outage.into()), FollowUp::Nothing)
            }
        }
    }

    /// An answer that its client did not wait for is there when it asks again.
    async fn wait(&self, coming: Coming) {
        if let (_, FollowUp::Keep(commands)) = self.settle(coming.end().await).await {
            self.retry_store(&commands).await;
        }
    }

    async fn keep(&self, answer: &CapturedResponse) -> FollowUp {
        let seconds = u64::from(self.policy.refresh_replay_seconds);
        let family = self.family.clone().unwrap_or_else(|| self.refresh.family());
        let keys = &self.policy.keys;
        let Some(commands) =
            self.refresh.store_response(answer, &family, host::nonce(), seconds, keys)
        else {
            self.release().await;
            return FollowUp::Nothing;
        };
        match store::tell(self.policy, &commands, &self.arrival).await {
            true => FollowUp::Nothing,
            false => FollowUp::Keep(commands),
        }
    }

    /// Who waits for the lease to end would find the token spent.
    async fn retry_store(&self, commands: &[Command]) {
        for pause_ms in KEEP_PAUSES_MS {
            host::sleep(pause_ms).await;
            if store::tell(self.policy, commands, &self.arrival).await {
                return;
            }
        }
    }

    /// An error is not kept: whoever waits asks for themselves.
    async fn release(&self) {
        if self.holds && self.family.is_some() {
            store::tell(self.policy, &[self.refresh.release()], &self.arrival).await;
        }
    }
}

/// Whether nothing was revoked since; none where the store does not say.
async fn stands(
    refresh: &Refresh,
    answer: &CapturedResponse,
    family: &str,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Option<bool> {
    let revocation_queries = answer.revocation_queries(refresh, family, policy, arrival.now);
    let replies = store::trip(policy, &revocation_queries, arrival).await.ok()?;
    answer.is_still_valid(policy, arrival.now, &replies)
}

fn reply(answer: &CapturedResponse) -> Result<Response, Refusal> {
    let fields: Vec<&str> =
        answer.fields.iter().flat_map(|(name, value)| [name.as_str(), value]).collect();
    let response = host::try_reply(200, &fields.join("\n"), &answer.body);
    response.ok_or_else(|| Outage::AuthBadResponse.into())
}

/// After a revocation no answer of the token's family is given again. It is done even if the client leaves, and again if
/// the store does not hear of it at once.
pub async fn forget(
    revocation: Revocation,
    deadline_ms: u32,
    policy: &'static Policy,
    arrival: &Arrival,
) {
    let (signal, own) = (Signal::new(), arrival.alone());
    let tell = signal.clone();
    let late_seconds = LATE_SECONDS_MAX.max(lease_seconds(policy, deadline_ms));
    let seconds = late_seconds + u64::from(policy.refresh_replay_seconds);
    task::after(async move {
        for pause_ms in [0].into_iter().chain(KEEP_PAUSES_MS) {
            host::sleep(pause_ms).await;
            let done = mark(&revocation, seconds, policy, &own).await;
            // The client waits for the first attempt.
            tell.give();
            if done {
                break;
            }
        }
    });
    signal.wait(policy.timeouts.store_ms.saturating_mul(2).saturating_add(BOUND_MS)).await;
}

/// Whether the store knows now that a family is revoked.
async fn mark(
    revocation: &Revocation,
    seconds: u64,
    policy: &'static Policy,
    arrival: &Arrival,
) -> bool {
    let question = [revocation.family_query(&policy.keys)];
    let found = store::trip(policy, &question, arrival).await;
    let family = found.as_ref().ok().and_then(|replies| replies.first()?.as_text());
    let marks = revocation.mark(family, seconds, &policy.keys);
    store::tell(policy, &marks, arrival).await && found.is_ok()
}

/// How long one turn lasts: what the auth service may take, and the trips to the store around it.
fn lease_seconds(policy: &Policy, deadline_ms: u32) -> u64 {
    let trips_ms = u64::from(policy.timeouts.store_ms) * 2;
    (u64::from(deadline_ms) + trips_ms).div_ceil(1000) + 1
}

/// How long the auth service's answer is waited for after its client has gone: what the platform grants, but for some
/// seconds.
const LATE_MS_MAX: u32 = 25_000;
const LATE_SECONDS_MAX: u64 = 26;
const ANSWER_BYTES_MAX: u32 = 32 * 1024;
const PAUSE_MS_MIN: u32 = 30;
const PAUSE_MS_MAX: u32 = 400;
const PATIENCE_MS: u64 = 1000;
/// More than any timer is late.
const BOUND_MS: u32 = 1000;
const KEEP_PAUSES_MS: [u32; 4] = [250, 500, 1000, 2000];
