//! The request as a client sent it: values that know neither policy nor token.

pub(crate) mod client_address;
pub(crate) mod cookie;
pub(crate) mod field_names;
pub(crate) mod head;
pub(crate) mod syntax;
