//! The issuers' key sets: settled values only, fetched beside a request that needs them. A Worker may not
//! wait for another request's fetch, so no promise is ever shared: whoever must wait for a look does so by
//! timers of its own, and finds what was settled.

use crate::host::{self, TextRequest};
use crate::{Arrival, task};
use portcullis_core::{
    Denial, Issuer, Jwks, KeyLocation, KeySource, Outage, Policy, Refusal, TokenHash,
    UnverifiedHeader,
};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
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
    /// When it left its issuer; none if it is part of the configuration.
    fetched_at_ms: Option<u64>,
}

/// What is known of one issuer's key set. Moments are in milliseconds.
#[derive(Default)]
struct Slot {
    held: Option<Rc<Held>>,
    failed_at_ms: u64,
    /// Since when somebody has been looking.
    looking_since_ms: Option<u64>,
    /// `kid`s that were unknown, and when they were looked for.
    unknown: HashMap<String, u64>,
}

/// Why somebody looks.
enum Why {
    /// There are no keys, or old ones: what another isolate fetched serves as well.
    Age,
    /// This `kid` is unknown: only the issuer can tell.
    UnknownKid(String),
}

/// How a key set is, by its age.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Age {
    /// Used without a look.
    Fresh,
    /// Still fresh, but soon not: the time to renew it without a wait.
    Ageing,
    /// Used if its issuer can't be asked.
    Stale,
    /// Not used.
    TooOld,
}

thread_local! {
    static SLOTS: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
    static GENERATIONS: Cell<Generation> = const { Cell::new(0) };
}

/// The generation of an issuer's key set, renewed if need be.
pub async fn generation(
    policy: &'static Policy,
    place: usize,
    arrival: &Arrival,
) -> Result<Generation, Refusal> {
    Ok(held(policy, place, arrival).await?.generation)
}

/// The key that a token's header names, with its one algorithm.
pub async fn select(
    policy: &'static Policy,
    place: usize,
    header: &UnverifiedHeader,
    arrival: &Arrival,
) -> Result<Selected, Refusal> {
    let first = pick(&*held(policy, place, arrival).await?, header);
    let Err(Denial::KeyUnknown) = first else {
        return Ok(first?);
    };
    let kid = header.kid.clone().unwrap_or_default();
    // Twice: the look that this one waits for first may be another's, for another reason.
    for _ in 0..2 {
        if !wanted(policy, place, &kid) {
            return Err(Denial::KeyUnknown.into());
        }
        let begun_ms = host::now_ms();
        if may_look(policy, place) {
            begin_look(policy, place, Why::UnknownKid(kid.clone()), arrival);
        }
        wait_for_look(policy, place).await;
        let held = current(place).ok_or(Outage::KeysUnavailable)?;
        match pick(&held, header) {
            Err(Denial::KeyUnknown) => {}
            outcome => return Ok(outcome?),
        }
        // A token is not called bad because its issuer could not be asked.
        let pause_ms = cool_down_ms(policy);
        if with_slot(place, |slot| slot.failed_at_ms + pause_ms > begun_ms).unwrap_or(false) {
            return Err(Outage::KeysUnavailable.into());
        }
    }
    Err(Denial::KeyUnknown.into())
}

fn pick(held: &Held, header: &UnverifiedHeader) -> Result<Selected, Denial> {
    let place = held.jwks.select(header)?;
    let handle = held.handles.get(place).cloned().flatten().ok_or(Denial::KeyUnknown)?;
    Ok(Selected { algorithm: header.alg.name(), handle, generation: held.generation })
}

/// An issuer's key set. One that ages is renewed beside the request, before it is too old to be used without
/// a look; one that is stale is renewed first, and serves for a bounded time if that fails.
async fn held(
    policy: &'static Policy,
    place: usize,
    arrival: &Arrival,
) -> Result<Rc<Held>, Refusal> {
    // Twice: a look that was waited for may have been cut off.
    for _ in 0..2 {
        let held = current(place);
        let age = held.as_ref().map_or(Age::TooOld, |held| held.age(policy));
        if age == Age::Fresh {
            break;
        }
        let looks = may_look(policy, place);
        if looks {
            begin_look(policy, place, Why::Age, arrival);
        }
        // An issuer that failed lately slows nobody down again; nor does one that another is asking.
        let failed = with_slot(place, |slot| {
            held.is_some_and(|held| Some(slot.failed_at_ms) >= held.fetched_at_ms)
        });
        if age == Age::Ageing || (age == Age::Stale && (!looks || failed == Some(true))) {
            break;
        }
        wait_for_look(policy, place).await;
    }
    let held = current(place).filter(|held| held.age(policy) != Age::TooOld);
    Ok(held.ok_or(Outage::KeysUnavailable)?)
}

impl Held {
    fn age(&self, policy: &Policy) -> Age {
        let Some(fetched_at_ms) = self.fetched_at_ms else {
            return Age::Fresh;
        };
        let age_ms = host::now_ms().saturating_sub(fetched_at_ms);
        let fresh_ms = u64::from(policy.key_sets.fresh_seconds) * 1000;
        match age_ms {
            _ if age_ms < fresh_ms / 5 * 4 => Age::Fresh,
            _ if age_ms < fresh_ms => Age::Ageing,
            _ if age_ms < most_ms(policy) => Age::Stale,
            _ => Age::TooOld,
        }
    }
}

/// The age that no key set in use may reach.
fn most_ms(policy: &Policy) -> u64 {
    u64::from(policy.key_sets.fresh_seconds.max(policy.key_sets.stale_seconds_max)) * 1000
}

fn cool_down_ms(policy: &Policy) -> u64 {
    u64::from(policy.key_sets.cool_down_seconds) * 1000
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

/// Whether this request is the one that looks: nobody else does, and the last failure is some time ago. A
/// look that never ended counts as over after a while.
fn may_look(policy: &Policy, place: usize) -> bool {
    let now_ms = host::now_ms();
    let allowed = with_slot(place, |slot| {
        let busy = slot.looking_since_ms.is_some_and(|since| now_ms < since + look_ms(policy));
        let usable = slot.held.as_ref().is_some_and(|held| held.age(policy) != Age::TooOld);
        let pause_ms = cool_down_ms(policy);
        let pause_ms = if usable { pause_ms } else { pause_ms.min(RETRY_MS_MAX) };
        let allowed = !busy && now_ms >= slot.failed_at_ms + pause_ms;
        if allowed {
            slot.looking_since_ms = Some(now_ms);
        }
        allowed
    });
    allowed.unwrap_or(false)
}

/// An unknown `kid` may be a new key or a forgery. Each is looked for once per cool-down, and a few in all.
fn wanted(policy: &Policy, place: usize, kid: &str) -> bool {
    let now_ms = host::now_ms();
    let wanted = with_slot(place, |slot| {
        slot.unknown.retain(|_, at_ms| now_ms < *at_ms + cool_down_ms(policy));
        let fixed = slot.held.as_ref().is_some_and(|held| held.fetched_at_ms.is_none());
        !fixed && !slot.unknown.contains_key(kid) && slot.unknown.len() < UNKNOWN_MAX
    });
    wanted.unwrap_or(false)
}

/// Looks in the background, so that a client that leaves takes nobody's keys along.
fn begin_look(policy: &'static Policy, place: usize, why: Why, arrival: &Arrival) {
    task::after(look(policy, place, why, arrival.request_id.clone()));
}

/// Waits for whoever is looking, if somebody is, and for no look after that one.
async fn wait_for_look(policy: &Policy, place: usize) {
    let looking = || with_slot(place, |slot| slot.looking_since_ms).flatten();
    let Some(since_ms) = looking() else {
        return;
    };
    let mut step_ms = WAIT_STEP_MS_MIN;
    while looking() == Some(since_ms) && host::now_ms() < since_ms + look_ms(policy) {
        host::sleep(step_ms).await;
        step_ms = (step_ms * 2).min(WAIT_STEP_MS_MAX);
    }
}

/// The longest that a look takes: a metadata document, a key set, and the platform's cache.
fn look_ms(policy: &Policy) -> u64 {
    u64::from(policy.timeouts.key_set_ms) * 2 + 500
}

/// Looks for an issuer's keys and settles what it finds.
async fn look(policy: &'static Policy, place: usize, why: Why, request_id: String) {
    let Some(issuer) = policy.issuers.get(place) else {
        return;
    };
    let begun_ms = with_slot(place, |slot| slot.looking_since_ms).flatten();
    let found = find(policy, issuer, place, &why, &request_id).await;
    let news = with_slot(place, |slot| {
        // A look that was given up may end after the one that took its place, and then says nothing.
        if slot.looking_since_ms != begun_ms {
            return None;
        }
        slot.looking_since_ms = None;
        let now_ms = host::now_ms();
        let asked_in_vain = found.as_ref().is_none_or(|found| found.asked_in_vain);
        slot.failed_at_ms = if asked_in_vain { now_ms } else { 0 };
        let Found { jwks, handles, fetched_at_ms, news, .. } = found?;
        if let Why::UnknownKid(kid) = why {
            slot.unknown.insert(kid, now_ms);
        }
        let old = slot.held.take();
        // The same keys keep their generation, and with it what they vouched for.
        let generation = match &old {
            Some(old) if old.jwks == jwks => old.generation,
            _ => GENERATIONS.with(|last| {
                last.set(last.get().wrapping_add(1));
                last.get()
            }),
        };
        slot.held = Some(Rc::new(Held { jwks, handles, generation, fetched_at_ms }));
        news
    });
    if let Some((cache_key, text)) = news.flatten() {
        host::cache_put(&cache_key, &text, most_ms(policy) / 1000).await;
    }
}

struct Found {
    jwks: Jwks,
    handles: Vec<Option<JsValue>>,
    fetched_at_ms: Option<u64>,
    /// What other isolates may want to know, and where they look for it.
    news: Option<(String, String)>,
    /// Whether the issuer could not be asked, and this is what another isolate once fetched.
    asked_in_vain: bool,
}

impl Found {
    fn new(jwks: Jwks, handles: Vec<Option<JsValue>>, fetched_at_ms: Option<u64>) -> Self {
        Self { jwks, handles, fetched_at_ms, news: None, asked_in_vain: false }
    }
}

async fn find(
    policy: &Policy,
    issuer: &Issuer,
    place: usize,
    why: &Why,
    id: &str,
) -> Option<Found> {
    let url = match issuer.keys.as_ref()? {
        KeyLocation::Inline(jwks) => {
            let handles = import(issuer, jwks, id).await?;
            let jwks = jwks.clone();
            return Some(Found::new(jwks, handles, None));
        }
        KeyLocation::Metadata(url) | KeyLocation::Url(url) => url,
    };
    // By issuer as well: whether a document is an issuer's own was judged when it was fetched.
    let source = format!("{}\n{url}", issuer.issuer);
    let cache_key = format!("https://keys.portcullis.invalid/{}", TokenHash::of(&source));
    let cached = match why {
        Why::Age => cached(&cache_key).await,
        Why::UnknownKid(_) => None,
    };
    let age_ms = |at_ms: u64| host::now_ms().saturating_sub(at_ms);
    let newer = |at_ms: u64| current(place).is_none_or(|held| held.fetched_at_ms < Some(at_ms));
    if let Some((at_ms, text)) = &cached {
        let fresh = age_ms(*at_ms) < u64::from(policy.key_sets.fresh_seconds) * 1000;
        if fresh
            && newer(*at_ms)
            && let Some((jwks, handles)) = read(issuer, text, id).await
        {
            return Some(Found::new(jwks, handles, Some(*at_ms)));
        }
    }
    if let Some(text) = fetch(policy, issuer, url, id).await
        && let Some((jwks, handles)) = read(issuer, &text, id).await
    {
        let now_ms = host::now_ms();
        let news = Some((cache_key, format!("{now_ms}\n{text}")));
        return Some(Found { news, ..Found::new(jwks, handles, Some(now_ms)) });
    }
    // A new isolate has nothing of its own while the issuer is down.
    let (at_ms, text) =
        cached.filter(|(at_ms, _)| newer(*at_ms) && age_ms(*at_ms) < most_ms(policy))?;
    let (jwks, handles) = read(issuer, &text, id).await?;
    Some(Found { asked_in_vain: true, ..Found::new(jwks, handles, Some(at_ms)) })
}

/// What an isolate of the same place fetched, and when.
async fn cached(key: &str) -> Option<(u64, String)> {
    let text = host::cache_get(key).await?;
    let (at_ms, text) = text.split_once('\n')?;
    Some((at_ms.parse().ok()?, text.to_owned()))
}

/// A key set as its issuer sends it; the reason of a failure is in the log.
async fn fetch(policy: &Policy, issuer: &Issuer, url: &str, id: &str) -> Option<String> {
    let mut jwks_url = url.to_owned();
    if matches!(issuer.keys, Some(KeyLocation::Metadata(_))) {
        let document = get(policy, issuer, url, id).await?;
        jwks_url = match issuer.jwks_uri(url, &document) {
            Ok(uri) => uri,
            Err(fault) => {
                log(issuer, id, &format!("metadata: {fault:?}"));
                return None;
            }
        };
    }
    get(policy, issuer, &jwks_url, id).await
}

async fn get(policy: &Policy, issuer: &Issuer, url: &str, id: &str) -> Option<String> {
    let request = TextRequest {
        method: "GET",
        url,
        request_id: id,
        authorization: None,
        body: None,
        deadline_ms: policy.timeouts.key_set_ms,
        bytes_max: DOCUMENT_BYTES_MAX,
    };
    let fault = match request.send().await {
        Ok((200, text)) => return Some(text),
        Ok((status, _)) => format!("status {status}"),
        Err(fault) => format!("{fault:?}"),
    };
    log(issuer, id, &fault);
    None
}

/// A key set with at least one key that can verify; anything else is a failure.
async fn read(issuer: &Issuer, text: &str, id: &str) -> Option<(Jwks, Vec<Option<JsValue>>)> {
    match Jwks::parse(text, &issuer.algorithms, KeySource::Published) {
        Ok((jwks, faults)) => {
            for (key, fault) in faults {
                log(issuer, id, &format!("key {key} is left out: {fault}"));
            }
            let handles = import(issuer, &jwks, id).await?;
            Some((jwks, handles))
        }
        Err(fault) => {
            log(issuer, id, &format!("{fault:?}"));
            None
        }
    }
}

async fn import(issuer: &Issuer, jwks: &Jwks, id: &str) -> Option<Vec<Option<JsValue>>> {
    let mut handles = Vec::with_capacity(jwks.keys().len());
    for key in jwks.keys() {
        let handle = host::import_key(key.algorithm.name(), &key.jwk, "verify").await;
        if handle.is_none() {
            log(issuer, id, "a key is left out: the platform can't import it");
        }
        handles.push(handle);
    }
    if handles.iter().all(Option::is_none) {
        log(issuer, id, "no key in it can be used");
        return None;
    }
    Some(handles)
}

fn log(issuer: &Issuer, request_id: &str, fault: &str) {
    let line = serde_json::json!({
        "level": "warn", "event": "key_set", "request_id": request_id, "issuer": issuer.issuer, "fault": fault,
    });
    host::log(&line.to_string());
}

/// How many `kid`s are looked for within one cool-down.
const UNKNOWN_MAX: usize = 4;
/// The longest that nothing is asked after a failure, where there are no keys that can be used.
const RETRY_MS_MAX: u64 = 2000;
const WAIT_STEP_MS_MIN: u32 = 4;
const WAIT_STEP_MS_MAX: u32 = 50;
const DOCUMENT_BYTES_MAX: u32 = 256 * 1024;
