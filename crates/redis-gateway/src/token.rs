//! Tokens: who may send commands, and which ones.

mod error;
mod parse;
mod role;
mod set;

pub use error::TokenError;
pub use set::{Token, Tokens};

#[cfg(test)]
mod tests;
