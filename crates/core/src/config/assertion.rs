//! `[assertion]`, and the secret `ASSERTION_KEY`.

use super::error::ConfigErrorKind;
use super::object::Number;
use super::settings::SettingsReader;
use crate::jose::algorithm::Algorithm;
use crate::json;
use crate::policy::assertion::Assertion;
use crate::request::field_names;
use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Reads the section and its key, a private JWK (RFC 7517) for EdDSA (RFC 8037) or ES256.
/// Assertions are valid for 1 to 3,600 s, 60 by default. Returns `None` if neither is given, or if
/// one is missing or malformed, which is an error. A key that is assumed signs nothing.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Option<Assertion> {
    let is_set = settings.has("assertion");
    let key = match is_set {
        true => settings.secret(KEY),
        false => settings.optional_secret(KEY),
    };
    if key.is_some() && !is_set {
        settings.add_error("assertion", ConfigErrorKind::Missing);
    }
    let key = key.and_then(|key| {
        // Other checks need the field, whatever the key is.
        let parsed = match settings.is_assumed(KEY) {
            true => Some(SigningKey::assumed(key)),
            false => SigningKey::parse(&key),
        };
        if parsed.is_none() {
            settings.add_error(KEY, ConfigErrorKind::NotASigningKey);
        }
        parsed
    });
    let mut section = settings.optional_section("assertion")?;
    section.require(&["issuer", "audience"]);
    let (issuer, audience) = (section.nonempty_text("issuer"), section.nonempty_text("audience"));
    let field = section.text_or("field", FIELD);
    if !field_names::is_available(&field) {
        section.add_error("field", ConfigErrorKind::NotAField);
    }
    let seconds = section.number_or_default(&SECONDS);
    section.finish();
    let SigningKey { algorithm, kid, public, private: key } = key?;
    let public_key = json::write::map_text(&public);
    let (issuer, audience) = (issuer?, audience?);
    Some(Assertion { field, algorithm, key, public_key, kid, public, issuer, audience, seconds })
}

/// A private key that signs assertions.
struct SigningKey {
    algorithm: Algorithm,
    kid: String,
    public: Map<String, Value>,
    private: Secret,
}

impl SigningKey {
    /// Returns what stands for a key that is not known.
    fn assumed(text: String) -> Self {
        let (kid, public, private) = (String::new(), Map::new(), Secret::new(text));
        Self { algorithm: Algorithm::EdDsa, kid, public, private }
    }

    /// Parses a JWK. Returns `None` if it is not a private key for EdDSA or ES256.
    fn parse(text: &str) -> Option<Self> {
        let jwk = json::object(text.as_bytes())?;
        let text = |name: &str| jwk.get(name).and_then(Value::as_str).map(str::to_owned);
        let algorithm = Algorithm::parse(&text("alg")?)?;
        let (kty, crv, members): (_, _, &[&str]) = match algorithm {
            Algorithm::EdDsa => ("OKP", "Ed25519", &["x"]),
            Algorithm::Es256 => ("EC", "P-256", &["x", "y"]),
            _ => return None,
        };
        if text("kty")? != kty || text("crv")? != crv {
            return None;
        }
        let kid = text("kid")?;
        let mut public = Map::new();
        public.insert("kty".to_owned(), kty.into());
        public.insert("crv".to_owned(), crv.into());
        let mut private = public.clone();
        for name in members.iter().chain(&["d"]) {
            let value = text(name)?;
            if URL_SAFE_NO_PAD.decode(&value).ok()?.len() != 32 {
                return None;
            }
            if *name != "d" {
                public.insert((*name).to_owned(), value.clone().into());
            }
            private.insert((*name).to_owned(), value.into());
        }
        let parameters = [("kid", kid.as_str()), ("alg", algorithm.name()), ("use", "sig")];
        for (name, value) in parameters {
            public.insert(name.to_owned(), value.into());
        }
        let private = Secret::new(json::write::map_text(&private));
        Some(Self { algorithm, kid, public, private })
    }
}

const KEY: &str = "ASSERTION_KEY";
const SECONDS: Number = Number { name: "seconds", min: 1, max: 3_600, default: 60 };
const FIELD: &str = "portcullis-assertion";
