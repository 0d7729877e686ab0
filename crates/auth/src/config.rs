//! The configuration: settings from flags, the environment or a file, in this order. All errors are
//! reported together.

mod error;
mod load;
mod reader;
mod server;
mod settings;

pub use error::ConfigError;
pub use reader::SettingsReader;
#[cfg(test)]
pub use server::CertificateFiles;
pub use server::ServerSettings;
pub use settings::{AccessTokenFormat, Config, StoreSettings};

#[cfg(test)]
mod tests;
