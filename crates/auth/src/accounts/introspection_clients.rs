//! The clients that may introspect tokens, and their authentication (RFC 6749 section 2.3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// The clients that may introspect tokens.
#[derive(Default)]
pub struct IntrospectionClients(Vec<Client>);

struct Client {
    name: String,
    secret_hash: [u8; 32],
}

/// The reason why a list of clients is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientsError {
    /// An entry is not `name=secret`, or a name occurs twice.
    Malformed,
    /// A secret has fewer than 32 characters.
    SecretShort,
}

impl IntrospectionClients {
    /// Parses comma-separated `name=secret` entries. Returns an empty list for an empty text.
    pub fn parse(text: &str) -> Result<Self, ClientsError> {
        let mut clients: Vec<Client> = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, secret) = entry.split_once('=').ok_or(ClientsError::Malformed)?;
            if name.is_empty() || clients.iter().any(|client| client.name == name) {
                return Err(ClientsError::Malformed);
            }
            if secret.len() < SECRET_BYTES_MIN {
                return Err(ClientsError::SecretShort);
            }
            clients
                .push(Client { name: name.to_owned(), secret_hash: Sha256::digest(secret).into() });
        }
        Ok(Self(clients))
    }

    /// Returns whether a client has this name.
    pub fn is_known(&self, name: &str) -> bool {
        self.0.iter().any(|client| client.name == name)
    }

    /// Returns whether `name` and `secret` are those of a client. Takes the same time for a correct
    /// secret, a wrong secret and an unknown name.
    pub fn authenticates(&self, name: &str, secret: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let matches = self.0.iter().fold(Choice::from(0), |matches, client| {
            let same_name = client.name.as_bytes().ct_eq(name.as_bytes());
            matches | (same_name & client.secret_hash.ct_eq(&hash))
        });
        matches.into()
    }
}

/// Parses name and secret of an `Authorization: Basic` header value, both form-decoded. Returns
/// `None` if the value is malformed.
pub fn basic_credentials(field: &str) -> Option<(String, String)> {
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
    fn client_authenticates_by_name_and_secret() {
        let (a, b) = ("a".repeat(32), "b".repeat(32));
        let clients = IntrospectionClients::parse(&format!("edge={a}, batch={b}")).ok().unwrap();
        assert!(clients.authenticates("edge", &a) && clients.authenticates("batch", &b));
        for (name, secret) in [("edge", b.as_str()), ("batch", &a), ("edge", ""), ("", &a)] {
            assert!(!clients.authenticates(name, secret), "{name}");
        }
        assert!(!IntrospectionClients::default().authenticates("", ""));
        assert_eq!(IntrospectionClients::parse("edge").err(), Some(ClientsError::Malformed));
        assert_eq!(
            IntrospectionClients::parse(&format!("={a}")).err(),
            Some(ClientsError::Malformed)
        );
        let twice = format!("x={a},x={b}");
        assert_eq!(IntrospectionClients::parse(&twice).err(), Some(ClientsError::Malformed));
        let short = format!("edge={}", "a".repeat(31));
        assert_eq!(IntrospectionClients::parse(&short).err(), Some(ClientsError::SecretShort));
    }

    #[test]
    fn basic_credentials_are_form_decoded() {
        let field = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let check = |field: &str, expect: Option<(&str, &str)>| {
            let expect = expect.map(|(name, secret)| (name.to_owned(), secret.to_owned()));
            assert_eq!(basic_credentials(field), expect, "{field}");
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
