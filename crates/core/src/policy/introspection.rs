//! A provider's introspection endpoint (RFC 7662).

use crate::secret::Secret;

/// An endpoint that says whether a token is active (RFC 7662 section 2), and the edge's credentials
/// there.
#[derive(Clone, Debug)]
pub struct Introspection {
    /// The endpoint.
    pub url: String,
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: Secret,
    /// How the credentials are sent.
    pub client_auth: ClientAuth,
    /// Whether the provider writes each revocation to the store. If so, a response may be cached
    /// for the token's lifetime.
    pub revocations_in_store: bool,
    /// The prefix of the provider's opaque tokens; empty for any token.
    pub token_prefix: String,
}

/// How a client authenticates (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientAuth {
    /// In the `Authorization` header.
    #[default]
    ClientSecretBasic,
    /// In the body.
    ClientSecretPost,
}

impl ClientAuth {
    pub(crate) const NAMES: [(&str, Self); 2] = [
        ("client_secret_basic", Self::ClientSecretBasic),
        ("client_secret_post", Self::ClientSecretPost),
    ];
}
