//! `ISSUERS`: whose tokens are accepted, and who vouches for them.

use super::error::ConfigErrorKind;
use super::members::ObjectReader;
use super::reader::SettingsReader;
use crate::introspection::{ClientAuth, Introspection};
use crate::issuer::{Issuer, KeyLocation, TokenType};
use crate::jose::algorithm::Algorithm;
use crate::jose::jwks::{Jwks, KeyFault, KeySource};
use crate::secret::Secret;
use crate::url::is_url;

impl SettingsReader<'_> {
    pub(super) fn issuers(&mut self) -> Vec<Issuer> {
        let mut issuers: Vec<Issuer> = Vec::new();
        for entry in self.required_list("ISSUERS") {
            let issuer = self.entry(entry).and_then(|given| given.issuer(&issuers));
            issuers.extend(issuer);
        }
        issuers
    }
}

impl ObjectReader<'_, '_> {
    /// An issuer beside those that stand before it.
    fn issuer(mut self, earlier: &[Issuer]) -> Option<Issuer> {
        self.need(&["issuer", "audience"]);
        let (issuer, audience) = (self.full_text("issuer"), self.full_text("audience"));
        let scope_claim = self.full_text("scope_claim").unwrap_or_else(|| "scope".to_owned());
        let leeway_seconds = self.number("leeway_seconds", 0, LEEWAY_SECONDS_MAX).unwrap_or(30);
        let sessions_in_store = self.flag("sessions_in_store");
        if sessions_in_store && !self.read.has_scripts() {
            self.report("sessions_in_store", ConfigErrorKind::NotWithMemcached);
        }
        let token_type = self.word("token_type", &TokenType::WORDS).unwrap_or_default();
        let algorithms = self.algorithms();
        let introspected = self.has("introspection");
        let introspection = self.members("introspection").and_then(introspection);
        let keys = self.key_location(algorithms.as_deref(), introspected);
        let issuer = Issuer {
            issuer: issuer?,
            audience: audience?,
            algorithms: algorithms?,
            keys,
            token_type,
            leeway_seconds: leeway_seconds.into(),
            scope_claim,
            sessions_in_store,
            introspection,
        };
        // One issuer may have JWTs and opaque tokens, each with an entry of their own.
        let bucket_key = |other: &Issuer| {
            other.issuer == issuer.issuer && other.keys.is_some() == issuer.keys.is_some()
        };
        if earlier.iter().any(bucket_key) {
            self.report("issuer", ConfigErrorKind::Duplicate);
        }
        if let (None, Some(provider)) = (&issuer.keys, &issuer.introspection) {
            let taken = |other: &Issuer| {
                let other = other.introspection.as_ref().filter(|_| other.keys.is_none());
                other.is_some_and(|other| provider.token_prefix.starts_with(&other.token_prefix))
            };
            if earlier.iter().any(taken) {
                self.report("introspection.token_prefix", ConfigErrorKind::TokenPrefix);
            }
        }
        // Nothing is said of others by one that is not what it was meant to be.
        let place = self.place().to_owned();
        (!self.read.has_error(&place)).then_some(issuer)
    }

    /// Those that are named; nothing where one can't be read, which is told.
    fn algorithms(&mut self) -> Option<Vec<Algorithm>> {
        if !self.has("algorithms") {
            return Some(Vec::new());
        }
        let mut algorithms = Some(Vec::new());
        for (place, name) in self.texts("algorithms")?.iter().enumerate() {
            let Some(algorithm) = Algorithm::parse(name) else {
                let words = Algorithm::ALL.map(Algorithm::name).join(", ");
                self.report(&format!("algorithms[{place}]"), ConfigErrorKind::NotOneOf(words));
                algorithms = None;
                continue;
            };
            algorithms.iter_mut().for_each(|all| all.push(algorithm));
        }
        algorithms
    }

    /// The one way to the issuer's keys.
    fn key_location(
        &mut self,
        algorithms: Option<&[Algorithm]>,
        introspected: bool,
    ) -> Option<KeyLocation> {
        let ways = ["jwks_url", "metadata_url", "jwks", "jwks_variable"];
        let count = ways.into_iter().filter(|way| self.has(way)).count();
        let (jwks_url, metadata_url) = (self.text("jwks_url"), self.text("metadata_url"));
        let (jwks, variable) = (self.value("jwks"), self.text("jwks_variable"));
        let none = algorithms.is_some_and(<[_]>::is_empty);
        let opaque = count == 0 && introspected && none;
        if count != 1 && !opaque {
            let place = self.place().to_owned();
            self.read.report(place, ConfigErrorKind::KeysUnclear);
            return None;
        }
        if opaque {
            return None;
        }
        if none {
            self.report("algorithms", ConfigErrorKind::Empty);
        }
        if variable.is_none() && algorithms.unwrap_or_default().iter().any(|alg| alg.is_secret()) {
            self.report("algorithms", ConfigErrorKind::Key(KeyFault::SecretPublished));
        }
        for (name, url) in [("jwks_url", &jwks_url), ("metadata_url", &metadata_url)] {
            if url.as_ref().is_some_and(|url| !is_url(url)) {
                self.report(name, ConfigErrorKind::NotAUrl);
            }
        }
        let (name, text, source) = match (jwks_url, metadata_url, jwks, variable) {
            (Some(url), ..) => return Some(KeyLocation::Url(url)),
            (_, Some(url), ..) => return Some(KeyLocation::Metadata(url)),
            (.., Some(set), _) => (self.at("jwks"), set.to_string(), KeySource::Published),
            (.., variable) => {
                let variable = variable?;
                let text = self.read.required(&variable)?;
                (variable, text, KeySource::Secret)
            }
        };
        match Jwks::parse(&text, algorithms?, source) {
            Ok((keys, faults)) => {
                if keys.keys().is_empty() && faults.is_empty() {
                    self.read.report(format!("{name}.keys"), ConfigErrorKind::Empty);
                }
                for (key, fault) in faults {
                    self.read.report(format!("{name}.keys[{key}]"), ConfigErrorKind::Key(fault));
                }
                let kids: Vec<_> = keys.keys().iter().map(|key| &key.kid).collect();
                if kids.iter().enumerate().any(|(at, kid)| kids.iter().take(at).any(|k| k == kid)) {
                    self.read.report(format!("{name}.keys: kid"), ConfigErrorKind::Duplicate);
                }
                Some(KeyLocation::Inline(keys))
            }
            Err(fault) => {
                self.read.report(name, ConfigErrorKind::Shape(format!("{fault:?}")));
                None
            }
        }
    }
}

fn introspection(mut given: ObjectReader<'_, '_>) -> Option<Introspection> {
    given.need(&["url", "client_id", "client_secret_variable"]);
    let (url, client_id) = (given.text("url"), given.full_text("client_id"));
    if url.as_ref().is_some_and(|url| !is_url(url)) {
        given.report("url", ConfigErrorKind::NotAUrl);
    }
    let token_prefix = given.text("token_prefix").unwrap_or_default();
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_~+/".contains(&b);
    if !token_prefix.bytes().all(fits) {
        given.report("token_prefix", ConfigErrorKind::NotATokenPrefix);
    }
    let secret = given.text("client_secret_variable").and_then(|name| given.read.required(&name));
    let client_auth: Option<ClientAuth> = given.word("client_auth", &ClientAuth::WORDS);
    let revocations_in_store = given.flag("revocations_in_store");
    Some(Introspection {
        url: url?,
        client_id: client_id?,
        client_secret: Secret::new(secret.unwrap_or_default()),
        client_auth: client_auth.unwrap_or_default(),
        revocations_in_store,
        token_prefix,
    })
}

const LEEWAY_SECONDS_MAX: u32 = 300;
