//! The configuration: settings from flags, the environment or a file, in this order. All errors are
//! reported together.

mod console;
mod load;
mod secrets;
mod server;
mod settings;
mod table;
mod text;

pub use console::ConsoleSettings;
pub use load::{
    read_api_keys, read_audit_seconds, read_config, read_database_url, read_idle_seconds,
    read_records, read_store, read_usage_seconds,
};
pub use server::{ServerSettings, read_health_check};
pub use settings::{AccessTokenFormat, Config, StoreSettings};
pub use table::{LISTENERS, SHARED, TABLE};

#[cfg(test)]
mod tests;
