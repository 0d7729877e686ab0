//! The operator console: its own listener, the pages, and their JSON API. Each request needs a
//! session of the console, which no token of the auth service replaces.

mod action;
mod adjust;
mod assets;
mod audit;
mod clients;
mod console_sessions;
mod cookie;
mod export;
mod guard;
mod keys;
mod limits;
mod lists;
mod login;
mod now;
mod operator;
mod policies;
mod range;
mod refusals;
mod response;
mod router;
mod sessions;
mod signing;
mod state;
mod usage;
mod users;

pub use router::console_router;
pub use state::ConsoleState;

#[cfg(test)]
mod tests;
