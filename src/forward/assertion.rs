//! Signs assertions.

use crate::context::RequestContext;
use crate::platform::crypto::{CryptoKey, KeyUsage};
use crate::platform::log::{Level, Line};
use portcullis_core::{Assertion, Refusal};

/// Signs an assertion as a JWS in compact form (RFC 7515 section 7.1).
///
/// # Errors
///
/// The platform can't use the key, or the key does not match the published public key.
pub async fn sign(
    assertion: &Assertion,
    input: &str,
    context: &RequestContext,
) -> Result<String, Refusal> {
    let key = context.isolate.assertion_key.borrow().clone();
    let signature = match key {
        Some(key) => key.sign(&context.port, assertion.algorithm.name(), input).await,
        None => sign_first(assertion, input, context).await,
    };
    let Some(signature) = signature else {
        let fault = "ASSERTION_KEY: the platform can't sign with it, or its d is not of its x";
        Line::new(Level::Error, "assertion_failed")
            .text("request_id", &context.request_id)
            .text("fault", fault)
            .write();
        return Err(Refusal::Misconfigured);
    };
    Ok(Assertion::compact(input, &signature))
}

/// Imports the key, and keeps it if the public key verifies its signature.
async fn sign_first(
    assertion: &Assertion,
    input: &str,
    context: &RequestContext,
) -> Option<Vec<u8>> {
    let (port, algorithm) = (&context.port, assertion.algorithm.name());
    let key = assertion.key.expose();
    let key = CryptoKey::import(port, algorithm, key, KeyUsage::Sign).await;
    let public = CryptoKey::import(port, algorithm, &assertion.public_key, KeyUsage::Verify).await;
    let (key, public) = (key?, public?);
    let signature = key.sign(port, algorithm, input).await.unwrap_or_default();
    let verifies = public.verify(port, algorithm, &signature, input).await;
    context.isolate.assertion_key.replace(verifies.then_some(key));
    verifies.then_some(signature)
}
