//! Fetches an issuer's key set in the background, so that the fetch continues if the client leaves.

use crate::context::RequestContext;
use crate::platform::crypto::{CryptoKey, KeyUsage};
use crate::platform::log::{Level, Line};
use crate::platform::protocol::{TextRequest, TextResponse};
use crate::platform::{cache, clock};
use crate::token::key_sets::{FetchedKeys, age_ms_max};
use portcullis_core::{Issuer, Jwks, KeyLocation, KeySource, TokenHash};

/// The reason for fetching a key set.
pub enum Cause {
    /// The keys are missing or old. A copy that another isolate fetched is good enough.
    Age,
    /// This `kid` is unknown. Only the issuer itself can have it.
    UnknownKid(String),
}

/// A key set, and what to publish for the isolates of the same location.
struct Found {
    keys: FetchedKeys,
    publish: Option<CacheEntry>,
}

/// An entry of the platform's cache.
struct CacheEntry {
    key: String,
    text: String,
}

/// A key set that another isolate of the same location fetched.
struct CachedDocument {
    fetched_at_ms: u64,
    text: String,
}

/// The imported keys of a document.
struct ImportedKeys {
    jwks: Jwks,
    keys: Vec<Option<CryptoKey>>,
}

/// Fetches the key set of an issuer in the background.
pub fn spawn(issuer: usize, cause: Cause, context: &RequestContext) {
    context.spawn(move |context| async move { fetch_and_record(issuer, cause, &context).await });
}

async fn fetch_and_record(index: usize, cause: Cause, context: &RequestContext) {
    let Some(issuer) = context.policy.key_owner(index) else {
        return;
    };
    let key_sets = &context.isolate.key_sets;
    let begun_ms = key_sets.fetching_since_ms(index);
    let (keys, publish) = match find(issuer, index, &cause, context).await {
        Some(found) => (Some(found.keys), found.publish),
        None => (None, None),
    };
    let searched_kid = match cause {
        Cause::Age => None,
        Cause::UnknownKid(kid) => Some(kid),
    };
    let used = key_sets.finish_fetch(index, begun_ms, keys, searched_kid, clock::now_ms());
    if let Some(entry) = publish.filter(|_| used) {
        let seconds = age_ms_max(context.policy) / 1000;
        cache::put(&context.port, &entry.key, &entry.text, seconds).await;
    }
}

/// Finds an issuer's key set: in the configuration, in the platform's cache, or at the issuer.
async fn find(
    issuer: &Issuer,
    index: usize,
    cause: &Cause,
    context: &RequestContext,
) -> Option<Found> {
    let policy = context.policy;
    let url = match issuer.keys.as_ref()? {
        KeyLocation::Inline(jwks) => {
            let imported = import(issuer, jwks.clone(), context).await?;
            return Some(imported.found_at(None));
        }
        KeyLocation::Metadata(url) | KeyLocation::Url(url) => url,
    };
    // The cache key includes the issuer, because a document was checked for the issuer that it was
    // fetched for.
    let source = format!("{}\n{url}", issuer.issuer);
    let key = format!("https://keys.portcullis.invalid/{}", TokenHash::of(&source));
    // A binding's name means another service in another Worker, and the cache may be theirs as
    // well.
    let is_shared = !url.starts_with("binding:");
    let cached = match cause {
        Cause::Age if is_shared => read_cached(&key, context).await,
        _ => None,
    };
    let age_ms = |document: &CachedDocument| clock::now_ms().saturating_sub(document.fetched_at_ms);
    let newer = |document: &CachedDocument| {
        let current = context.isolate.key_sets.current(index);
        current.is_none_or(|key_set| key_set.fetched_at_ms < Some(document.fetched_at_ms))
    };
    if let Some(document) = &cached {
        let fresh = age_ms(document) < u64::from(policy.key_sets.fresh_seconds) * 1000;
        if fresh
            && newer(document)
            && let Some(imported) = parse(issuer, &document.text, context).await
        {
            return Some(imported.found_at(Some(document.fetched_at_ms)));
        }
    }
    if let Some(text) = fetch(issuer, url, context).await
        && let Some(imported) = parse(issuer, &text, context).await
    {
        let now_ms = clock::now_ms();
        let publish = is_shared.then(|| CacheEntry { key, text: format!("{now_ms}\n{text}") });
        return Some(Found { publish, ..imported.found_at(Some(now_ms)) });
    }
    // While the issuer fails, a new isolate has no keys of its own and uses the cached ones.
    let document =
        cached.filter(|document| newer(document) && age_ms(document) < age_ms_max(policy))?;
    let mut found =
        parse(issuer, &document.text, context).await?.found_at(Some(document.fetched_at_ms));
    found.keys.issuer_failed = true;
    Some(found)
}

impl ImportedKeys {
    fn found_at(self, fetched_at_ms: Option<u64>) -> Found {
        let Self { jwks, keys } = self;
        let keys = FetchedKeys { jwks, keys, fetched_at_ms, issuer_failed: false };
        Found { keys, publish: None }
    }
}

async fn read_cached(key: &str, context: &RequestContext) -> Option<CachedDocument> {
    let text = cache::get(&context.port, key).await?;
    let (at_ms, text) = text.split_once('\n')?;
    Some(CachedDocument { fetched_at_ms: at_ms.parse().ok()?, text: text.to_owned() })
}

/// Fetches a key set from its issuer. Logs the reason for a failure.
async fn fetch(issuer: &Issuer, url: &str, context: &RequestContext) -> Option<String> {
    let mut jwks_url = url.to_owned();
    if matches!(issuer.keys, Some(KeyLocation::Metadata(_))) {
        let document = get(issuer, url, context).await?;
        jwks_url = match issuer.jwks_uri(url, &document) {
            Ok(uri) => uri,
            Err(fault) => {
                log_fault(issuer, &format!("metadata: {fault:?}"), context);
                return None;
            }
        };
    }
    get(issuer, &jwks_url, context).await
}

async fn get(issuer: &Issuer, url: &str, context: &RequestContext) -> Option<String> {
    let request = TextRequest {
        method: "GET",
        url,
        request_id: &context.request_id,
        authorization: None,
        body: None,
        deadline_ms: context.policy.timeouts.key_set_ms,
        bytes_max: DOCUMENT_BYTES_MAX,
    };
    let fault = match request.send(&context.port).await {
        Ok(TextResponse { status: 200, text }) => return Some(text),
        Ok(response) => format!("status {}", response.status),
        Err(error) => format!("{error:?}"),
    };
    log_fault(issuer, &fault, context);
    None
}

/// Parses a key set and imports its keys. Returns `None` if none of them can verify.
async fn parse(issuer: &Issuer, text: &str, context: &RequestContext) -> Option<ImportedKeys> {
    match Jwks::parse(text, &issuer.algorithms, KeySource::Published) {
        Ok((jwks, faults)) => {
            for (key, fault) in faults {
                log_fault(issuer, &format!("key {key} is ignored: {fault}"), context);
            }
            import(issuer, jwks, context).await
        }
        Err(fault) => {
            log_fault(issuer, &format!("{fault:?}"), context);
            None
        }
    }
}

async fn import(issuer: &Issuer, jwks: Jwks, context: &RequestContext) -> Option<ImportedKeys> {
    let mut keys = Vec::with_capacity(jwks.keys().len());
    for key in jwks.keys() {
        let algorithm = key.algorithm.name();
        let key = CryptoKey::import(&context.port, algorithm, &key.jwk, KeyUsage::Verify).await;
        if key.is_none() {
            log_fault(issuer, "a key is ignored: the platform can't import it", context);
        }
        keys.push(key);
    }
    if keys.iter().all(Option::is_none) {
        log_fault(issuer, "the key set has no usable key", context);
        return None;
    }
    Some(ImportedKeys { jwks, keys })
}

fn log_fault(issuer: &Issuer, fault: &str, context: &RequestContext) {
    Line::new(Level::Warn, "key_set")
        .text("request_id", &context.request_id)
        .text("issuer", &issuer.issuer)
        .text("fault", fault)
        .write();
}

const DOCUMENT_BYTES_MAX: u32 = 256 * 1024;
