//! The issuers' key sets: settled values only, each fetched within a request that needs it. A Worker
//! may not wait for another request's fetch, so no promise is ever shared.

use crate::host::{self, TextRequest};
use crate::verify;
use portcullis_core::{
    Denial, Issuer, Jwks, Outage, Policy, Refusal, UnixSeconds, UnverifiedHeader,
};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::JsValue;

/// A key set with the host's handles of its keys, in the same order.
struct Held {
    jwks: Jwks,
    handles: Vec<Option<JsValue>>,
    loaded_at: UnixSeconds,
}

/// What is known of one issuer's key set.
#[derive(Default)]
struct Slot {
    held: Option<Rc<Held>>,
    failed_at: UnixSeconds,
    cooling_since: UnixSeconds,
    refetches: u32,
}

thread_local! {
    static SLOTS: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

/// The algorithm's name and the host's handle of the key that a token's header names.
pub async fn select(
    policy: &Policy,
    place: usize,
    header: &UnverifiedHeader,
    now: UnixSeconds,
) -> Result<(&'static str, JsValue), Refusal> {
    let issuer = policy.issuers.get(place).ok_or(Denial::IssuerUnknown)?;
    let held = match current(place) {
        Some(held) if now.seconds_since(held.loaded_at) < FRESH_SECONDS => held,
        Some(stale) => match load(policy, place, issuer, now).await {
            Some(held) => held,
            None if now.seconds_since(stale.loaded_at) < STALE_SECONDS_MAX => stale,
            None => return Err(Outage::KeysUnavailable.into()),
        },
        None => load(policy, place, issuer, now)
            .await
            .ok_or(Outage::KeysUnavailable)?,
    };
    match pick(&held, header) {
        Err(Denial::KeyUnknown) if may_refetch(place, now) => {
            let held = load(policy, place, issuer, now).await.unwrap_or(held);
            Ok(pick(&held, header)?)
        }
        outcome => Ok(outcome?),
    }
}

fn pick(held: &Held, header: &UnverifiedHeader) -> Result<(&'static str, JsValue), Denial> {
    let place = held.jwks.select(header)?;
    let handle = held
        .handles
        .get(place)
        .cloned()
        .flatten()
        .ok_or(Denial::KeyUnknown)?;
    Ok((header.alg.name(), handle))
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
/// is not asked by every request.
async fn load(
    policy: &Policy,
    place: usize,
    issuer: &Issuer,
    now: UnixSeconds,
) -> Option<Rc<Held>> {
    let failed_at = with_slot(place, |slot| slot.failed_at)?;
    if now.seconds_since(failed_at) < RETRY_SECONDS {
        return None;
    }
    let held = fetch(policy, issuer, now).await.map(Rc::new);
    with_slot(place, |slot| match &held {
        Some(held) => {
            if slot.held.as_ref().is_none_or(|old| old.jwks != held.jwks) {
                verify::forget();
            }
            slot.held = Some(Rc::clone(held));
        }
        None => slot.failed_at = now,
    });
    held
}

async fn fetch(policy: &Policy, issuer: &Issuer, now: UnixSeconds) -> Option<Held> {
    let request = TextRequest {
        method: "GET",
        url: &issuer.jwks_url,
        authorization: None,
        body: None,
        deadline_ms: policy.keys_deadline_ms,
        bytes_max: SET_BYTES_MAX,
    };
    let fault = match request.send().await {
        Ok((200, text)) => match Jwks::parse(&text, &issuer.algorithms) {
            Ok((jwks, faults)) => {
                for (key, fault) in faults {
                    log(issuer, &format!("key {key} is left out: {fault}"));
                }
                let mut handles = Vec::with_capacity(jwks.keys().len());
                for key in jwks.keys() {
                    handles.push(host::import_key(key.algorithm.name(), &key.jwk).await);
                }
                return Some(Held {
                    jwks,
                    handles,
                    loaded_at: now,
                });
            }
            Err(fault) => format!("{fault:?}"),
        },
        Ok((status, _)) => format!("status {status}"),
        Err(fault) => format!("{fault:?}"),
    };
    log(issuer, &fault);
    None
}

fn log(issuer: &Issuer, fault: &str) {
    let line = serde_json::json!({
        "level": "warn", "event": "key_set", "issuer": issuer.issuer, "fault": fault,
    });
    host::log(&line.to_string());
}

/// For how long a key set is used without a look.
const FRESH_SECONDS: u64 = 600;
/// For how long a key set is used while its issuer can't be asked.
const STALE_SECONDS_MAX: u64 = 24 * 3600;
/// Within this, unknown `kid`s cause at most `REFETCHES_MAX` fetches.
const COOL_DOWN_SECONDS: u64 = 30;
const REFETCHES_MAX: u32 = 4;
/// How long after a failure nothing is asked.
const RETRY_SECONDS: u64 = 1;
const SET_BYTES_MAX: u32 = 256 * 1024;
