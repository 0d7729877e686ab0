//! Accounts: passwords, login throttling, and the clients that may introspect tokens.

mod failed_clients;
mod introspection_clients;
mod login_attempts;
mod password;

pub use failed_clients::FailedClients;
pub use introspection_clients::{ClientsError, IntrospectionClients, basic_credentials};
pub use login_attempts::{LoginAttemptLimits, LoginAttempts};
pub use password::{
    PASSWORD_BYTES_MAX, PASSWORD_CHARACTERS_MIN, Passwords, hash_password, is_acceptable_password,
};
