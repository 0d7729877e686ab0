//! Tokens, and the commands that each may send.

mod error;
mod parse;
mod role;
mod set;

pub use error::TokenError;
pub use parse::is_name;
pub use set::{Token, Tokens};

#[cfg(test)]
mod tests;
