//! What can be wrong with a setting, and how it is mended.

use crate::jose::jwks::KeyFault;
use std::fmt;

/// A setting that can't be used: its name, and the fault with its fix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The variable, and the place within it: `ROUTES[2].limit`.
    pub name: String,
    /// What is wrong.
    pub kind: ConfigErrorKind,
}

/// What is wrong with a setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigErrorKind {
    /// A request costs more than a limit ever admits.
    AboveQuota,
    /// It asks for a signed assertion, and there is no key for one.
    AssertionUnset,
    /// It lets pages of every origin use their users' cookies.
    CredentialsForAll,
    /// It stands twice.
    Duplicate,
    /// It is an empty list.
    Empty,
    /// A key of an inline set can't vouch.
    Key(KeyFault),
    /// There is not exactly one way to the issuer's keys.
    KeysUnclear,
    /// It is for limits that are counted before the answer.
    NotAsync,
    /// It is not set.
    Missing,
    /// A route's own limit has the route's name.
    NamedByRoute,
    /// The algorithm knows no burst.
    NoBurst,
    /// No issuer can be asked about its tokens.
    NoIntrospection,
    /// There is no limit of that name.
    NoSuchLimit,
    /// It is not of that kind.
    NotA(&'static str),
    /// It is neither one value nor a list of values.
    NotAClaim,
    /// It can't be the name of a cookie.
    NotACookie,
    /// It is not a name that the edge may give a header field.
    NotAField,
    /// It is not a name and 32 bytes of base64.
    NotARecordEncryptionKey,
    /// Not visible ASCII, as a header field's value must be.
    NotAToken,
    /// It is not a private key that signs with EdDSA or ES256.
    NotASigningKey,
    /// It is not in capitals, as HTTP's methods are.
    NotAMethod,
    /// It is not an origin.
    NotAnOrigin,
    /// It is not a scope-token of RFC 6749 section 3.3.
    NotAScope,
    /// It has characters that no token has, or a dot.
    NotATokenPrefix,
    /// It is not the address of a memcached.
    NotAMemcached,
    /// It is not an absolute URL.
    NotAUrl,
    /// It means nothing on a route of this access.
    NotForAccess,
    /// A memcached can't do it.
    NotWithMemcached,
    /// It is no whole number from the first bound to the second.
    NotInRange(u32, u32),
    /// It is not one of the words that it may be.
    NotOneOf(String),
    /// Every request that it is for takes an earlier route.
    Shadowed,
    /// It can't be read; the reader's words.
    Shape(String),
    /// It can't be told from another issuer whose tokens are opaque.
    TokenPrefix,
    /// There is no such setting.
    Unknown,
    /// It is a path that no request can have, or a `*` elsewhere than at the end.
    UnreachablePath,
    /// It has characters other than letters, digits, `-` and `_`.
    UnsafeName,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.kind)
    }
}

impl fmt::Display for ConfigErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AboveQuota => {
                "is more than a limit of the route ever admits; raise its quota, or lower the cost"
            }
            Self::AssertionUnset => "needs ASSERTION and ASSERTION_KEY; give both",
            Self::CredentialsForAll => "is not for all origins; name them, or leave it out",
            Self::Duplicate => "stands twice; give each its own",
            Self::Empty => "is empty; give at least one entry",
            Self::Key(fault) => return write!(f, "can't vouch for tokens: {fault}"),
            Self::KeysUnclear => {
                "give one of jwks_url, metadata_url, jwks and jwks_variable; none of them, and no \
                 algorithms, for an issuer whose tokens are opaque, which needs introspection"
            }
            Self::Missing => "is not set; see docs/configuration.md",
            Self::NotAsync => {
                "is known only when the answer is gone already; leave it out, or take count exact"
            }
            Self::NamedByRoute => "a route's own limit has the route's name; leave it out",
            Self::NoBurst => {
                "this algorithm has no burst; leave it out, or take gcra or token_bucket"
            }
            Self::NoIntrospection => {
                "asks the issuer while the store is down, and no issuer has an introspection; give \
                 one, or choose deny or signature"
            }
            Self::NoSuchLimit => "is not the name of a limit in LIMITS",
            Self::NotA(kind) => return write!(f, "must be {kind}"),
            Self::NotAClaim => "give the value that the claim must have, or a list of values",
            Self::NotACookie => "is not a cookie's name; give letters, digits, -, _ and .",
            Self::NotAField => {
                "is not a name for this field; give letters, digits and -; for an identity field in \
                 lower case, and none that HTTP or the edge uses otherwise"
            }
            Self::NotAToken => "holds what no token holds: a space, a line break, or no ASCII",
            Self::NotARecordEncryptionKey => {
                "is not a key; give name:key, the name of letters, digits, - and _, the key by \
                 openssl rand -base64 32"
            }
            Self::NotASigningKey => {
                "is not a private key; give a JWK with kid, and alg EdDSA (d, x) or ES256 (d, x, y)"
            }
            Self::NotAMethod => "methods are words in capitals, such as GET",
            Self::NotAnOrigin => "is not an origin; give https://host in lower case, or * alone",
            Self::NotAScope => {
                "a scope is visible ASCII without quote, backslash and space, one an entry"
            }
            Self::NotATokenPrefix => "give letters, digits and -_~+/, as the tokens begin",
            Self::NotAMemcached => "is not memcached://host:port, nor memcacheds://host:port for TLS",
            Self::NotWithMemcached => {
                "a memcached has no scripts and no lists; take fixed_window for a limit, leave out the \
                 rest, or take a Redis"
            }
            Self::NotAUrl => {
                "is not a URL; give http:// or https:// with a host, no query and no user"
            }
            Self::NotForAccess => {
                "has no meaning on a route of this access; leave it out, or change access"
            }
            Self::NotInRange(least, most) => {
                return write!(f, "must be a whole number, {least} to {most}");
            }
            Self::NotOneOf(words) => return write!(f, "must be one of: {words}"),
            Self::Shadowed => {
                "an earlier route takes every request of this one; put this one before it"
            }
            Self::Shape(words) => return write!(f, "can't be read: {words}"),
            Self::TokenPrefix => {
                "an earlier issuer takes every opaque token of this one; put this one before it"
            }
            Self::Unknown => "is no setting; see docs/configuration.md for its right name, or leave it out",
            Self::UnreachablePath => {
                "no request can have this path; give /path, /path/{name} or /path/*, unencoded"
            }
            Self::UnsafeName => "may have letters, digits, - and _, 1 to 64 of them",
        })
    }
}

impl std::error::Error for ConfigError {}
