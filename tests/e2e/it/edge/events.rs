//! Revocations that a provider pushes: logout tokens, security event tokens, global revocation.

mod end_to_end;
mod flood;
mod hostile;
mod scene;
mod script;
