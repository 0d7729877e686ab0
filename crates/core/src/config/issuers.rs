//! `[[issuers]]`: whose tokens are accepted, and how they are verified.

use super::error::ConfigErrorKind;
use super::object::{Number, ObjectReader};
use super::record::{MemberShape, TextFormat};
use super::settings::{SettingsReader, assumed_url};
use super::{issuer_names, requirements};
use crate::jose::algorithm::Algorithm;
use crate::jose::jwks::{Jwks, KeyFault, KeySource};
use crate::jose::public_key::jwk_of_pem;
use crate::json;
use crate::policy::introspection::{ClientAuth, Introspection};
use crate::policy::issuer::{AudienceClaim, Issuer, KeyLocation, TokenType};
use crate::request::syntax::is_api_key_prefix;
use crate::secret::Secret;
use crate::url::{is_url, url_or_binding};

/// Reads the list. An issuer with an error is left out of the result, so that later entries are not
/// compared with it. An empty or missing list is an error. `before` reads more members of an entry,
/// and `after` gets these with the issuer and its place in the list.
pub(super) fn read<E>(
    settings: &mut SettingsReader<'_>,
    before: impl Fn(&mut ObjectReader<'_, '_>) -> E,
    mut after: impl FnMut(E, &mut ObjectReader<'_, '_>, usize, &Issuer),
) -> Vec<Issuer> {
    let mut issuers: Vec<Issuer> = Vec::new();
    for entry in settings.required_list("issuers") {
        let Some(mut object) = settings.entry(entry, "issuer", "issuer") else {
            continue;
        };
        let more = before(&mut object);
        let issuer = issuer(&mut object, &issuers);
        if let Some(issuer) = &issuer {
            after(more, &mut object, issuers.len(), issuer);
        }
        object.finish();
        issuers.extend(issuer);
    }
    issuers
}

/// Reads one issuer. `earlier` are those before it in the list.
fn issuer(object: &mut ObjectReader<'_, '_>, earlier: &[Issuer]) -> Option<Issuer> {
    object.require(&["issuer"]);
    let mut reading = object.as_text(&READING);
    let names = issuer_names::read(object);
    let has_audience = object.has("audience");
    let audiences = object.one_or_more("audience", NONEMPTY, is_nonempty);
    let audience_claim =
        object.one_of_or("audience_claim", &AudienceClaim::NAMES, AudienceClaim::default());
    reading.push_str(match audience_claim {
        AudienceClaim::Aud => "",
        AudienceClaim::ClientId => "audience_claim=client_id\n",
        AudienceClaim::Azp => "audience_claim=azp\n",
        AudienceClaim::Iss => "audience_claim=iss\n",
    });
    if audiences.len() > 1 {
        reading.push_str("audience=");
        reading.push_str(&audiences.join("\n"));
    }
    let authorized_parties = object.one_or_more("authorized_parties", NONEMPTY, is_nonempty);
    let is_replaced = audience_claim == AudienceClaim::Iss
        || (audience_claim == AudienceClaim::Aud && !authorized_parties.is_empty());
    if !has_audience && !is_replaced {
        object.add_error("audience", ConfigErrorKind::Missing);
    }
    let claims = requirements::read(object, "claims");
    let header = requirements::read(object, "header");
    let scope_claims = object.places_or("scope_claims", SCOPE_CLAIM);
    let leeway_seconds = object.number_or_default(&LEEWAY);
    let sessions_in_store = object.flag("sessions_in_store");
    if sessions_in_store && !object.settings.has_scripts() {
        object.add_error("sessions_in_store", ConfigErrorKind::NotWithMemcached);
    }
    let api_key_prefixes =
        object.one_or_more("api_key_prefixes", ConfigErrorKind::NotAKeyPrefix, is_api_key_prefix);
    if names.tenants.is_some() && !api_key_prefixes.is_empty() {
        let kind = ConfigErrorKind::NotThere("where issuer has {tenant}");
        object.add_error("api_key_prefixes", kind);
    }
    let token_type = object.one_of_or("token_type", &TokenType::NAMES, TokenType::default());
    let algorithms = algorithms(object);
    let has_introspection = object.has("introspection");
    let introspection = object.object("introspection").and_then(introspection);
    let keys = key_location(object, algorithms.as_deref(), has_introspection);
    if keys.is_none() && has_introspection && !header.is_empty() {
        object.add_error("header", ConfigErrorKind::NotThere("for opaque tokens"));
    }
    let issuer = Issuer {
        issuer: names.issuer?,
        aliases: names.aliases,
        tenants: names.tenants,
        audiences,
        audience_claim,
        authorized_parties,
        claims,
        header,
        reading,
        algorithms: algorithms?,
        keys,
        token_type,
        leeway_seconds: leeway_seconds.into(),
        scope_claims,
        sessions_in_store,
        api_key_prefixes,
        introspection,
        resources: Vec::new(),
    };
    check_against_earlier(object, &issuer, earlier);
    // A malformed issuer is left out, so that it causes no errors in later entries.
    let place = object.place().to_owned();
    (!object.settings.has_error(&place)).then_some(issuer)
}

/// Adds an error if an earlier issuer has the same name, or takes every opaque token of this one.
fn check_against_earlier(object: &mut ObjectReader<'_, '_>, issuer: &Issuer, earlier: &[Issuer]) {
    issuer_names::check(object, issuer, earlier);
    if let (None, Some(introspection)) = (&issuer.keys, &issuer.introspection) {
        let takes_all = |other: &Issuer| {
            let other = other.introspection.as_ref().filter(|_| other.keys.is_none());
            other.is_some_and(|other| introspection.token_prefix.starts_with(&other.token_prefix))
        };
        if let Some(taker) = earlier.iter().find(|earlier| takes_all(earlier)) {
            let kind = ConfigErrorKind::IssuerShadowed(taker.issuer.clone());
            object.add_error("introspection.token_prefix", kind);
        }
    }
    check_api_keys(object, issuer, earlier);
}

/// Adds an error if two issuers have the same prefix of API keys, or if every opaque token of one
/// would be read as an API key of the other.
fn check_api_keys(object: &mut ObjectReader<'_, '_>, issuer: &Issuer, earlier: &[Issuer]) {
    let taker = |of: &Issuer, by: &Issuer| {
        let opaque = of.introspection.as_ref().filter(|_| of.keys.is_none());
        opaque.is_some_and(|own| {
            by.api_key_prefixes.iter().any(|prefix| own.token_prefix.starts_with(prefix))
        })
    };
    let is_same = |prefix: &String| earlier.iter().any(|own| own.api_key_prefixes.contains(prefix));
    if issuer.api_key_prefixes.iter().any(is_same) {
        object.add_error("api_key_prefixes", ConfigErrorKind::Duplicate);
    }
    if taker(issuer, issuer) || earlier.iter().any(|own| taker(issuer, own)) {
        object.add_error("introspection.token_prefix", ConfigErrorKind::KeyPrefixTaken);
    }
    if earlier.iter().any(|own| taker(own, issuer)) {
        object.add_error("api_key_prefixes", ConfigErrorKind::KeyPrefixTaken);
    }
}

/// Reads the algorithms (RFC 7518 section 3.1, RFC 8037). Returns an empty list if the member is
/// missing, and `None` if it is malformed or an algorithm is unknown.
pub(super) fn algorithms(object: &mut ObjectReader<'_, '_>) -> Option<Vec<Algorithm>> {
    let names = || Algorithm::ALL.map(|algorithm| algorithm.name().to_owned()).to_vec();
    let one = || Box::new(MemberShape::OneOf(names()));
    object.record("algorithms", || MemberShape::List(one()));
    let is_missing = !object.has("algorithms");
    let Some(names) = object.texts("algorithms") else {
        return is_missing.then(Vec::new);
    };
    let mut algorithms = Some(Vec::new());
    for (place, name) in names.iter().enumerate() {
        let Some(algorithm) = Algorithm::parse(name) else {
            let names = Algorithm::ALL.map(Algorithm::name).join(", ");
            object.add_error(&format!("algorithms[{place}]"), ConfigErrorKind::NotOneOf(names));
            algorithms = None;
            continue;
        };
        algorithms.iter_mut().for_each(|all| all.push(algorithm));
    }
    algorithms
}

/// Reads the location of the issuer's keys. Returns `None` for an issuer of opaque tokens.
fn key_location(
    object: &mut ObjectReader<'_, '_>,
    algorithms: Option<&[Algorithm]>,
    has_introspection: bool,
) -> Option<KeyLocation> {
    let members = ["jwks_url", "metadata_url", "jwks", "jwks_variable", "public_key"];
    let count = members.into_iter().filter(|member| object.has(member)).count();
    object.record_format("jwks_url", TextFormat::UrlOrBinding);
    object.record_format("metadata_url", TextFormat::Url);
    let (jwks_url, metadata_url) = (object.text("jwks_url"), object.text("metadata_url"));
    let key_set = || MemberShape::Map { of: Box::new(MemberShape::Any), min: 1 };
    let (jwks, variable) = (object.value("jwks", key_set), object.text("jwks_variable"));
    let public_key = object.nonempty_text("public_key");
    let none = algorithms.is_some_and(<[_]>::is_empty);
    let opaque = count == 0 && has_introspection && none;
    if count != 1 && !opaque {
        let place = object.place().to_owned();
        object.settings.add_error(place, ConfigErrorKind::KeysUnclear);
        return None;
    }
    if opaque {
        return None;
    }
    if none {
        object.add_error("algorithms", ConfigErrorKind::Empty);
    }
    if variable.is_none() && algorithms.unwrap_or_default().iter().any(|alg| alg.is_secret()) {
        object.add_error("algorithms", ConfigErrorKind::Key(KeyFault::SecretPublished));
    }
    let jwks_url = jwks_url.map(|text| checked_url(object, "jwks_url", text));
    if metadata_url.as_ref().is_some_and(|url| !is_url(url)) {
        object.add_error("metadata_url", ConfigErrorKind::NotAUrl);
    }
    if let Some(pem) = public_key {
        return single_key(object, pem, algorithms?);
    }
    let (name, text, source) = match (jwks_url, metadata_url, jwks, variable) {
        (Some(url), ..) => return Some(KeyLocation::Url(url)),
        (_, Some(url), ..) => return Some(KeyLocation::Metadata(url)),
        (.., Some(set), _) => (object.at("jwks"), json::write::text(&set), KeySource::Published),
        (.., variable) => {
            let variable = variable?;
            let text = object.settings.secret(&variable)?;
            if object.settings.is_assumed(&variable) {
                return Some(KeyLocation::Url(assumed_url(&variable)));
            }
            (variable, text, KeySource::Secret)
        }
    };
    inline_keys(object.settings, &name, &text, algorithms?, source)
}

/// Returns a URL, or one that is reached by a binding, in its long form. Adds an error if it is
/// neither.
pub(super) fn checked_url(object: &mut ObjectReader<'_, '_>, name: &str, text: String) -> String {
    url_or_binding(&text).unwrap_or_else(|| {
        object.add_error(name, ConfigErrorKind::NotAUrlOrBinding);
        text
    })
}

/// Reads a single key that is given as a PEM text. Its type must fit exactly one algorithm.
fn single_key(
    object: &mut ObjectReader<'_, '_>,
    pem: String,
    algorithms: &[Algorithm],
) -> Option<KeyLocation> {
    if object.settings.is_assumed(&object.at("public_key")) {
        return Some(KeyLocation::Url(pem));
    }
    let kind = match jwk_of_pem(&pem).map(|jwk| Jwks::of_key(&jwk, algorithms)) {
        Some(Ok(jwks)) => return Some(KeyLocation::Inline(jwks)),
        Some(Err(fault)) => ConfigErrorKind::Key(fault),
        None => ConfigErrorKind::NotA(PUBLIC_KEY),
    };
    object.add_error("public_key", kind);
    None
}

/// Reads a key set (RFC 7517 section 5), which is at the place `name`. Each key that can't be used
/// is an error, as is a `kid` that occurs twice. Returns `None` if the text is not a key set.
fn inline_keys(
    settings: &mut SettingsReader<'_>,
    name: &str,
    text: &str,
    algorithms: &[Algorithm],
    source: KeySource,
) -> Option<KeyLocation> {
    match Jwks::parse(text, algorithms, source) {
        Ok((jwks, faults)) => {
            let keys = jwks.keys();
            if keys.is_empty() && faults.is_empty() {
                settings.add_error(format!("{name}.keys"), ConfigErrorKind::Empty);
            }
            for (key, fault) in faults {
                settings.add_error(format!("{name}.keys[{key}]"), ConfigErrorKind::Key(fault));
            }
            let kids: Vec<_> = keys.iter().map(|key| &key.kid).collect();
            if kids.iter().enumerate().any(|(at, kid)| kids.iter().take(at).any(|k| k == kid)) {
                settings.add_error(format!("{name}.keys: kid"), ConfigErrorKind::Duplicate);
            }
            Some(KeyLocation::Inline(jwks))
        }
        Err(error) => {
            settings.add_error(name, ConfigErrorKind::Malformed(format!("{error:?}")));
            None
        }
    }
}

/// Reads how an issuer's tokens are introspected (RFC 7662). Returns `None` if a member is missing.
/// A missing secret is an error of the secret, not of the issuer.
fn introspection(mut object: ObjectReader<'_, '_>) -> Option<Introspection> {
    object.require(&["url", "client_id", "client_secret_variable"]);
    object.record_format("url", TextFormat::UrlOrBinding);
    let (url, client_id) = (object.text("url"), object.nonempty_text("client_id"));
    let url = url.map(|text| checked_url(&mut object, "url", text));
    let token_prefix = object.text("token_prefix").unwrap_or_default();
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_~+/".contains(&b);
    if !token_prefix.bytes().all(fits) {
        object.add_error("token_prefix", ConfigErrorKind::NotATokenPrefix);
    }
    let variable = object.text("client_secret_variable");
    let secret = variable.and_then(|name| object.settings.secret(&name));
    let client_auth = object.one_of_or("client_auth", &ClientAuth::NAMES, ClientAuth::default());
    let revocations_in_store = object.flag("revocations_in_store");
    object.finish();
    Some(Introspection {
        url: url?,
        client_id: client_id?,
        client_secret: Secret::new(secret.unwrap_or_default()),
        client_auth,
        revocations_in_store,
        token_prefix,
    })
}

fn is_nonempty(text: &str) -> bool {
    !text.is_empty()
}

/// The members that few issuers have and that decide how an introspection response is read.
const READING: [&str; 6] = [
    "issuer_aliases",
    "tenants",
    "authorized_parties",
    "claims",
    "claims_required",
    "claims_forbidden",
];
const NONEMPTY: ConfigErrorKind =
    ConfigErrorKind::NotA("a text that is not empty, or a list of them");
const PUBLIC_KEY: &str = "a public key in PEM, -----BEGIN PUBLIC KEY-----, of RSA, P-256, P-384, \
    P-521 or Ed25519; openssl pkey -pubin reads it";
const LEEWAY: Number = Number { name: "leeway_seconds", min: 0, max: 300, default: 30 };
const SCOPE_CLAIM: &str = "scope";
