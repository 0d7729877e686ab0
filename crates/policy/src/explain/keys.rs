//! The signature of an explained token, checked with a key set from a file.

use super::report::Report;
use crate::command::Host;
use portcullis_core::{
    Denial, Jwks, KeySource, Outage, Policy, Refusal, UnverifiedJwt, VerifyingKey,
};

/// A file with a key set, which stands for what the token's issuer publishes.
pub(super) struct KeyFile {
    path: String,
    text: String,
}

impl KeyFile {
    /// Reads a file. Rejects one that is not a key set, whatever its keys are.
    pub(super) fn read(path: &str, host: &Host<'_>) -> Result<Self, String> {
        let text = (host.read)(path).map_err(|error| format!("can't read {path}: {error}"))?;
        match Jwks::parse(&text, &[], KeySource::Published) {
            Ok(_) => Ok(Self { path: path.to_owned(), text }),
            Err(error) => {
                Err(format!("{path} is not a key set ({error:?}); give {{\"keys\": [...]}}"))
            }
        }
    }

    /// Returns whether the token's signature holds, or refuses the token as the edge does whose
    /// issuer has these keys.
    pub(super) fn verify(
        &self,
        jwt: &UnverifiedJwt<'_>,
        policy: &Policy,
        host: &Host<'_>,
        report: &mut Report,
    ) -> Result<bool, Refusal> {
        let path = &self.path;
        // The algorithms of an issuer have secret keys only if its key set is a secret.
        let algorithms =
            policy.issuers.get(jwt.issuer()).map(|issuer| issuer.algorithms.as_slice());
        let parsed = Jwks::parse(&self.text, algorithms.unwrap_or_default(), KeySource::Secret);
        let (jwks, faults) = parsed.map_err(|_| Outage::KeysUnavailable)?;
        for (place, fault) in faults {
            report.step("key set", &format!("{path}: keys[{place}] is left out: {fault}"));
        }
        let mut verify = |key: &VerifyingKey, signature: &[u8], input: &str| {
            (host.verify)(key, signature, input).map_err(|error| {
                report.fail(error);
                Outage::KeysUnavailable
            })
        };
        let selected = jwks.select(jwt.header());
        let key = selected.ok().and_then(|place| jwks.keys().get(place));
        let key = key.filter(|key| jwt.admits_key_of(key.issuer.as_deref(), &policy.issuers));
        let holds = match key {
            Some(key) => verify(key, jwt.signature(), jwt.signing_input())?,
            None => None,
        };
        let outcome: Result<bool, Refusal> = match (holds, selected) {
            (Some(holds), _) => Ok(holds),
            // The edge has no use for a key set of which it can use no key.
            (None, selected) => {
                let mut keys = jwks.keys().iter();
                let is_usable = loop {
                    match keys.next() {
                        None => break false,
                        Some(key) if verify(key, &[], "")?.is_some() => break true,
                        Some(_) => {}
                    }
                };
                match (is_usable, selected) {
                    (false, _) => Err(Outage::KeysUnavailable.into()),
                    (true, Err(denial)) => Err(denial.into()),
                    (true, Ok(_)) => Err(Denial::KeyUnknown.into()),
                }
            }
        };
        let text = match &outcome {
            Ok(true) => "it is good".to_owned(),
            Ok(false) => "it is wrong".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        report.step("signature", &format!("checked with {path}: {text}"));
        outcome
    }
}
