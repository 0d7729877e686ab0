//! The address of the store, and the protocol that it speaks.

use crate::secret::Secret;
use crate::url::BaseUrl;

/// The address of the store.
#[derive(Clone, Debug)]
pub enum StoreAddress {
    /// A memcached server, by its own protocol.
    Memcached(memcached::Address),
    /// A server with the Upstash REST protocol.
    Rest {
        /// The URL.
        url: BaseUrl,
        /// The bearer token.
        token: Secret,
    },
}

impl StoreAddress {
    /// Returns the address without its secrets.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Memcached(address) => &address.host,
            Self::Rest { url, .. } => url.as_str(),
        }
    }
}
