//! The protected resources (RFC 9728) behind the edge, and which of them a token is for.

use super::issuer::Issuer;
use crate::url::BaseUrl;

/// A protected resource: an API with an audience of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resource {
    /// The name by which routes refer to it.
    pub name: String,
    /// Its identifier (RFC 9728 section 1.2), by which its metadata is found.
    pub url: BaseUrl,
    /// The values of which a token's `aud` must be or contain one.
    pub audiences: Vec<String>,
}

/// The audiences of a token that matter: its issuer's own, and those of resources, as bits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Audiences(u64);

impl Audiences {
    /// The issuer's own audience alone.
    pub const OWN: Self = Self(1);
    /// The most resources that a policy may have.
    pub(crate) const RESOURCES_MAX: usize = 63;

    /// Returns whether routes of a resource accept the token. With `None`, those of no resource do.
    pub(crate) fn include(self, resource: Option<usize>) -> bool {
        self.0 & Self::of_resource(resource).0 != 0
    }

    /// Returns whether the token is for none of the audiences.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the bits as a number, for records.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Returns the audiences whose bits are in a record.
    pub(crate) fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Adds other audiences.
    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn of_resource(resource: Option<usize>) -> Self {
        let bit = resource.map_or(0, |place| place + 1);
        Self(u32::try_from(bit).ok().and_then(|bit| 1_u64.checked_shl(bit)).unwrap_or(0))
    }
}

impl Issuer {
    /// Returns the audiences that are called `name`.
    pub(crate) fn audiences_named(&self, name: &str) -> Audiences {
        let mut audiences = Audiences(u64::from(self.audiences.iter().any(|own| own == name)));
        for (place, names) in &self.resources {
            if names.iter().any(|own| own == name) {
                audiences.0 |= Audiences::of_resource(Some(*place)).0;
            }
        }
        audiences
    }
}
