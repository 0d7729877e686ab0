//! The protected resources (RFC 9728) behind the edge, and which of them a token is for.

use super::issuer::Issuer;
use crate::url::BaseUrl;
use serde_json::Value;
use std::slice;

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

    fn of_resource(resource: Option<usize>) -> Self {
        let bit = resource.map_or(0, |place| place + 1);
        Self(u32::try_from(bit).ok().and_then(|bit| 1_u64.checked_shl(bit)).unwrap_or(0))
    }
}

impl Issuer {
    /// Returns which audiences the claim `aud` of its token names. A token without `aud` can be for
    /// the issuer's own audience alone, if the issuer's other settings accept it.
    pub fn audiences_of(&self, aud: Option<&Value>) -> Audiences {
        let names = match aud {
            Some(Value::Array(names)) => names.as_slice(),
            Some(name) => slice::from_ref(name),
            None => &[],
        };
        if names.is_empty() {
            return Audiences::OWN;
        }
        let mut audiences = Audiences::default();
        for name in names.iter().filter_map(Value::as_str) {
            audiences.0 |= self.audiences_named(name).0;
        }
        audiences
    }

    /// Returns the audiences that are called `name`.
    pub(crate) fn audiences_named(&self, name: &str) -> Audiences {
        let mut audiences = Audiences(u64::from(self.audience == name));
        for (place, names) in &self.resources {
            if names.iter().any(|own| own == name) {
                audiences.0 |= Audiences::of_resource(Some(*place)).0;
            }
        }
        audiences
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixtures::issuer;
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn token_is_for_the_audiences_that_it_names_and_no_others() {
        let mut issuer = issuer();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        issuer.resources = vec![(0, names(&["a"])), (2, names(&["c", "c/"])), (62, names(&["z"]))];
        let check = |aud: Option<Value>, expect: &[Option<usize>]| {
            let audiences = issuer.audiences_of(aud.as_ref());
            for resource in (0..64).map(Some).chain([None]) {
                let is_included = expect.contains(&resource);
                assert_eq!(audiences.include(resource), is_included, "{aud:?} {resource:?}");
            }
            assert_eq!(audiences.is_empty(), expect.is_empty());
            assert_eq!(Audiences::of_bits(audiences.bits()), audiences);
        };
        check(None, &[None]);
        check(Some(json!([])), &[None]);
        check(Some(json!("api")), &[None]);
        check(Some(json!("a")), &[Some(0)]);
        check(Some(json!("c/")), &[Some(2)]);
        check(Some(json!("z")), &[Some(62)]);
        check(Some(json!(["x", "api", "c", "a"])), &[None, Some(0), Some(2)]);
        for foreign in [json!("b"), json!(""), json!("A"), json!(7), json!(["b"]), json!([["a"]])] {
            check(Some(foreign), &[]);
        }
    }
}
