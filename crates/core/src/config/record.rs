//! A record of the members that the readers ask for, which the schema of the policy file is made
//! from. The Worker records nothing.

use serde_json::Value;

/// A section or member of the policy file.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyMember {
    /// The place, such as `routes.limit.quota`. Entries of a list have the same.
    pub place: String,
    /// What it may hold.
    pub shape: MemberShape,
    /// What it means if it is missing. `None` if that depends on other members, or is nothing.
    pub default: Option<Value>,
    /// Whether its table must have it, whatever the table's other members are.
    pub is_required: bool,
}

/// What a member may hold.
#[derive(Clone, Debug, PartialEq)]
pub enum MemberShape {
    /// Anything.
    Any,
    /// A boolean.
    Flag,
    /// A whole number.
    Number {
        /// The least.
        min: u32,
        /// The greatest.
        max: u32,
    },
    /// A text.
    Text(TextFormat),
    /// One of these texts. One that ends in `:NAME` stands for all that have a name there.
    OneOf(Vec<String>),
    /// A text, a number or a boolean.
    Scalar,
    /// One value, or a list of at least one.
    OneOrMore(Box<Self>),
    /// A list of such values.
    List(Box<Self>),
    /// A table whose members have any names.
    Map {
        /// What each may hold.
        of: Box<Self>,
        /// The least number of them.
        min: usize,
    },
    /// A table whose members are recorded, too.
    Table,
    /// A list of at least one such table.
    Tables,
}

/// What a text must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TextFormat {
    /// Anything.
    Any,
    /// Not empty.
    Nonempty,
    /// 1 to 64 letters, digits, `-` and `_`.
    Name,
    /// The place of a claim: its name, or a JSON Pointer.
    Place,
    /// An absolute `http` or `https` URL.
    Url,
    /// The same, or one of a binding.
    UrlOrBinding,
    /// A URL without a query, so that paths can be appended.
    BaseUrl,
    /// The same, or one of a binding.
    BaseUrlOrBinding,
    /// The same, or the address of a memcached.
    StoreUrl,
}

/// Records what a member may hold. Only the first record counts: a reader may be more exact than
/// the method by which it then reads the member.
pub(super) fn shape(table: &str, name: &str, shape: impl FnOnce() -> MemberShape) {
    edit(table, name, |member| {
        if member.shape == MemberShape::Any {
            member.shape = shape();
        }
    });
}

/// Records what a member means if it is missing.
pub(super) fn default(table: &str, name: &str, default: impl FnOnce() -> Value) {
    edit(table, name, |member| member.default = Some(default()));
}

/// Records that a table must have a member.
pub(super) fn required(table: &str, name: &str) {
    edit(table, name, |member| member.is_required = true);
}

#[cfg(not(target_arch = "wasm32"))]
pub(super) use recorder::members;

#[cfg(not(target_arch = "wasm32"))]
use recorder::edit;

/// Does nothing, so that the compiler removes all that would be recorded.
#[cfg(target_arch = "wasm32")]
fn edit(_table: &str, _name: &str, _change: impl FnOnce(&mut PolicyMember)) {}

#[cfg(not(target_arch = "wasm32"))]
mod recorder {
    use super::{MemberShape, PolicyMember};
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    /// Returns what `read` asks for.
    pub fn members(read: impl FnOnce()) -> Vec<PolicyMember> {
        RECORD.set(Some(BTreeMap::new()));
        read();
        RECORD.take().unwrap_or_default().into_values().collect()
    }

    /// Changes the record of a member. The name of the file's own table is empty.
    pub fn edit(table: &str, name: &str, change: impl FnOnce(&mut PolicyMember)) {
        RECORD.with_borrow_mut(|record| {
            let Some(record) = record else {
                return;
            };
            let place = without_indices(&format!("{table}.{name}"));
            let member = record.entry(place.clone()).or_insert_with(|| PolicyMember {
                place,
                shape: MemberShape::Any,
                default: None,
                is_required: false,
            });
            change(member);
        });
    }

    /// Returns `.routes[2].limit` as `routes.limit`.
    fn without_indices(place: &str) -> String {
        let parts = place.split('.').filter_map(|part| part.split('[').next());
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }

    thread_local! {
        /// The members by their places, while they are recorded.
        static RECORD: RefCell<Option<BTreeMap<String, PolicyMember>>> = const { RefCell::new(None) };
    }
}
