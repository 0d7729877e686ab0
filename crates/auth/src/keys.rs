//! The keys that sign access tokens: the next one, which everybody can know before it signs, the current one, and
//! those before, until their last token has ended. They are in the database, sealed under a master key, so that
//! all auth services have the same; each looks again now and then.

use crate::db::Db;
use crate::error::BoxError;
use crate::random::nonce;
use crate::token::ACCESS_TOKEN_SECONDS_MAX;
use crate::token::AccessClaims;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use portcullis_core::{Seal, UnixSeconds};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

/// How tokens are signed.
#[derive(Clone)]
pub struct Signing {
    /// What the keys in the database are sealed under.
    pub master: Seal,
    pub algorithm: KeyAlgorithm,
    /// How long a key signs; 0: until somebody says otherwise.
    pub key_seconds: u64,
}

/// What a key signs with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyAlgorithm {
    EdDsa,
    Es256,
}

impl KeyAlgorithm {
    fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }

    fn jws(self) -> Algorithm {
        match self {
            Self::EdDsa => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
        }
    }
}

impl FromStr for KeyAlgorithm {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::EdDsa, Self::Es256].into_iter().find(|own| own.name() == text).ok_or(())
    }
}

/// A key as the database has it. The last one whose time has come signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRow {
    pub generation: u64,
    pub kid: String,
    pub algorithm: String,
    pub public_jwk: String,
    pub sealed: String,
    pub created_at: u64,
    pub active_from: u64,
}

/// What a key is for at a moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    Next,
    Current,
    Previous,
}

/// What must change in the database for its keys to be as they should.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Due {
    /// Keys whose last token has ended, or that are not to come any more.
    pub drop: Vec<u64>,
    /// A key to be made: its place, and when its time comes.
    pub make: Option<(u64, u64)>,
    /// A key whose time comes sooner.
    pub sooner: Option<(u64, u64)>,
}

impl KeyRow {
    /// What it is for.
    pub fn role(&self, rows: &[Self], now: UnixSeconds) -> Role {
        if self.active_from > now.0 {
            return Role::Next;
        }
        match current(rows, now).is_some_and(|key| key.generation == self.generation) {
            true => Role::Current,
            false => Role::Previous,
        }
    }
}

fn current(rows: &[KeyRow], now: UnixSeconds) -> Option<&KeyRow> {
    rows.iter().filter(|row| row.active_from <= now.0).max_by_key(|row| row.generation)
}

/// What is due, by the keys that there are.
pub fn due(rows: &[KeyRow], signing: &Signing, now: UnixSeconds) -> Due {
    let mut due = Due::default();
    let Some(current) = current(rows, now) else {
        // Where the only keys are yet to come, a clock has gone back.
        match rows.iter().map(|row| row.generation).min() {
            Some(first) => due.sooner = Some((first, now.0)),
            None => due.make = Some((1, now.0)),
        }
        return due;
    };
    for row in rows.iter().filter(|row| row.generation < current.generation) {
        let follower = rows.iter().filter(|other| other.generation > row.generation);
        let retired = follower.map(|other| other.active_from).min().unwrap_or(u64::MAX);
        if retired.saturating_add(ACCESS_TOKEN_SECONDS_MAX + LEEWAY_SECONDS) <= now.0 {
            due.drop.push(row.generation);
        }
    }
    let from = match signing.key_seconds {
        0 => FAR,
        seconds => current.active_from.saturating_add(seconds).max(now.0 + LEAD_SECONDS),
    };
    match rows.iter().find(|row| row.generation > current.generation) {
        Some(next) if next.algorithm != signing.algorithm.name() => due.drop.push(next.generation),
        Some(next) if from < next.active_from => due.sooner = Some((next.generation, from)),
        Some(_) => {}
        None => due.make = Some((current.generation + 1, from)),
    }
    due
}

/// How long everybody can know a key before it signs: longer than key sets are kept.
pub const LEAD_SECONDS: u64 = 900;
/// The largest leeway that an edge may grant, and a minute.
const LEEWAY_SECONDS: u64 = 360;
/// A time that does not come by itself.
const FAR: u64 = 253_402_300_799;

/// The keys of this process.
pub struct KeyRing {
    db: Arc<Db>,
    signing: Signing,
    held: RwLock<Arc<KeySet>>,
}

impl KeyRing {
    /// The keys in the database; the first ones are made.
    pub async fn open(db: Arc<Db>, signing: Signing, now: UnixSeconds) -> Result<Self, BoxError> {
        let held = RwLock::new(Arc::new(KeySet::default()));
        let ring = Self { db, signing, held };
        ring.maintain(now).await?;
        Ok(ring)
    }

    /// The keys as they were found last.
    pub fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does what is due, and looks again.
    pub async fn maintain(&self, now: UnixSeconds) -> Result<(), BoxError> {
        let mut rows = self.db.keys().await?;
        // A key that is dropped makes room for the next; each round does one thing.
        for _ in 0..4 {
            let due = due(&rows, &self.signing, now);
            if due == Due::default() {
                break;
            }
            for generation in due.drop {
                self.db.drop_key(generation).await?;
                tracing::info!(event = "signing_key_dropped", generation);
            }
            if let Some((generation, active_from)) = due.make {
                let row = self.make(generation, active_from, now)?;
                // Of several auth services that find the place free, one takes it.
                if self.db.add_key(&row).await? {
                    tracing::info!(event = "signing_key_made", generation, kid = row.kid);
                }
            }
            if let Some((generation, active_from)) = due.sooner {
                self.db.activate_key(generation, active_from).await?;
            }
            rows = self.db.keys().await?;
        }
        let mut keys = Vec::new();
        for row in &rows {
            let (key, old) = self.open_row(row)?;
            if old && let Some(sealed) = self.seal(&row.kid, &key.pkcs8) {
                self.db.reseal_key(row.generation, &sealed).await?;
            }
            keys.push(key);
        }
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(KeySet { keys });
        Ok(())
    }

    fn make(
        &self,
        generation: u64,
        active_from: u64,
        now: UnixSeconds,
    ) -> Result<KeyRow, BoxError> {
        let algorithm = self.signing.algorithm;
        let random = SystemRandom::new();
        let document = match algorithm {
            KeyAlgorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
            KeyAlgorithm::Es256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            }
        };
        let pkcs8 = URL_SAFE_NO_PAD.encode(document.map_err(|_| "no key can be made")?);
        let jwk = public_jwk(algorithm, &pkcs8).ok_or("a key that was made can't be read")?;
        let kid = jwk.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
        let sealed = self.seal(&kid, &pkcs8).ok_or("a key that was made can't be sealed")?;
        Ok(KeyRow {
            generation,
            kid,
            algorithm: algorithm.name().to_owned(),
            public_jwk: jwk.to_string(),
            sealed,
            created_at: now.0,
            active_from,
        })
    }

    fn seal(&self, kid: &str, pkcs8: &str) -> Option<String> {
        self.signing.master.seal(pkcs8, &place(kid), nonce())
    }

    /// A key, and whether it is sealed under the master key before.
    fn open_row(&self, row: &KeyRow) -> Result<(SigningKey, bool), BoxError> {
        let unopened = || {
            format!(
                "MASTER_KEY: does not open the signing key {}; give the one that it was made under, also as MASTER_KEY_PREVIOUS",
                row.kid
            )
        };
        let pkcs8 = self.signing.master.open(&row.sealed, &place(&row.kid)).ok_or_else(unopened)?;
        let malformed = || format!("the signing key {} can't be read", row.kid);
        let algorithm = row.algorithm.parse().map_err(|()| malformed())?;
        let key = SigningKey::read(row, algorithm, pkcs8).ok_or_else(malformed)?;
        Ok((key, !self.signing.master.is_sealed_by_first(&row.sealed)))
    }
}

fn place(kid: &str) -> String {
    format!("signing-key:{kid}")
}

/// The public half of a key, named by its thumbprint.
fn public_jwk(algorithm: KeyAlgorithm, pkcs8: &str) -> Option<Value> {
    let der = URL_SAFE_NO_PAD.decode(pkcs8).ok()?;
    // RFC 7638: the thumbprint of the required members, in this order and without spaces.
    let (members, required) = match algorithm {
        KeyAlgorithm::EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8(&der).ok()?;
            let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
            let required = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
            (json!({ "kty": "OKP", "crv": "Ed25519", "x": x }), required)
        }
        KeyAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).ok()?;
            // Uncompressed: 4, and the two coordinates.
            let (x, y) = pair.public_key().as_ref().get(1..)?.split_at_checked(32)?;
            let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
            let required = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
            (json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }), required)
        }
    };
    let mut jwk = members;
    let object = jwk.as_object_mut()?;
    let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(required));
    object.insert("kid".to_owned(), kid.into());
    object.insert("alg".to_owned(), algorithm.name().into());
    object.insert("use".to_owned(), "sig".into());
    Some(jwk)
}

/// Keys that are open, in their order.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<SigningKey>,
}

struct SigningKey {
    generation: u64,
    kid: String,
    algorithm: KeyAlgorithm,
    active_from: u64,
    jwk: Value,
    pkcs8: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl SigningKey {
    fn read(row: &KeyRow, algorithm: KeyAlgorithm, pkcs8: String) -> Option<Self> {
        let jwk = public_jwk(algorithm, &pkcs8)?;
        let der = URL_SAFE_NO_PAD.decode(&pkcs8).ok()?;
        let member = |name: &str| jwk.get(name).and_then(Value::as_str);
        let (encoding, decoding) = match algorithm {
            KeyAlgorithm::EdDsa => (
                EncodingKey::from_ed_der(&der),
                DecodingKey::from_ed_components(member("x")?).ok()?,
            ),
            KeyAlgorithm::Es256 => (
                EncodingKey::from_ec_der(&der),
                DecodingKey::from_ec_components(member("x")?, member("y")?).ok()?,
            ),
        };
        Some(Self {
            generation: row.generation,
            kid: row.kid.clone(),
            algorithm,
            active_from: row.active_from,
            jwk,
            pkcs8,
            encoding,
            decoding,
        })
    }
}

impl KeySet {
    /// All of them, for whoever verifies (RFC 7517).
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.keys.iter().map(|key| &key.jwk).collect::<Vec<_>>() })
    }

    /// A signed access token; none without a key.
    pub fn sign(&self, claims: &AccessClaims, now: UnixSeconds) -> Option<String> {
        let active = self.keys.iter().filter(|key| key.active_from <= now.0);
        let key = active.max_by_key(|key| key.generation)?;
        let mut header = Header::new(key.algorithm.jws());
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(key.kid.clone());
        encode(&header, claims, &key.encoding).ok()
    }

    /// The claims of an access token that one of them signed, also of one that has expired: whoever holds
    /// it may end its session.
    pub fn verify(&self, token: &str, issuer: &str, audience: &str) -> Option<AccessClaims> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let kid = header.kid?;
        let key = self.keys.iter().find(|key| key.kid == kid)?;
        let mut rules = Validation::new(key.algorithm.jws());
        rules.set_issuer(&[issuer]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.validate_exp = false;
        decode(token, &key.decoding, &rules).ok().map(|data| data.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signing(algorithm: KeyAlgorithm, key_seconds: u64) -> Signing {
        let master = Seal::new(&format!("m:{}", "A".repeat(43)), None).unwrap();
        Signing { master, algorithm, key_seconds }
    }

    fn row(generation: u64, active_from: u64) -> KeyRow {
        let text = String::new;
        KeyRow {
            generation,
            kid: generation.to_string(),
            algorithm: "EdDSA".into(),
            public_jwk: text(),
            sealed: text(),
            created_at: 0,
            active_from,
        }
    }

    #[test]
    fn there_is_always_a_next_key_and_old_ones_go() {
        let own = signing(KeyAlgorithm::EdDsa, 10_000);
        let check = |rows: &[KeyRow], now: u64, expect: Due| {
            assert_eq!(due(rows, &own, UnixSeconds(now)), expect, "{rows:?} at {now}");
        };
        let none = Due::default;
        check(&[], 50, Due { make: Some((1, 50)), ..none() });
        check(&[row(1, 50)], 50, Due { make: Some((2, 10_050)), ..none() });
        // Nobody was here when its time came: everybody still knows it before it signs.
        check(&[row(1, 50)], 20_000, Due { make: Some((2, 20_900)), ..none() });
        let two = [row(1, 50), row(2, 10_050)];
        check(&two, 60, none());
        check(&two, 10_050, Due { make: Some((3, 20_050)), ..none() });
        let three = [row(1, 50), row(2, 10_050), row(3, 200_000)];
        let end = 10_050 + ACCESS_TOKEN_SECONDS_MAX + LEEWAY_SECONDS;
        check(&three, end - 1, Due { sooner: Some((3, end - 1 + LEAD_SECONDS)), ..none() });
        let due_at_end = Due { drop: vec![1], sooner: Some((3, end + LEAD_SECONDS)), make: None };
        check(&three, end, due_at_end);
        check(&[row(2, 10_050)], 60, Due { sooner: Some((2, 60)), ..none() });
        let manual = signing(KeyAlgorithm::EdDsa, 0);
        let made = due(&[row(1, 50)], &manual, UnixSeconds(u64::from(u32::MAX)));
        assert_eq!(made.make, Some((2, FAR)));
        let other = signing(KeyAlgorithm::Es256, 10_000);
        assert_eq!(due(&two, &other, UnixSeconds(60)).drop, [2]);
        assert_eq!(two[0].role(&two, UnixSeconds(10_049)), Role::Current);
        assert_eq!(two[0].role(&two, UnixSeconds(10_050)), Role::Previous);
        assert_eq!(two[1].role(&two, UnixSeconds(10_049)), Role::Next);
    }
}
