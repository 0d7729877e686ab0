//! Errors in the policy, each with its fix.

use crate::jose::jwks::KeyFault;
use std::fmt;

/// An error in the policy, its variables or its secrets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The place in the policy file, `routes[2].limit`, or the name of a variable or secret.
    pub name: String,
    /// What the entry at that place is called, `route api`. `None` outside of lists, and for an
    /// entry without a valid name.
    pub entry: Option<String>,
    /// The kind of error.
    pub kind: ConfigErrorKind,
}

/// The kind of an error in the policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigErrorKind {
    /// A request costs more than a limit ever admits.
    AboveQuota,
    /// A signed assertion is required, and there is no key for one.
    AssertionUnset,
    /// Pages of every origin could use their users' cookies.
    CredentialsForAll,
    /// The value occurs twice.
    Duplicate,
    /// The list or text is empty.
    Empty,
    /// There are rules for events and no route that takes them, or the other way around.
    EventsIncomplete,
    /// The platform knows the location of the proxy alone, and rules or limits need the client's.
    HidesLocation,
    /// The issuer of this name, which is before it, takes every token of this one.
    IssuerShadowed(String),
    /// A key of an inline set (RFC 7517 section 5) is rejected.
    Key(KeyFault),
    /// The opaque tokens of an issuer begin like API keys.
    KeyPrefixTaken,
    /// There is not exactly one location of the issuer's keys.
    KeysUnclear,
    /// The text can't be parsed; the parser's message.
    Malformed(String),
    /// The setting is missing.
    Missing,
    /// A route's own limit has the route's name.
    NamedByRoute,
    /// The algorithm has no burst.
    NoBurst,
    /// The file has no environment of that name, but these.
    NoSuchEnvironment(String),
    /// The text names a variable that is missing.
    NoSuchVariable(String),
    /// No issuer has an introspection.
    NoIntrospection,
    /// There is no issuer of that name.
    NoSuchIssuer,
    /// There is no limit of that name.
    NoSuchLimit,
    /// There is no resource of that name.
    NoSuchResource,
    /// The value has another type.
    NotA(&'static str),
    /// The value is neither one value nor a list of values.
    NotAClaim,
    /// The text is not a cookie-name of RFC 6265 section 4.1.1.
    NotACookie,
    /// The text is not a path of the edge's own.
    NotAPath,
    /// The text is not a name that the edge may give a header field.
    NotAField,
    /// The text is not a prefix of API keys.
    NotAKeyPrefix,
    /// The text is not the address of a memcached.
    NotAMemcached,
    /// The text is not a method in capitals, as HTTP's methods are (RFC 9110 section 9.1).
    NotAMethod,
    /// The text is not 32 bytes in base64.
    NotAnEdgeAuthKey,
    /// The text is not `name:key`, the key 32 bytes in base64.
    NotARecordEncryptionKey,
    /// The text is neither the name of a claim nor a JSON Pointer (RFC 6901).
    NotAPlace,
    /// The text can't be a tenant of an issuer with many.
    NotATenant,
    /// The text is not a scope-token of RFC 6749 section 3.3.
    NotAScope,
    /// The text is not a private JWK (RFC 7517) for EdDSA or ES256 with a `kid`.
    NotASigningKey,
    /// The text is not visible ASCII, as the store's token must be, which goes into a header field.
    NotAToken,
    /// The text has characters that no bearer token has, or a dot, which only JWTs have.
    NotATokenPrefix,
    /// The text has `${`, and is not the whole of `${NAME}`.
    NotAVariable,
    /// The text is not an absolute URL.
    NotAUrl,
    /// The text is neither an absolute URL nor a binding.
    NotAUrlOrBinding,
    /// The text is not an origin as browsers send it (RFC 6454 section 6.2), nor `*` alone.
    NotAnOrigin,
    /// The member has no meaning on a route of this access.
    NotForAccess,
    /// The value is not a whole number from the first bound to the second.
    NotInRange(u32, u32),
    /// The value is not one of these names.
    NotOneOf(String),
    /// The member is for limits that are counted before the response.
    NotWithExact,
    /// The member has no meaning next to another, in these words.
    NotThere(&'static str),
    /// A memcached does not support it.
    NotWithMemcached,
    /// The member is for routes with an assertion.
    NotWithoutAssertion,
    /// A weaker route, of this name, would take the route's paths with a suffix.
    SuffixesUnclear(String),
    /// The entry at this place has the same name.
    SameName(String),
    /// The secret has fewer than 16 bytes, or other characters than visible ASCII.
    NotASecret,
    /// The member is for a secret, which the file must not hold.
    SecretInFile,
    /// The route of this name, which is before it, takes every request of this one.
    Shadowed(String),
    /// There is no such member or section; the nearest name that exists.
    Unknown(Option<String>),
    /// The variable seems to mean this one.
    UnknownName(String),
    /// No request can have the path, or a `*` is not at the end.
    UnreachablePath,
    /// The name has characters other than letters, digits, `-` and `_`.
    UnsafeName,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            Some(entry) => write!(f, "{} ({entry}): {}", self.name, self.kind),
            None => write!(f, "{}: {}", self.name, self.kind),
        }
    }
}

impl fmt::Display for ConfigErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AboveQuota => {
                "is more than a limit of the route ever admits at once; raise its burst or quota, lower \
                 the cost, or set its timing to exact"
            }
            Self::AssertionUnset => "needs [assertion] and the secret ASSERTION_KEY; give both",
            Self::CredentialsForAll => "is not for all origins; list them, or remove it",
            Self::Duplicate => "occurs twice; use each value once",
            Self::Empty => "is empty; give at least one entry",
            Self::EventsIncomplete => {
                "events need both [issuers.events] and a route with access = \"events\"; add the other"
            }
            Self::HidesLocation => {
                "behind a proxy, the platform states the proxy's country and ASN; set 0, or remove \
                 them from ip_rules and from the by of limits"
            }
            Self::IssuerShadowed(earlier) => {
                return write!(
                    f,
                    "issuer {earlier} takes every token of this one; move this one before it"
                );
            }
            Self::Key(fault) => return write!(f, "can't verify tokens: {fault}"),
            Self::KeyPrefixTaken => {
                "is what opaque tokens and API keys both begin with; give them different prefixes"
            }
            Self::KeysUnclear => {
                "give one of jwks_url, metadata_url, jwks, jwks_variable and public_key; none of \
                 them, and no algorithms, for an issuer of opaque tokens, which needs introspection"
            }
            Self::Malformed(message) => return write!(f, "can't be parsed: {message}"),
            Self::Missing => "is not set; see docs/configuration.md",
            Self::NamedByRoute => "a route's own limit has the route's name; remove it",
            Self::NoBurst => "this algorithm has no burst; remove it, or use gcra or token_bucket",
            Self::NoIntrospection => {
                "is introspect, and no issuer has an introspection; add one, or use deny or \
                 signature"
            }
            Self::NoSuchEnvironment(names) if names.is_empty() => {
                "names an environment, and the policy has no [env.NAME]; remove it, or add one"
            }
            Self::NoSuchEnvironment(names) => {
                return write!(f, "must be one of the policy's environments: {names}");
            }
            Self::NoSuchIssuer => "is not the issuer of an entry in [[issuers]]",
            Self::NoSuchResource => "is not the name of an entry in [[resources]]",
            Self::NoSuchLimit => "is not the name of an entry in [[limits]]",
            Self::NoSuchVariable(name) => {
                return write!(f, "the variable {name} is not set; set it, or write the value here");
            }
            Self::NotA(expected) => return write!(f, "must be {expected}"),
            Self::NotAClaim => "give the value that the claim must have, or a list of values",
            Self::NotACookie => "is not a cookie's name; use letters, digits, -, _ and .",
            Self::NotAPath => {
                "is not a path; give / and letters, digits, -, _, ~ and . but none after a /, such as \
                 /healthz"
            }
            Self::NotAField => {
                "is not a name for this field; use letters, digits and -; for an identity field in \
                 lower case, and none that HTTP or the edge uses otherwise"
            }
            Self::NotAKeyPrefix => {
                "is not a prefix of API keys; use 3 to 32 lower-case letters, digits and _, the first \
                 a letter and the last _, such as pck_live_"
            }
            Self::NotAMemcached => {
                "is not memcached://host:port, nor memcacheds://host:port for TLS"
            }
            Self::NotAMethod => "methods are in capitals, such as GET",
            Self::NotARecordEncryptionKey => {
                "is not a key; give name:key, the name of letters, digits, - and _, the key by \
                 openssl rand -base64 32"
            }
            Self::NotAnEdgeAuthKey => {
                "is not a key; give 32 bytes in base64, by openssl rand -base64 32, the same as the \
                 auth service's"
            }
            Self::NotATenant => {
                "must be a tenant as tid and iss have it: 1 to 64 letters, digits, -, ., _ and ~"
            }
            Self::NotAPlace => {
                "is neither a claim's name nor a JSON Pointer; in a pointer such as \
                 /realm_access/roles, write ~0 for ~ and ~1 for /"
            }
            Self::NotAScope => {
                "give values of visible ASCII without quote, backslash and space, one per entry"
            }
            Self::NotASigningKey => {
                "is not a private key; give a JWK with kid, and alg EdDSA (d, x) or ES256 (d, x, y)"
            }
            Self::NotAToken => "has a space, a line break or a character beyond ASCII; remove it",
            Self::NotATokenPrefix => "use letters, digits and -_~+/, as the tokens begin",
            Self::NotAVariable => {
                "a variable is the whole text, ${NAME}, with letters, digits and _ in its name"
            }
            Self::NotAUrl => {
                "is not a URL; give http:// or https:// with a host, no query and no user"
            }
            Self::NotAUrlOrBinding => {
                "is not a URL; give http:// or https:// with a host, no query and no user, or \
                 binding:NAME"
            }
            Self::NotAnOrigin => "is not an origin; give https://host in lower case, or * alone",
            Self::NotForAccess => {
                "has no meaning on a route of this access; remove it, or change access"
            }
            Self::NotInRange(min, max) => {
                return write!(f, "must be a whole number, {min} to {max}");
            }
            Self::NotThere(why) => return write!(f, "has no meaning {why}; remove it"),
            Self::NotOneOf(names) => return write!(f, "must be one of: {names}"),
            Self::NotWithExact => "is for leased limits alone; remove it, or set timing = \"leased\"",
            Self::NotWithMemcached => {
                "a memcached has no scripts and no lists; use fixed_window for a limit, remove the \
                 rest, or use a Redis"
            }
            Self::NotWithoutAssertion => "needs assertion = true; set it, or remove this",
            Self::SuffixesUnclear(later) => {
                return write!(
                    f,
                    "is not set, and {later} is for this path with .json or the like at its end; \
                     set same if that is the same path to the upstream, or distinct"
                );
            }
            Self::SameName(other) => {
                return write!(f, "is also that of {other}; use each name once");
            }
            Self::NotASecret => {
                "has fewer than 16 bytes, or a character beyond visible ASCII; give one by \
                 openssl rand -hex 24"
            }
            Self::SecretInFile => {
                "a secret does not belong in the policy; give it by wrangler secret put, under the \
                 name in docs/configuration.md"
            }
            Self::Shadowed(earlier) => {
                return write!(
                    f,
                    "route {earlier} takes every request of this one; move this one before it"
                );
            }
            Self::Unknown(None) => "unknown member; see docs/configuration.md",
            Self::Unknown(Some(known)) => {
                return write!(f, "unknown member; did you mean {known}?");
            }
            Self::UnknownName(setting) => {
                return write!(f, "unknown variable; rename it to {setting}, or to something else");
            }
            Self::UnreachablePath => {
                "no request can have this path; give /path, /path/{name} or /path/*, unencoded"
            }
            Self::UnsafeName => "use 1 to 64 letters, digits, - and _",
        })
    }
}

impl std::error::Error for ConfigError {}
