//! The request as a client sent it: values that do not depend on policy or token.

pub(crate) mod client_address;
pub(crate) mod cookie;
pub(crate) mod field_names;
pub(crate) mod form;
pub(crate) mod head;
pub(crate) mod location;
pub(crate) mod syntax;
