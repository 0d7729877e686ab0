//! Signature algorithms, and the keys that each one takes.

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

/// The parameters of one algorithm and of its keys.
pub(super) struct KeyParameters {
    pub(super) name: &'static str,
    pub(super) kty: &'static str,
    pub(super) crv: Option<&'static str>,
    /// The members that make up the key.
    pub(super) members: &'static [&'static str],
    /// The length of each member in bytes, if the curve fixes it; for `oct`, the minimum.
    pub(super) member_bytes: Option<usize>,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 13] = [
        Self::EdDsa,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
    ];

    /// Returns the algorithm of that name, or `None` if it is not supported. `none` is not (RFC
    /// 8725 section 3.2), and names are case-sensitive.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Returns the name of RFC 7518 or RFC 8037.
    pub fn name(self) -> &'static str {
        self.parameters().name
    }

    /// Returns whether its keys are symmetric, so that a server which verifies could also sign.
    pub(crate) fn is_secret(self) -> bool {
        self.parameters().kty == "oct"
    }

    pub(super) fn parameters(self) -> KeyParameters {
        let ec = |name, crv, bytes| KeyParameters {
            name,
            kty: "EC",
            crv: Some(crv),
            members: &["x", "y"],
            member_bytes: Some(bytes),
        };
        let oct = |name, bytes| KeyParameters {
            name,
            kty: "oct",
            crv: None,
            members: &["k"],
            member_bytes: Some(bytes),
        };
        let rsa = |name| KeyParameters {
            name,
            kty: "RSA",
            crv: None,
            members: &["n", "e"],
            member_bytes: None,
        };
        match self {
            Self::EdDsa => KeyParameters {
                name: "EdDSA",
                kty: "OKP",
                crv: Some("Ed25519"),
                members: &["x"],
                member_bytes: Some(32),
            },
            Self::Es256 => ec("ES256", "P-256", 32),
            Self::Es384 => ec("ES384", "P-384", 48),
            Self::Es512 => ec("ES512", "P-521", 66),
            Self::Hs256 => oct("HS256", 32),
            Self::Hs384 => oct("HS384", 48),
            Self::Hs512 => oct("HS512", 64),
            Self::Ps256 => rsa("PS256"),
            Self::Ps384 => rsa("PS384"),
            Self::Ps512 => rsa("PS512"),
            Self::Rs256 => rsa("RS256"),
            Self::Rs384 => rsa("RS384"),
            Self::Rs512 => rsa("RS512"),
        }
    }

    /// Returns whether a key of this type and curve is for this algorithm.
    pub(super) fn fits(self, kty: &str, crv: Option<&str>) -> bool {
        let parameters = self.parameters();
        parameters.kty == kty && (parameters.crv.is_none() || parameters.crv == crv)
    }
}
