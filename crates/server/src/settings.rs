//! The settings of a server: from flags, environment variables and a file, in this order.
//!
//! One [`Setting`] of a [`SettingsTable`] has the name of a setting in each of them, its bounds and
//! its default. A [`SettingsReader`] reads by it, [`arguments`] makes the flags of it, and tests
//! compare the documentation with it.

mod certificate;
mod command_line;
mod error;
mod file;
mod reader;
mod secret;
mod setting;
mod suggestion;

#[cfg(feature = "testing")]
pub mod cases;

pub use certificate::CertificateFiles;
pub use command_line::{arguments, flags, secrets_help};
pub use error::{Place, SettingError};
pub use reader::{SettingsReader, Sources};
pub use setting::{Format, Kind, Setting, SettingsTable, Unset};

#[cfg(test)]
mod tests;
