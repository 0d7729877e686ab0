//! One token of serverless-redis-http, with its server.

use portcullis_server::settings::{Place, SettingError};

/// A token, and the Redis that it is for.
pub struct SrhEntry {
    /// Where the address of the Redis is given.
    pub place: Place,
    /// For logs.
    pub name: String,
    pub secret: String,
    pub connection_string: String,
    /// Most connections to the Redis.
    pub connections: usize,
}

impl SrhEntry {
    /// Warns if the token can be guessed, and if it asks for more connections than there can be.
    pub fn warn(&self) {
        let token = &self.name;
        let advice =
            "it may send every command: give tokens with rules in GATEWAY_TOKENS_FILE instead";
        tracing::warn!(event = "srh_tokens_unrestricted", token, advice);
        if self.secret.len() < SECRET_BYTES {
            let advice = "a short token can be guessed: generate one by openssl rand -hex 24";
            tracing::warn!(event = "srh_token_short", token, advice);
        }
        if self.connections > CONNECTIONS_MAX {
            let connections = CONNECTIONS_MAX;
            let advice = "each connection serves many requests at once, so that fewer are enough";
            tracing::warn!(event = "srh_connections_lowered", token, connections, advice);
        }
    }

    /// Returns how many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.min(CONNECTIONS_MAX)
    }

    /// Returns the address without the options that serverless-redis-http ignores.
    pub fn address(&self) -> &str {
        match self.connection_string.split_once('?') {
            Some((address, options)) if !options.starts_with("cluster") => address,
            _ => &self.connection_string,
        }
    }
}

/// Returns the entry of the variables `SRH_TOKEN`, `SRH_CONNECTION_STRING` and
/// `SRH_MAX_CONNECTIONS`, as far as it is known, and all errors in them.
pub(super) fn of_variables(
    [token, connection_string, max_connections]: [Option<&str>; 3],
) -> (Option<SrhEntry>, Vec<SettingError>) {
    let mut errors = Vec::new();
    let mut add = |name: &str, problem: &str| errors.push(Place::named(name).error(problem));
    match token {
        None => add("SRH_TOKEN", "is not set; give the token that clients send"),
        Some(token) if !is_token(token) => add("SRH_TOKEN", TOKEN_FORMAT),
        Some(_) => {}
    }
    if connection_string.is_none() {
        add("SRH_CONNECTION_STRING", "is not set; give the Redis, such as redis://redis:6379");
    }
    let connections = match max_connections {
        None => Some(CONNECTIONS_DEFAULT),
        Some(text) => text.parse().ok().filter(|number| *number > 0),
    };
    if connections.is_none() {
        add("SRH_MAX_CONNECTIONS", CONNECTIONS_FORMAT);
    }
    let entry = connection_string.map(|connection_string| SrhEntry {
        place: Place::named("SRH_CONNECTION_STRING"),
        name: "srh".to_owned(),
        secret: token.unwrap_or_default().to_owned(),
        connection_string: connection_string.to_owned(),
        connections: connections.unwrap_or(CONNECTIONS_DEFAULT),
    });
    (entry, errors)
}

/// Returns whether a header can carry a token.
pub(super) fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) const TOKEN_FORMAT: &str =
    "must be visible ASCII without spaces, since a header carries it";
pub(super) const CONNECTIONS_FORMAT: &str = "must be a whole number, 1 or more";
/// serverless-redis-http's.
pub(super) const CONNECTIONS_DEFAULT: usize = 3;
/// The bound of GATEWAY_REDIS_CONNECTIONS.
const CONNECTIONS_MAX: usize = 64;
/// What other tokens must have.
const SECRET_BYTES: usize = 32;
