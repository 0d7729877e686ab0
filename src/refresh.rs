//! Refreshes: of those that ask the same at once, one goes to the origin, and the others are given its answer. The one
//! that goes ends its work even if its client leaves, and waits longer than its client does: what the origin answered
//! is not to be lost.

use crate::breakers::{self, Dependency, Health};
use crate::host::{self, Coming, Fault, Forward, Signal, Whole};
use crate::{Arrival, store};
use portcullis_core::{Answered, Outage, Policy, Refresh, Refusal, Revocation, Turn};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::JsValue;

/// A request to the origin, with nothing borrowed: it may outlive its client.
pub struct Journey {
    pub request: web_sys::Request,
    pub url: String,
    pub remove: String,
    pub set: String,
    pub body: Option<JsValue>,
    pub deadline_ms: u32,
}

/// The answer to a refresh: the origin's, or the same again. None where the origin is to be asked as for anything
/// else: the store does not say whose turn it is, or what it has is not for this request.
pub async fn answer(
    refresh: Refresh,
    journey: Journey,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Option<Result<web_sys::Response, Refusal>> {
    let lease_seconds = lease_seconds(policy, journey.deadline_ms);
    let until_ms = host::now_ms() + lease_seconds * 1000 + PATIENCE_MS;
    let mut pause_ms = PAUSE_MS_MIN;
    let told = |how| arrival.trace.refresh.set(Some(how));
    loop {
        let claim = refresh.claim(&arrival.request_id, lease_seconds, &policy.keys);
        let replies = store::trip(policy, &claim, arrival).await.unwrap_or_default();
        match refresh.turn(&arrival.request_id, &replies) {
            Some(Turn::First { family }) => {
                told("first");
                return Some(first(refresh, family, journey, policy, arrival).await);
            }
            Some(Turn::Replay { family, answer }) => {
                if stands(&answer, &family, policy, arrival).await {
                    told("replayed");
                    return Some(Ok(reply(&answer)));
                }
                told("revoked");
                return None;
            }
            Some(Turn::Wait) if host::now_ms() < until_ms => {
                host::sleep(pause_ms + arrival.jitter() % PAUSE_MS_MIN).await;
                pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
            }
            Some(Turn::Wait) => {
                told("waited");
                return Some(Err(Outage::RefreshPending.into()));
            }
            Some(Turn::Alone) | None => {
                told("alone");
                return None;
            }
        }
    }
}

/// Goes to the origin, for all that wait.
async fn first(
    refresh: Refresh,
    family: String,
    journey: Journey,
    policy: &'static Policy,
    arrival: &Arrival,
) -> Result<web_sys::Response, Refusal> {
    let (signal, own) = (Signal::new(), arrival.alone());
    let told: Rc<RefCell<Option<Result<web_sys::Response, Refusal>>>> = Rc::default();
    let (tell, slot) = (signal.giver(), Rc::clone(&told));
    arrival.after(async move {
        let turn = Held { refresh, family, policy, arrival: own };
        let (said, late) = turn.ask(&journey).await;
        slot.replace(Some(said));
        tell();
        if let Some(coming) = late {
            turn.wait(coming).await;
        }
    });
    signal.wait().await;
    told.take().unwrap_or(Err(Outage::OriginUnreachable.into()))
}

/// The turn of one request.
struct Held {
    refresh: Refresh,
    family: String,
    policy: &'static Policy,
    arrival: Arrival,
}

impl Held {
    /// What the client is told, and what is still to come if that took too long for it.
    async fn ask(&self, journey: &Journey) -> (Result<web_sys::Response, Refusal>, Option<Coming>) {
        let (policy, deadline_ms) = (self.policy, journey.deadline_ms);
        let work = async {
            let forward = Forward {
                request: &journey.request,
                url: &journey.url,
                remove: &journey.remove,
                set: &journey.set,
                deadline_ms: LATE_MS_MAX.max(deadline_ms),
                body: journey.body.as_ref(),
                personal: true,
            };
            let coming = forward.send_whole(ANSWER_BYTES_MAX);
            let answer = coming.within(deadline_ms).await;
            let health = match answer {
                Some(Ok(_)) => Health::Good,
                Some(Err(Fault::TooLarge | Fault::Unreachable)) => {
                    Health::Failed(Outage::OriginUnreachable)
                }
                Some(Err(Fault::Timeout)) | None => Health::Failed(Outage::OriginTimeout),
            };
            (health, (answer, coming))
        };
        let outcome =
            breakers::call(Dependency::Origin, policy, &self.arrival, deadline_ms, work).await;
        match outcome {
            Ok((Some(Ok(Whole::Text(text))), _)) => (self.keep(&text).await, None),
            Ok((Some(Ok(Whole::Other(response))), _)) => {
                self.release().await;
                (Ok(response), None)
            }
            Ok((Some(Err(fault)), _)) => {
                self.release().await;
                let outage = match fault {
                    Fault::Timeout => Outage::OriginTimeout,
                    Fault::TooLarge | Fault::Unreachable => Outage::OriginUnreachable,
                };
                (Err(outage.into()), None)
            }
            Ok((None, coming)) => {
                let hold = self.refresh.hold(&self.arrival.request_id, LATE_SECONDS_MAX);
                store::tell(policy, &[hold], &self.arrival).await;
                (Err(Outage::OriginTimeout.into()), Some(coming))
            }
            Err(outage) => {
                self.release().await;
                (Err(outage.into()), None)
            }
        }
    }

    /// An answer that its client did not wait for is kept for when it asks again.
    async fn wait(&self, coming: Coming) {
        match coming.end().await {
            Ok(Whole::Text(text)) => drop(self.keep(&text).await),
            Ok(Whole::Other(_)) | Err(_) => self.release().await,
        }
    }

    async fn keep(&self, text: &str) -> Result<web_sys::Response, Refusal> {
        let Some(answer) = Answered::parse(text) else {
            self.release().await;
            return Err(Outage::OriginFaulty.into());
        };
        let seconds = u64::from(self.policy.refresh_replay_seconds);
        let keys = &self.policy.keys;
        let kept = self.refresh.keep(&answer, &self.family, host::nonce(), seconds, keys);
        if let Some(commands) = kept {
            store::tell(self.policy, &commands, &self.arrival).await;
        }
        Ok(reply(&answer))
    }

    /// An error is not kept: whoever waits asks for themselves.
    async fn release(&self) {
        store::tell(self.policy, &[self.refresh.release()], &self.arrival).await;
    }
}

/// Whether nothing was revoked since. A store that does not say so does not vouch for it.
async fn stands(
    answer: &Answered,
    family: &str,
    policy: &'static Policy,
    arrival: &Arrival,
) -> bool {
    let doubts = answer.doubts(family, policy, arrival.now);
    let replies = store::trip(policy, &doubts, arrival).await;
    replies.is_ok_and(|replies| answer.stands(policy, arrival.now, &replies))
}

fn reply(answer: &Answered) -> web_sys::Response {
    let fields: Vec<&str> =
        answer.fields.iter().flat_map(|(name, value)| [name.as_str(), value]).collect();
    host::reply(200, &fields.join("\n"), &answer.body)
}

/// After a revocation no answer of the token's family is given again.
pub async fn forget(revocation: &Revocation, policy: &'static Policy, arrival: &Arrival) {
    let question = revocation.question(&policy.keys);
    let replies = store::trip(policy, &[question], arrival).await.unwrap_or_default();
    let seconds = LATE_SECONDS_MAX + u64::from(policy.refresh_replay_seconds);
    let mark = revocation.mark(replies.first(), seconds, &policy.keys);
    store::tell(policy, &[mark], arrival).await;
}

/// How long one turn lasts: what the origin may take, and the trips to the store around it.
fn lease_seconds(policy: &Policy, deadline_ms: u32) -> u64 {
    let trips_ms = u64::from(policy.store_deadline_ms) * 2;
    (u64::from(deadline_ms) + trips_ms).div_ceil(1000) + 1
}

/// How long the origin's answer is waited for after its client has gone: what the platform grants, but for some
/// seconds.
const LATE_MS_MAX: u32 = 25_000;
const LATE_SECONDS_MAX: u64 = 26;
const ANSWER_BYTES_MAX: u32 = 64 * 1024;
const PAUSE_MS_MIN: u32 = 30;
const PAUSE_MS_MAX: u32 = 240;
const PATIENCE_MS: u64 = 1000;
