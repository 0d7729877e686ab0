//! The issuers' key sets: settled values only, each fetched within a request that needs it. A Worker
//! may not wait for another request's fetch, so no promise is ever shared.

use crate::Arrival;
use crate::host::{self, TextRequest};
use portcullis_core::{
    Denial, Issuer, Jwks, Outage, Policy, Refusal, UnixSeconds, UnverifiedHeader,
};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::JsValue;

/// Tells one key set from the next, over all issuers.
pub type Generation = u32;

/// The key that a token's header names.
pub struct Selected {
    pub algorithm: &'static str,
    pub handle: JsValue,
    pub generation: Generation,
}

/// A key set with the host's handles of its keys, in the same order.
struct Held {
    jwks: Jwks,
    handles: Vec<Option<JsValue>>,
    generation: Generation,
    loaded_at: UnixSeconds,
}

/// What is known of one issuer's key set.
#[derive(Default)]
struct Slot {
    held: Option<Rc<Held>>,
    failed_at: UnixSeconds,
    renewing_since: UnixSeconds,
    cooling_since: UnixSeconds,
    refetches: u32,
}

thread_local! {
    static SLOTS: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
    static GENERATIONS: std::cell::Cell<Generation> = const { std::cell::Cell::new(0) };
}

/// The key that a token's header names, with its one algorithm.
pub async fn select(
    policy: &Policy,
    place: usize,
    header: &UnverifiedHeader,
    arrival: &Arrival,
) -> Result<Selected, Refusal> {
    let issuer = policy.issuers.get(place).ok_or(Denial::IssuerUnknown)?;
    let (now, id) = (arrival.now, arrival.request_id.as_str());
    let held = match current(place) {
        Some(held) if now.seconds_since(held.loaded_at) < FRESH_SECONDS => held,
        // One request per cool-down looks for newer keys; the others don't wait for it, so that a slow
        // issuer slows nobody down.
        Some(stale) if now.seconds_since(stale.loaded_at) < STALE_SECONDS_MAX => {
            if may_renew(place, now) {
                load(policy, place, issuer, id).await.unwrap_or(stale)
            } else {
                stale
            }
        }
        Some(_) | None => load(policy, place, issuer, id).await.ok_or(Outage::KeysUnavailable)?,
    };
    match pick(&held, header) {
        Err(Denial::KeyUnknown) if may_refetch(place, now) => {
            let held = load(policy, place, issuer, id).await.ok_or(Outage::KeysUnavailable)?;
            Ok(pick(&held, header)?)
        }
        outcome => Ok(outcome?),
    }
}

fn pick(held: &Held, header: &UnverifiedHeader) -> Result<Selected, Denial> {
    let place = held.jwks.select(header)?;
    let handle = held.handles.get(place).cloned().flatten().ok_or(Denial::KeyUnknown)?;
    Ok(Selected { algorithm: header.alg.name(), handle, generation: held.generation })
}

fn current(place: usize) -> Option<Rc<Held>> {
    SLOTS.with_borrow(|slots| slots.get(place).and_then(|slot| slot.held.clone()))
}

fn with_slot<T>(place: usize, work: impl FnOnce(&mut Slot) -> T) -> Option<T> {
    SLOTS.with_borrow_mut(|slots| {
        if slots.len() <= place {
            slots.resize_with(place + 1, Slot::default);
        }
        slots.get_mut(place).map(work)
    })
}

/// Whether this request is the one that looks for newer keys.
fn may_renew(place: usize, now: UnixSeconds) -> bool {
    let allowed = with_slot(place, |slot| {
        let due = now.seconds_since(slot.renewing_since) >= COOL_DOWN_SECONDS;
        if due {
            slot.renewing_since = now;
        }
        due
    });
    allowed.unwrap_or(false)
}

/// An unknown `kid` may be a new key or a forgery. A few requests per cool-down may look: more than one,
/// since those that come while the first is looking can't wait for it.
fn may_refetch(place: usize, now: UnixSeconds) -> bool {
    let allowed = with_slot(place, |slot| {
        if now.seconds_since(slot.cooling_since) >= COOL_DOWN_SECONDS {
            slot.cooling_since = now;
            slot.refetches = 0;
        }
        slot.refetches += 1;
        slot.refetches <= REFETCHES_MAX
    });
    allowed.unwrap_or(false)
}

/// Fetches a key set and keeps it. Right after a failure nothing is asked, so that an issuer in trouble
/// is not asked by every request. The clock is read again: a fetch that failed took its time.
async fn load(policy: &Policy, place: usize, issuer: &Issuer, id: &str) -> Option<Rc<Held>> {
    let failed_at = with_slot(place, |slot| slot.failed_at)?;
    if clock().seconds_since(failed_at) < RETRY_SECONDS {
        return None;
    }
    let fetched = fetch(policy, issuer, id).await;
    with_slot(place, |slot| {
        let Some((jwks, handles)) = fetched else {
            slot.failed_at = clock();
            return None;
        };
        // The same keys keep their generation, and with it what they vouched for.
        let generation = match &slot.held {
            Some(old) if old.jwks == jwks => old.generation,
            _ => GENERATIONS.with(|last| {
                last.set(last.get().wrapping_add(1));
                last.get()
            }),
        };
        let held = Rc::new(Held { jwks, handles, generation, loaded_at: clock() });
        slot.held = Some(Rc::clone(&held));
        Some(held)
    })?
}

/// A key set with at least one key that can verify; anything else is a failure, and its reason is in
/// the log.
async fn fetch(policy: &Policy, issuer: &Issuer, id: &str) -> Option<(Jwks, Vec<Option<JsValue>>)> {
    let request = TextRequest {
        method: "GET",
        url: &issuer.jwks_url,
        request_id: id,
        authorization: None,
        body: None,
        deadline_ms: policy.keys_deadline_ms,
        bytes_max: SET_BYTES_MAX,
    };
    let fault = match request.send().await {
        Ok((200, text)) => match Jwks::parse(&text, &issuer.algorithms) {
            Ok((jwks, faults)) => {
                for (key, fault) in faults {
                    log(issuer, id, &format!("key {key} is left out: {fault}"));
                }
                let mut handles = Vec::with_capacity(jwks.keys().len());
                for key in jwks.keys() {
                    let handle = host::import_key(key.algorithm.name(), &key.jwk).await;
                    if handle.is_none() {
                        log(issuer, id, "a key is left out: the platform can't import it");
                    }
                    handles.push(handle);
                }
                if handles.iter().any(Option::is_some) {
                    return Some((jwks, handles));
                }
                "no key in it can be used".to_owned()
            }
            Err(fault) => format!("{fault:?}"),
        },
        Ok((status, _)) => format!("status {status}"),
        Err(fault) => format!("{fault:?}"),
    };
    log(issuer, id, &fault);
    None
}

fn clock() -> UnixSeconds {
    UnixSeconds(host::now_ms() / 1000)
}

fn log(issuer: &Issuer, request_id: &str, fault: &str) {
    let line = serde_json::json!({
        "level": "warn", "event": "key_set", "request_id": request_id, "issuer": issuer.issuer, "fault": fault,
    });
    host::log(&line.to_string());
}

/// For how long a key set is used without a look.
const FRESH_SECONDS: u64 = 600;
/// For how long a key set is used while its issuer can't be asked.
const STALE_SECONDS_MAX: u64 = 24 * 3600;
/// Within this, stale keys are renewed once, and unknown `kid`s cause at most `REFETCHES_MAX` fetches.
const COOL_DOWN_SECONDS: u64 = 30;
const REFETCHES_MAX: u32 = 4;
/// How long after a failure nothing is asked.
const RETRY_SECONDS: u64 = 2;
const SET_BYTES_MAX: u32 = 256 * 1024;
