//! Clients that may ask about tokens, and how they say who they are (RFC 6749 section 2.3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// The clients, each by its name and the hash of its secret.
#[derive(Default)]
pub struct Clients(Vec<(String, [u8; 32])>);

/// Why a list of clients can't be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientsError {
    /// An entry is not `name=secret`, or a name stands twice.
    Malformed,
    /// A secret has fewer than 32 characters.
    SecretShort,
}

impl Clients {
    /// Reads `name=secret`, comma-separated; nobody from an empty text.
    pub fn parse(text: &str) -> Result<Self, ClientsError> {
        let mut clients: Vec<(String, [u8; 32])> = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, secret) = entry.split_once('=').ok_or(ClientsError::Malformed)?;
            if name.is_empty() || clients.iter().any(|(other, _)| other == name) {
                return Err(ClientsError::Malformed);
            }
            if secret.len() < SECRET_BYTES_MIN {
                return Err(ClientsError::SecretShort);
            }
            clients.push((name.to_owned(), Sha256::digest(secret).into()));
        }
        Ok(Self(clients))
    }

    /// Whether name and secret are those of a client. It takes as long for a wrong secret as for a right
    /// one, and for a client that is not there as for one that is.
    pub fn knows(&self, name: &str, secret: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let fits = self.0.iter().fold(Choice::from(0), |fits, (held, held_hash)| {
            fits | (held.as_bytes().ct_eq(name.as_bytes()) & held_hash.ct_eq(&hash))
        });
        fits.into()
    }
}

/// Name and secret of an `Authorization: Basic` field, both form-decoded.
pub fn basic(field: &str) -> Option<(String, String)> {
    let (scheme, text) = field.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
    let (name, secret) = text.split_once(':')?;
    Some((form_decoded(name)?, form_decoded(secret)?))
}

fn form_decoded(text: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(&format!("x={text}")).ok()?;
    match pairs.as_slice() {
        [(_, value)] => Some(value.clone()),
        _ => None,
    }
}

const SECRET_BYTES_MIN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_name_and_secret() {
        let (a, b) = ("a".repeat(32), "b".repeat(32));
        let clients = Clients::parse(&format!("edge={a}, batch={b}")).ok().unwrap();
        assert!(clients.knows("edge", &a) && clients.knows("batch", &b));
        for (name, secret) in [("edge", b.as_str()), ("batch", &a), ("edge", ""), ("", &a)] {
            assert!(!clients.knows(name, secret), "{name}");
        }
        assert!(!Clients::default().knows("", ""));
        assert_eq!(Clients::parse("edge").err(), Some(ClientsError::Malformed));
        assert_eq!(Clients::parse(&format!("={a}")).err(), Some(ClientsError::Malformed));
        let twice = format!("x={a},x={b}");
        assert_eq!(Clients::parse(&twice).err(), Some(ClientsError::Malformed));
        let short = format!("edge={}", "a".repeat(31));
        assert_eq!(Clients::parse(&short).err(), Some(ClientsError::SecretShort));
    }

    #[test]
    fn credentials_are_form_decoded() {
        let field = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let check = |field: &str, expect: Option<(&str, &str)>| {
            let expect = expect.map(|(name, secret)| (name.to_owned(), secret.to_owned()));
            assert_eq!(basic(field), expect, "{field}");
        };
        check(&field("edge:s"), Some(("edge", "s")));
        check(&field("a%3Ab:s%20%26%3D"), Some(("a:b", "s &=")));
        check(&field("edge:a:b"), Some(("edge", "a:b")));
        check(&field("edge:a&y=b"), None);
        check(&field("edge"), None);
        check("Basic !", None);
        check("Bearer x", None);
        check("", None);
    }
}
